"""The client: every resource's methods over one wire."""

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

    def create_key(self, name: str, scopes: list[str], *, requests_per_minute: int | None = None) -> Json:
        """Make an API key; ``secret`` is its text, shown this once. ``requests_per_minute``: of this key alone."""
        rate = {} if requests_per_minute is None else {"requests_per_minute": requests_per_minute}
        return self._json("POST", "/keys", {"name": name, "scopes": scopes, **rate})

    def list_keys(self) -> list[Json]:
        """The team's keys."""
        found: list[Json] = self._json("GET", "/keys")["items"]
        return found

    def get_key(self, key_id: str) -> Answer:
        """One of the team's keys. ``etag`` of the answer names its state."""
        return self._json("GET", f"/keys/{quote(key_id, safe='')}")

    def rotate_key(self, key_id: str, *, overlap: float | None = None) -> Json:
        """Make a key like another, which works for ``overlap`` seconds more (a day by default)."""
        body = {} if overlap is None else {"overlap_seconds": overlap}
        return self._json("POST", f"/keys/{quote(key_id, safe='')}/rotate", body)

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
