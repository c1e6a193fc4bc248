"""Connections of clients: nobody holds one by being slow, and what is no HTTP is answered as a problem.

gunicorn's gevent worker bounds only the time for a request's head. Here a body must come at a least rate, as with
Apache's mod_reqtimeout; a client that does not take its answer is given up; and a body that is framed wrongly is the
client's fault, told as 400, after which the connection is closed: nobody knows where the next request would begin.
"""

import errno
import json
import time
from typing import Any

import gevent
from gunicorn import util
from gunicorn.http import parser
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker
from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout

from agora.ids import new_id
from agora.settings import get_settings
from agora.telemetry import get_logger
from api import headers
from api.errors.catalogue import BAD_REQUEST, CATALOGUE, INTERNAL

DRAINED = 8 * 1024 * 1024
"""Bytes of a body that nobody wanted which are read, so that the client sees the answer; then the connection ends."""
SERVER_ERROR, NOT_IMPLEMENTED = 500, 501

log = get_logger(__name__)


class PacedUnreader(SocketUnreader):  # type: ignore[misc]  # untyped
    """Reads from a client, which may let us wait for a body for so long, and longer with each byte that comes.

    Only the time that we wait for the client counts: how long a store takes to keep the bytes is not its fault.
    """

    sock: Any
    _patience: float | None = None
    _silence = 0.0

    def begin_body(self, silence: float) -> None:
        """From now on a body is read: ``silence`` seconds without a byte, and in all beside those of its bytes."""
        self._silence = self._patience = silence

    def end_body(self) -> None:
        """What follows is the head of another request, or a body that nobody wanted: the worker bounds these."""
        self._patience = None

    def chunk(self, size_hint: int | None = None) -> bytes:
        """What the client sent next. Raises RequestTimeout, NoMoreData."""
        if self._patience is None:
            try:
                return bytes(super().chunk(size_hint))
            except TimeoutError:
                raise NoMoreData from None
        if self._patience <= 0:
            raise RequestTimeout("the body comes too slowly")
        kept, begun = self.sock.gettimeout(), time.monotonic()
        self.sock.settimeout(min(self._silence, self._patience))
        try:
            data = bytes(super().chunk(size_hint))
        except TimeoutError:
            raise RequestTimeout("the body does not go on") from None
        finally:
            self.sock.settimeout(kept)
        self._patience += len(data) / get_settings().read_rate - (time.monotonic() - begun)
        return data


class Framed:
    """The reader of a body, whose faults are told as what they are: the client's."""

    def __init__(self, request: Any) -> None:
        self._request, self._reader = request, request.body.reader
        self._drained: int | None = None

    def drain(self) -> None:
        """The answer is out: what is still read is thrown away, and a fault ends the connection in silence."""
        self._drained = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes. Raises BadRequest, RequestTimeout; StopIteration while draining."""
        try:
            data = bytes(self._reader.read(size))
        except (OSError, ParseException, HTTPException) as error:
            self._request.force_close()
            if self._drained is not None:
                raise StopIteration from error
            if isinstance(error, HTTPException):
                raise
            raise BadRequest("the body is broken off, or is not framed as HTTP/1.1 says") from error
        if self._drained is not None:
            self._drained += len(data)
            if self._drained > DRAINED:
                raise StopIteration
        return data


class Worker(GeventWorker):  # type: ignore[misc]  # untyped
    """gunicorn's worker of greenlets, with these bounds."""

    def init_process(self) -> None:
        """Take the bounds from the settings."""
        self.silence = get_settings().read_seconds
        super().init_process()

    def timeout_ctx(self) -> Any:
        """What bounds waiting for a request, and its head as a whole."""
        return gevent.Timeout(self.silence, exception=False)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection. Its time-out ends a send to somebody who takes nothing; reads have their own."""
        client.settimeout(self.silence)
        AsyncWorker.handle(self, listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Serve one request."""
        req.body.reader = framed = Framed(req)
        req.unreader.begin_body(self.silence)
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            req.unreader.end_body()
            framed.drain()


def answer_broken(sock: Any, status: int, reason: str, _message: str) -> None:
    """Answer what could not be served, as a problem document. What the client sent is not repeated."""
    fault = status >= SERVER_ERROR and status != NOT_IMPLEMENTED  # 501 is a transfer coding that nobody knows
    entry = CATALOGUE[INTERNAL if fault else BAD_REQUEST]
    request_id = new_id("req")
    log.info("request not served", request_id=request_id, reason=reason)
    detail = "the fault is logged under the request id" if fault else f"this is no HTTP/1.1 request: {reason}"
    body = json.dumps({
        "type": f"/errors/{entry.code}", "title": entry.title, "status": entry.status, "detail": detail,
        "code": entry.code, "request_id": request_id,
    }).encode()  # fmt: skip
    head = {
        "Server": "agora", "Date": util.http_date(), "Connection": "close", "Cache-Control": "no-store",
        "Content-Type": "application/problem+json", "Content-Length": len(body), "X-Request-Id": request_id,
        **headers.ALWAYS,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    try:
        sock.sendall(f"HTTP/1.1 {entry.status} {entry.title}\r\n{lines}\r\n".encode() + body)
    except TimeoutError as error:
        raise BrokenPipeError(errno.EPIPE, "the client does not take its answer") from error


def use() -> None:
    """Let gunicorn's workers do so."""
    parser.SocketUnreader = PacedUnreader
    util.write_error = answer_broken
