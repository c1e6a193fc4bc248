"""The client's wire over the standard library's HTTP: keep-alive per thread, bounded retries.

Not behind the egress guard: it runs at the caller's, and goes to the address that the caller chose, often on loopback.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any, BinaryIO, Self
from urllib.parse import urlencode, urlsplit

from tenacity import Retrying, retry_if_exception, stop_after_attempt

from agora.api_versions import HEADER, NEWEST
from agora.client.errors import ApiError, Busy, Unreachable
from agora.client.retries import BUSY, TRIES, may_pass, pause, seconds_asked

Json = dict[str, Any]


class Answer(dict[str, Any]):
    """An answer. ``etag`` names the state of the object that it shows: give it as ``if_match`` of an edit."""

    etag: str | None = None


FAILED = 400
CONDITIONS = frozenset({"If-Match", "If-None-Match"})
"""Of edits; no read sends any."""


def _expecting(if_match: str | None, if_none_match: str | None = None) -> dict[str, str]:
    given = {"If-Match": if_match, "If-None-Match": if_none_match}
    return {name: one for name, one in given.items() if one is not None}


class Wire:
    """Requests and answers, below the methods that name resources. ``timeout`` is seconds per request.

    It speaks the newest version of the API that it knows, whatever the key is pinned to.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout: float = 30.0) -> None:
        parsed = urlsplit(base_url)
        if parsed.scheme not in {"http", "https"} or not parsed.hostname:
            raise ValueError(f"base_url must be http(s)://host[:port], not {base_url!r}")
        self.base_url, self.key, self._timeout = base_url.rstrip("/"), api_key, timeout
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

    def _json(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Answer:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, doseq=True)}" if given else path
        sent = dict(headers or {}) | _expecting(if_match, if_none_match)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        told, answered = self._exchange(method, target, body, sent, timeout or self._timeout)
        found = Answer(json.loads(told))
        found.etag = answered.get("ETag")
        return found

    def _call(self, method: str, path: str, body: Json | None = None) -> None:
        """A request that is answered without a body."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        self._request(method, path, json.dumps(body).encode() if body is not None else None, sent, self._timeout)

    def _delete(self, path: str, if_match: str | None = None) -> None:
        self._request("DELETE", path, None, _expecting(if_match), self._timeout)

    def _each(self, path: str, query: Mapping[str, Any]) -> Iterator[Json]:
        """Every item of a list, page by page."""
        cursor = None
        while True:
            page = self._json("GET", path, query={**query, "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> bytes:
        return self._exchange(method, path, body, headers, timeout)[0]

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> tuple[bytes, Message]:
        # A POST without an idempotency key may have been done, and of an edit that was done a second time would be
        # told that somebody else came first: these are not sent again, unless the API says that it has not done them.
        again = (method != "POST" or "Idempotency-Key" in headers) and not CONDITIONS & headers.keys()
        retrying = Retrying(
            retry=retry_if_exception(lambda error: may_pass(error, again=again)),
            stop=stop_after_attempt(TRIES),
            wait=pause,
            sleep=self._rest,
            before=lambda _: None if again else self._drop(),  # nor sent where the server may just have hung up
            reraise=True,
        )
        try:
            return retrying(self._once, method, path, body, headers, timeout)
        except Busy as busy:
            raise busy.error from None

    @staticmethod
    def _rest(seconds: float) -> None:
        """Between two tries."""
        time.sleep(seconds)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> tuple[bytes, Message]:
        connection = self._kept(timeout)
        try:
            response = self._send(connection, method, path, body, headers)
            self._raise_for(response)
            return response.read(), response.headers
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
        sent = {"Authorization": f"Bearer {self.key}", "Accept": "application/json", HEADER: NEWEST, **headers}
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
            raise Busy(error, seconds_asked(response.headers.get("Retry-After")))
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
            self._drop()  # the server closed it with its last answer
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
