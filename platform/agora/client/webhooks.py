"""The client's methods about webhooks: endpoints, deliveries, sending again, export and import."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Answer, Json, Wire

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class WebhookMethods(Wire):
    """What teams do with webhooks. ``ref`` is an endpoint's id or uid."""

    def create_endpoint(self, url: str, **fields: Any) -> Json:
        """Make a webhook endpoint; ``secret`` is shown this once."""
        return self._json("POST", "/webhook-endpoints", {"url": url, **fields})

    def get_endpoint(self, ref: str) -> Answer:
        """A webhook endpoint. ``etag`` of the answer names its state."""
        return self._json("GET", _endpoint(ref))

    def list_endpoints(self, **query: Any) -> Json:
        """One page of webhook endpoints."""
        return self._json("GET", "/webhook-endpoints", query=query)

    def iter_endpoints(self, **query: Any) -> Iterator[Json]:
        """Every webhook endpoint, page by page."""
        return self._each("/webhook-endpoints", query)

    def update_endpoint(self, ref: str, *, if_match: str | None = None, **fields: Any) -> Answer:
        """Change fields of a webhook endpoint; with ``if_match`` only if it still has this ``etag`` (else 412)."""
        return self._json("PATCH", _endpoint(ref), fields, if_match=if_match)

    def delete_endpoint(self, ref: str, *, if_match: str | None = None) -> None:
        """Delete a webhook endpoint; what it has not got yet is cancelled."""
        self._delete(_endpoint(ref), if_match)

    def pause_endpoint(self, ref: str) -> Json:
        """Let it get nothing until it is resumed; its deliveries are held."""
        return self._json("POST", f"{_endpoint(ref)}/pause")

    def resume_endpoint(self, ref: str) -> Json:
        """Let it get again what comes, and at a pace what was held."""
        return self._json("POST", f"{_endpoint(ref)}/resume")

    def test_endpoint(self, ref: str, event_type: str | None = None) -> Json:
        """Send it the example of an event type, ``webhook.test`` by default; returns the delivery."""
        return self._json("POST", f"{_endpoint(ref)}/test", {"event_type": event_type} if event_type else {})

    def endpoint_stats(self, ref: str, window: float | None = None) -> Json:
        """How it did over the deliveries of the last ``window`` seconds (a day by default), and how it stands."""
        return self._json("GET", f"{_endpoint(ref)}/stats", query={"window": window})

    def list_deliveries(self, **query: Any) -> Json:
        """One page of webhook deliveries: by endpoint, status, job_id, event_type."""
        return self._json("GET", "/webhook-deliveries", query=query)

    def iter_deliveries(self, **query: Any) -> Iterator[Json]:
        """Every webhook delivery that fits, page by page; ``include="attempts"`` shows their tries."""
        return self._each("/webhook-deliveries", query)

    def get_delivery(self, delivery_id: str) -> Json:
        """A delivery with every try."""
        return self._json("GET", _delivery(delivery_id))

    def resend_delivery(self, delivery_id: str) -> Json:
        """Send a delivery again, now: the same id, the same bytes."""
        return self._json("POST", f"{_delivery(delivery_id)}/resend")

    def recover_endpoint(
        self, ref: str, since: datetime, *, dry_run: bool = False, idempotency_key: str | None = None
    ) -> Json:
        """Send again all that was given up since a time; returns the replay, with ``dry_run`` only ``matched``."""
        body: Json = {"since": since.isoformat(), "dry_run": dry_run}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", f"{_endpoint(ref)}/recover", body, headers=headers)

    def replay_deliveries(
        self, *, all: bool = False, dry_run: bool = False, idempotency_key: str | None = None, **filter: Any
    ) -> Json:
        """Send again what a filter finds; returns the replay, with ``dry_run`` only ``matched``.

        ``filter``: endpoint, status, event_types, job_id, since, until; for an empty one, ``all`` must be true.
        """
        given = {name: _plain(value) for name, value in filter.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", "/webhook-replays", {**given, "all": all, "dry_run": dry_run}, headers=headers)

    def get_replay(self, replay_id: str) -> Json:
        """A replay and how far it has come."""
        return self._json("GET", f"/webhook-replays/{quote(replay_id, safe='')}")

    def list_replays(self, **query: Any) -> Json:
        """One page of replays: ``items`` and ``next_cursor``."""
        return self._json("GET", "/webhook-replays", query=query)

    def cancel_replay(self, replay_id: str) -> Json:
        """Stop a replay; what it has put in line is sent."""
        return self._json("POST", f"/webhook-replays/{quote(replay_id, safe='')}/cancel")

    def wait_replay(self, replay_id: str, timeout: float | None = None) -> Json:
        """Wait until a replay has put all in line, and return it. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            replay = self.get_replay(replay_id)
            if replay["status"] != "running":
                return replay
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"replay {replay_id} has not ended in time")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)

    def export_endpoints(self) -> Iterator[Json]:
        """Every webhook endpoint, oldest first, in the form that an import takes."""
        return self._each("/webhook-endpoint-export", {})

    def import_endpoints(self, endpoints: Sequence[Mapping[str, Any]], *, dry_run: bool = False) -> Json:
        """Make or change up to 1,000 webhook endpoints, all or none; secrets of new ones are shown this once."""
        body: Json = {"endpoints": [dict(one) for one in endpoints], "dry_run": dry_run}
        return self._json("POST", "/webhook-endpoint-import", body)

    def list_webhook_keys(self, ref: str | None = None) -> list[Json]:
        """The keys that sign for an endpoint, newest first; without one, the team's own."""
        found: list[Json] = self._json("GET", _keys(ref))["items"]
        return found

    def add_webhook_key(self, ref: str | None = None, **fields: Any) -> Json:
        """Let one more key sign; ``fields``: algorithm or an own secret. ``secret`` is shown this once."""
        return self._json("POST", _keys(ref), fields)

    def rotate_webhook_key(self, ref: str | None = None, *, overlap: float | None = None, **fields: Any) -> Json:
        """Make a new key; older ones sign for ``overlap`` seconds more. ``secret`` is shown this once."""
        if overlap is not None:
            fields["overlap_seconds"] = overlap
        path = "/webhook-key-rotations" if ref is None else f"{_endpoint(ref)}/key-rotations"
        return self._json("POST", path, fields)

    def revoke_webhook_key(self, key_id: str, ref: str | None = None) -> None:
        """Let a key sign no more, from now on."""
        self._request("DELETE", f"{_keys(ref)}/{quote(key_id, safe='')}", None, {}, self._timeout)


def _endpoint(ref: str) -> str:
    return f"/webhook-endpoints/{quote(ref, safe='')}"


def _delivery(delivery_id: str) -> str:
    return f"/webhook-deliveries/{quote(delivery_id, safe='')}"


def _keys(ref: str | None) -> str:
    return "/webhook-keys" if ref is None else f"{_endpoint(ref)}/keys"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
