"""The client over the standard library's HTTP: keep-alive per thread, bounded retries, resumable streams."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from agora.client.errors import ApiError, Busy, Unreachable

Json = dict[str, Any]
TERMINAL = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
TRIES = 5
LONGEST_PAUSE = 10.0
BUSY = frozenset({429, 502, 503, 504})
FAILED = 400
STREAM_SILENCE = 60.0
"""Seconds without a byte after which a stream counts as cut; the server speaks at least every 15."""


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, Busy) else 0.0
    grown: float = 0.1 * 2 ** (state.attempt_number - 1)
    return min(LONGEST_PAUSE, max(asked, grown))


class Agora:
    """A client of one Agora. ``timeout`` is seconds per request. Safe to share between threads.

    Every method raises ApiError when the API refuses and Unreachable when it cannot be reached.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 30.0) -> None:
        parsed = urlsplit(base_url)
        if parsed.scheme not in {"http", "https"} or not parsed.hostname:
            raise ValueError(f"base_url must be http(s)://host[:port], not {base_url!r}")
        self.base_url, self._key, self._timeout = base_url.rstrip("/"), api_key, timeout
        self._parsed = parsed
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()

    def close(self) -> None:
        """Close the connections of every thread; the next request opens a new one."""
        for connection in list(self._open):
            connection.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- jobs

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
        idempotency_key: str | None = None,
        wait: int = 0,
    ) -> Json:
        """Submit a job; with ``wait`` seconds, the answer waits for its end. Its own retries make no second job."""
        body: Json = {"agent": agent, "action": action, "input": dict(input), "priority": priority}
        optional = {
            "version": version,
            "run_at": run_at.isoformat() if run_at else None,
            "deadline": deadline.isoformat() if deadline else None,
            "metadata": dict(metadata) if metadata else None,
            "webhook": dict(webhook) if webhook else None,
        }
        body |= {name: value for name, value in optional.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        if wait:
            headers["Prefer"] = f"wait={wait}"
        return self._json("POST", "/jobs", body, headers=headers, timeout=self._timeout + wait)

    def get_job(self, job_id: str) -> Json:
        """A job with its steps."""
        return self._json("GET", f"/jobs/{quote(job_id, safe='')}")

    def list_jobs(self, **filters: Any) -> Json:
        """One page of jobs: ``items`` and ``next_cursor``."""
        return self._json("GET", "/jobs", query=filters)

    def iter_jobs(self, **filters: Any) -> Iterator[Json]:
        """Every job that fits, newest first, page by page."""
        cursor = None
        while True:
            page = self.list_jobs(**filters, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def cancel(self, job_id: str, reason: str = "") -> Json:
        """Cancel a job."""
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/cancel", {"reason": reason})

    def give_input(self, job_id: str, value: Any) -> Json:
        """Answer what a job asks."""
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/input", {"value": value})

    def wait(self, job_id: str, timeout: float | None = None) -> Json:
        """Wait for a job's end and return it. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for _ in self.events(job_id, deadline=deadline):
            pass
        return self.get_job(job_id)

    def events(self, job_id: str, *, after: int = 0, deadline: float | None = None) -> Iterator[Json]:
        """The events of a job, live, each once and in order, until it ends; a cut stream is resumed.

        Raises:
            TimeoutError: the monotonic clock passed ``deadline`` first.
        """
        while True:
            try:
                for event in self._stream(job_id, after, deadline):
                    after = event["seq"]
                    yield event
                    if event["type"] in TERMINAL:
                        return
            except (OSError, http.client.HTTPException):
                pass  # cut: resumed below
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} has not ended in time")
            time.sleep(0.1)

    def _stream(self, job_id: str, after: int, deadline: float | None) -> Iterator[Json]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        silence = STREAM_SILENCE if deadline is None else max(0.1, min(STREAM_SILENCE, deadline - time.monotonic()))
        connection = self._connect(silence)
        try:
            response = self._send(connection, "GET", f"/jobs/{quote(job_id, safe='')}/events", None, headers)
            self._raise_for(response)
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
                if deadline is not None and time.monotonic() > deadline:
                    return
        finally:
            connection.close()

    # ---- the rest

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

    def create_key(self, name: str, scopes: list[str]) -> Json:
        """Make an API key; ``plain`` is its text, shown this once."""
        return self._json("POST", "/keys", {"name": name, "scopes": scopes})

    def list_keys(self) -> list[Json]:
        """The team's keys."""
        found: list[Json] = self._json("GET", "/keys")["items"]
        return found

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key."""
        self._request("DELETE", f"/keys/{quote(key_id, safe='')}", None, {}, self._timeout)

    def create_endpoint(self, url: str, **fields: Any) -> Json:
        """Make a webhook endpoint; ``secret`` is shown this once."""
        return self._json("POST", "/webhook-endpoints", {"url": url, **fields})

    def delete_endpoint(self, ref: str) -> None:
        """Delete a webhook endpoint, by id or uid."""
        self._request("DELETE", f"/webhook-endpoints/{quote(ref, safe='')}", None, {}, self._timeout)

    def list_endpoints(self, **query: Any) -> Json:
        """One page of webhook endpoints."""
        return self._json("GET", "/webhook-endpoints", query=query)

    def list_deliveries(self, **query: Any) -> Json:
        """One page of webhook deliveries."""
        return self._json("GET", "/webhook-deliveries", query=query)

    def get_delivery(self, delivery_id: str) -> Json:
        """A delivery with every try."""
        return self._json("GET", f"/webhook-deliveries/{quote(delivery_id, safe='')}")

    # ---- the wire

    def _json(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Json:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, doseq=True)}" if given else path
        sent = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        found: Json = json.loads(self._request(method, target, body, sent, timeout or self._timeout))
        return found

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> bytes:
        # A POST without an idempotency key may have been done: it is not sent again.
        again = method != "POST" or "Idempotency-Key" in headers
        if not again:
            self._drop()  # nor sent on a connection that the server may just have closed
        retrying = Retrying(
            retry=retry_if_exception_type((Busy, Unreachable) if again else Busy),
            stop=stop_after_attempt(TRIES),
            wait=_pause,
            reraise=True,
        )
        try:
            return retrying(self._once, method, path, body, headers, timeout)
        except Busy as busy:
            raise busy.error from None

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> bytes:
        connection = self._kept(timeout)
        try:
            response = self._send(connection, method, path, body, headers)
            self._raise_for(response)
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise Unreachable(f"{self.base_url} cannot be reached: {error or type(error).__name__}") from error

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | BinaryIO | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        sent = {"Authorization": f"Bearer {self._key}", "Accept": "application/json", **headers}
        connection.request(method, f"{self._parsed.path.rstrip('/')}/api/v1{path}", body, sent)
        return connection.getresponse()

    @staticmethod
    def _raise_for(response: http.client.HTTPResponse) -> None:
        if response.status < FAILED:
            return
        text = response.read()
        try:
            problem = json.loads(text)
        except ValueError:
            problem = {"detail": text[:200].decode(errors="replace")}
        error = ApiError(response.status, problem if isinstance(problem, dict) else {})
        if response.status in BUSY:
            after = response.headers.get("Retry-After", "")
            raise Busy(error, float(after) if after.isdecimal() else 0.0)
        raise error

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parsed.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parsed.hostname or "", self._parsed.port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            raise Unreachable(f"{self.base_url} cannot be reached: {error}") from error
        # Small requests must not wait for the peer's acknowledgement of the one before.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _kept(self, timeout: float) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is None or kept.sock is None:
            kept = self._local.connection = self._connect(timeout)
            self._open.add(kept)
        kept.sock.settimeout(timeout)
        return kept

    def _drop(self) -> None:
        kept = getattr(self._local, "connection", None)
        if kept is not None:
            kept.close()
            self._open.discard(kept)
        self._local.connection = None
