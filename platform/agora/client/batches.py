"""The client's methods about batches: submit, look, wait, cancel."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.wire import Json, Wire

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class BatchMethods(Wire):
    """What callers do with batches."""

    def submit_batch(
        self,
        jobs: Sequence[Mapping[str, Any]],
        *,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Submit up to 1,000 jobs, all or none; each has agent, action, input and what else ``submit`` takes.

        Returns the batch with ``job_ids`` in the order given. Its own retries make no second batch.
        """
        body: Json = {"jobs": [dict(job) for job in jobs]}
        if metadata:
            body["metadata"] = dict(metadata)
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        return self._json("POST", "/batches", body, headers=headers)

    def get_batch(self, batch_id: str) -> Json:
        """A batch with its jobs counted by state."""
        return self._json("GET", f"/batches/{quote(batch_id, safe='')}")

    def list_batches(self, **query: Any) -> Json:
        """One page of batches: ``items`` and ``next_cursor``."""
        return self._json("GET", "/batches", query=query)

    def iter_batches(self, **query: Any) -> Iterator[Json]:
        """Every batch, page by page."""
        return self._each("/batches", query)

    def cancel_batch(self, batch_id: str, reason: str = "") -> Json:
        """Cancel every open job of a batch."""
        return self._json("POST", f"/batches/{quote(batch_id, safe='')}/cancel", {"reason": reason})

    def wait_batch(self, batch_id: str, timeout: float | None = None) -> Json:
        """Wait until a batch is completed and return it. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while True:
            batch = self.get_batch(batch_id)
            if batch["status"] == "completed":
                return batch
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"batch {batch_id} has not completed in time")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
