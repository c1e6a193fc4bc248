"""The client's methods about bulk actions."""

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Json, Wire

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class BulkMethods(Wire):
    """Cancel, retry or fork every job that a filter finds."""

    def bulk(
        self,
        action: str,
        filter: Mapping[str, Any],
        *,
        all: bool = False,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Json:
        """Begin a bulk action (cancel, retry, fork); with ``dry_run`` only ``matched`` and a ``sample``.

        ``filter``: status, agent, action, error_code, created_after, created_before, metadata, batch, schedule.
        ``options``: reason for a cancel; from_step, version, priority, metadata for a retry or fork; input for a fork.
        """
        given = {name: value for name, value in options.items() if value is not None}
        body = {"action": action, "filter": dict(filter), "all": all, "dry_run": dry_run, **given}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", "/bulk", body, headers=headers)

    def get_bulk(self, bulk_id: str) -> Json:
        """A bulk action and how far it has come."""
        return self._json("GET", f"/bulk/{quote(bulk_id, safe='')}")

    def list_bulks(self, **query: Any) -> Json:
        """One page of bulk actions: ``items`` and ``next_cursor``."""
        return self._json("GET", "/bulk", query=query)

    def iter_bulk_items(self, bulk_id: str, outcome: str | None = None) -> Iterator[Json]:
        """Every job that a bulk action dealt with, page by page."""
        return self._each(f"/bulk/{quote(bulk_id, safe='')}/items", {"outcome": outcome})

    def cancel_bulk(self, bulk_id: str) -> Json:
        """Stop a bulk action; what it has done stays done."""
        return self._json("POST", f"/bulk/{quote(bulk_id, safe='')}/cancel")

    def wait_bulk(self, bulk_id: str, timeout: float | None = None) -> Json:
        """Wait until a bulk action has ended and return it. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            bulk = self.get_bulk(bulk_id)
            if bulk["status"] != "running":
                return bulk
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"bulk action {bulk_id} has not ended in time")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
