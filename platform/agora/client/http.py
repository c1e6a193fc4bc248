"""The client: every resource's methods over one wire."""

from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from agora.client.audit import AuditMethods
from agora.client.batches import BatchMethods
from agora.client.budgets import BudgetMethods
from agora.client.bulk import BulkMethods
from agora.client.event_types import EventTypeMethods
from agora.client.holds import HoldMethods
from agora.client.jobs import JobMethods
from agora.client.lineage import LineageMethods
from agora.client.moves import MoveMethods
from agora.client.order import OrderMethods
from agora.client.people import PeopleMethods, SystemMethods
from agora.client.portal import PortalMethods
from agora.client.projects import ProjectMethods
from agora.client.schedules import ScheduleMethods
from agora.client.webhooks import WebhookMethods
from agora.client.wire import Answer, Json


class Agora(
    AuditMethods,
    BatchMethods,
    BudgetMethods,
    BulkMethods,
    EventTypeMethods,
    HoldMethods,
    JobMethods,
    LineageMethods,
    MoveMethods,
    OrderMethods,
    PeopleMethods,
    PortalMethods,
    ProjectMethods,
    ScheduleMethods,
    SystemMethods,
    WebhookMethods,
):
    """A client of one Agora. ``timeout`` is seconds per request. Safe to share between threads.

    Every method raises ApiError when the API refuses and Unreachable when it cannot be reached.
    """

    def agents(self, name: str | None = None) -> list[Json]:
        """Registered action versions, of one agent or all."""
        path = "/agents" if name is None else f"/agents/{quote(name, safe='')}"
        found: list[Json] = self._json("GET", path)["items"]
        return found

    def upload(self, source: Path | bytes, name: str | None = None, media_type: str = "") -> Json:
        """Store a file; returns what is known of it, with its ``id``."""
        data = source if isinstance(source, bytes) else source.read_bytes()
        label = name or (source.name if isinstance(source, Path) else "upload")
        headers = {"Content-Type": media_type or "application/octet-stream"}
        return self._json("POST", "/files", data, query={"name": label}, headers=headers)

    def download(self, file_id: str) -> bytes:
        """The content of a file."""
        return self._request("GET", f"/files/{quote(file_id, safe='')}/content", None, {}, self._timeout)

    def create_key(
        self, name: str, scopes: list[str], *, requests_per_minute: int | None = None,
        idempotency_key: str | None = None,
    ) -> Json:  # fmt: skip
        """Make an API key; ``secret`` is its text, shown this once. ``requests_per_minute``: of this key alone.

        The answer to a repeat with the same ``idempotency_key`` has no ``secret``.
        """
        rate = {} if requests_per_minute is None else {"requests_per_minute": requests_per_minute}
        return self._json("POST", "/keys", {"name": name, "scopes": scopes, **rate}, headers=_repeats(idempotency_key))

    def list_keys(self) -> list[Json]:
        """The team's keys."""
        found: list[Json] = self._json("GET", "/keys")["items"]
        return found

    def get_key(self, key_id: str) -> Answer:
        """One of the team's keys. ``etag`` of the answer names its state."""
        return self._json("GET", f"/keys/{quote(key_id, safe='')}")

    def rotate_key(
        self, key_id: str, *, overlap: float | None = None, expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Json:  # fmt: skip
        """Make a key like another, which works for ``overlap`` seconds more (a day by default).

        ``expires_at``: of the new key; else it lives as long as the other was to. Repeats: as :meth:`create_key`.
        """
        body: Json = {} if overlap is None else {"overlap_seconds": overlap}
        if expires_at is not None:
            body["expires_at"] = expires_at.isoformat()
        return self._json("POST", f"/keys/{quote(key_id, safe='')}/rotate", body, headers=_repeats(idempotency_key))

    def pin_key(self, key_id: str, api_version: str, *, if_match: str | None = None) -> Json:
        """Let requests with a key that name no version speak this one."""
        path, body = f"/keys/{quote(key_id, safe='')}", {"api_version": api_version}
        return self._json("PATCH", path, body, if_match=if_match)

    def deprecations(self) -> list[Json]:
        """What is deprecated, until when it works, and which keys and users of the team use it."""
        found: list[Json] = self._json("GET", "/deprecations")["items"]
        return found

    def revoke_key(self, key_id: str, *, if_match: str | None = None) -> None:
        """Revoke a key."""
        self._delete(f"/keys/{quote(key_id, safe='')}", if_match)


def _repeats(idempotency_key: str | None) -> dict[str, str]:
    """None unless the caller asks for it: a repeat of the client's own would come back without the text of the key."""
    return {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
