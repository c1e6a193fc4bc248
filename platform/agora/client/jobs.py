"""The client's methods about jobs: submit, look, wait, stream, cancel, answer."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from math import inf
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from agora.client.budgets import as_sent
from agora.client.errors import Busy, Unreachable
from agora.client.retries import TRIES, may_pass, pause_of_stream
from agora.client.wire import Json, Wire

TERMINAL = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
NO_RETRY = b"retry: 86400000\n"
"""What a stream says whose job has ended before it began: there is no need to come again."""
STREAM_SILENCE = 60.0
"""Seconds without a byte after which a stream counts as cut; the server speaks at least every 15."""


class JobMethods(Wire):
    """What callers do with jobs."""

    def submit(  # agent, action and input are what every caller gives
        self,
        agent: str,
        action: str,
        input: Mapping[str, Any],
        *,
        version: int | None = None,
        priority: int = 5,
        run_at: datetime | None = None,
        deadline: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhook: Mapping[str, Any] | None = None,
        budget: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        wait: int = 0,
        concurrency_key: str | None = None,
        concurrency_limit: int | None = None,
        concurrency_policy: str | None = None,
        unique: Mapping[str, Any] | None = None,
        debounce: Mapping[str, Any] | None = None,
    ) -> Json:
        """Submit a job; with ``wait`` seconds, the answer waits for its end. Its own retries make no second job."""
        body: Json = {"agent": agent, "action": action, "input": dict(input), "priority": priority}
        optional = {
            "version": version,
            "run_at": run_at.isoformat() if run_at else None,
            "deadline": deadline.isoformat() if deadline else None,
            "metadata": dict(metadata) if metadata else None,
            "webhook": dict(webhook) if webhook else None,
            "budget": as_sent(budget) if budget else None,
            "concurrency_key": concurrency_key,
            "concurrency_limit": concurrency_limit,
            "concurrency_policy": concurrency_policy,
            "unique": dict(unique) if unique else None,
            "debounce": dict(debounce) if debounce else None,
        }
        body |= {name: value for name, value in optional.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        if wait:
            headers["Prefer"] = f"wait={wait}"
        return self._json("POST", "/jobs", body, headers=headers, timeout=self._timeout + wait)

    def get_job(self, job_id: str, **query: Any) -> Json:
        """A job with its steps, or with the ``fields`` that are asked for, and with what to ``include``."""
        return self._json("GET", f"/jobs/{quote(job_id, safe='')}", query=query)

    def list_jobs(self, **filters: Any) -> Json:
        """One page of jobs: ``items`` and ``next_cursor``."""
        return self._json("GET", "/jobs", query=filters)

    def iter_jobs(self, **filters: Any) -> Iterator[Json]:
        """Every job that fits, newest first or in the order ``sort``, page by page."""
        return self._each("/jobs", filters)

    def cancel(self, job_id: str, reason: str = "") -> Json:
        """Cancel a job."""
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/cancel", {"reason": reason})

    def give_input(self, job_id: str, value: Any, question: str | None = None) -> Json:
        """Answer what a job asks; ``question``, the id that the job shows, makes it safe to send again."""
        body: Json = {"value": value} | ({"question": question} if question else {})
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/input", body)

    def iter_items(self, job_id: str, step: str, **filters: Any) -> Iterator[Json]:
        """The items of a map step in input order, page by page; ``status`` and ``iteration`` narrow them down."""
        return self._each(f"/jobs/{quote(job_id, safe='')}/items", {"step": step, **filters})

    def wait(self, job_id: str, timeout: float | None = None) -> Json:
        """Wait for a job's end and return it. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for _ in self.events(job_id, deadline=deadline):
            pass
        return self.get_job(job_id)

    def events(self, job_id: str, *, after: int = 0, deadline: float | None = None) -> Iterator[Json]:
        """The events of a job, live, each once and in order, until it ends; a cut stream is resumed.

        Also while the server starts again, for a quarter of a minute; one that stays away is an Unreachable.

        Raises:
            TimeoutError: the monotonic clock passed ``deadline`` first.
        """
        failures = 0
        while True:
            try:
                for event in self._stream(job_id, after, deadline):
                    failures = 0
                    if event is not None:
                        after = event["seq"]
                        yield event
            except (Unreachable, Busy) as error:
                cut = error
            else:
                return
            failures += 1
            left = self._left(job_id, deadline)
            if failures >= TRIES or not may_pass(cut, again=True):
                raise cut.error if isinstance(cut, Busy) else cut
            self._rest(min(left, pause_of_stream(cut, failures)))
            self._left(job_id, deadline)

    @staticmethod
    def _left(job_id: str, deadline: float | None) -> float:
        """Seconds until the deadline. Raises TimeoutError."""
        left = inf if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"job {job_id} has not ended in time")
        return left

    def _stream(self, job_id: str, after: int, deadline: float | None) -> Iterator[Json | None]:
        """The events of a job until it has ended, and None whenever the server says that it is still there.

        Raises:
            Unreachable: the stream was cut before that, or ``deadline`` came.
            Busy: it could not be had now.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        silence = STREAM_SILENCE if deadline is None else max(0.1, min(STREAM_SILENCE, deadline - time.monotonic()))
        connection = self._connect(silence)
        try:
            response = self._send(connection, "GET", f"/jobs/{quote(job_id, safe='')}/events", None, headers)
            self._raise_for(response)
            for line in response:
                if line == NO_RETRY:
                    return
                if line.startswith(b":"):
                    yield None
                elif line.startswith(b"data: ") and line.endswith(b"\n"):  # else it was cut within
                    event: Json = json.loads(line[6:])
                    yield event
                    if event["type"] in TERMINAL:
                        return
                if deadline is not None and time.monotonic() > deadline:
                    break
            raise Unreachable(f"{self.base_url} cut the events of {job_id}")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.base_url} cannot be reached: {error or type(error).__name__}") from error
        finally:
            connection.close()
