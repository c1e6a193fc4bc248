"""The connection to a receiver: what it sends is bounded before any of it is kept, and refused if nobody asked for it.

aiohttp takes any number of 1xx answers, of blank lines, of chunk extensions, and of answers that come while a
connection waits in the pool. It also waits in vain for the rest of a body whose chunks became unreadable.
"""

import functools
import re
import time
from typing import Any

from aiohttp import ClientError, ClientOSError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

MOST_HEAD = 256 * 1024
"""Bytes before a body, with those of 1xx answers. aiohttp bounds each header and their number, which makes 1 MiB."""
MOST_BYTES = 2 * 1024 * 1024
"""Of one answer with all that frames it: of its body, 64 KiB are read."""
MOST_INTERIM = 16
"""1xx answers before the one that counts."""
SWITCHING_PROTOCOLS = 101
HEAD_ENDS = re.compile(rb"[^\r\n]\r?\n\r?\n")
LONGEST_EDGE = 4


class BrokenAnswer(ClientError):
    """What came is no answer, or nobody asked for it."""


class ReceiverProtocol(ResponseHandler):
    """One connection. A request begins with ``set_response_params``; outside of one, any byte ends the connection."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop=loop)
        self.opened_at = time.monotonic()
        """When TCP was connected: asyncio makes the protocol then, before TLS begins."""
        self._begin()

    def _begin(self) -> None:
        self._awaits_head = True
        self._received = self._head = self._interim = 0
        self._edge = b""  # the last bytes: what ends a head may come in two pieces

    def set_response_params(self, **options: Any) -> None:
        """As in aiohttp: another request is made on this connection."""
        self._begin()
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, each head by itself: junk that follows an answer does not make the answer unreadable."""
        self._received += len(data)
        if self._received > MOST_BYTES:
            self._refuse(f"more than {MOST_BYTES >> 20} MiB for one answer")
            return
        if not data:
            super().data_received(data)  # aiohttp's own way to go on after a pause
        while data and self.is_connected():
            if self._is_idle():
                self._refuse("bytes after its answer")
                return
            size = self._size_of_head(data) if self._awaits_head else len(data)
            if self._head > MOST_HEAD:
                self._refuse(f"more than {MOST_HEAD >> 10} KiB before a body")
                return
            super().data_received(data[:size])
            data = data[size:]

    def _size_of_head(self, data: bytes) -> int:
        text = self._edge + data
        found = HEAD_ENDS.search(text)
        self._edge = b"" if found else text[-LONGEST_EDGE:]
        size = found.end() - len(text) + len(data) if found else len(data)
        self._head += size
        return size

    def _is_idle(self) -> bool:
        return not self._awaits_head and (self._payload is None or self._payload.is_eof())

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Keep the first answer that is none of 1xx."""
        code = data[0].code
        if 100 <= code < 200 and code != SWITCHING_PROTOCOLS:  # noqa: PLR2004  # the class of interim answers
            self._interim += 1
            if self._interim > MOST_INTERIM:
                self._refuse(f"more than {MOST_INTERIM} answers of 1xx")
        elif self._awaits_head:
            self._awaits_head = False
            super().feed_data(data, size)
        else:
            self._refuse("a second answer")

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """As in aiohttp; a body that is being read hears of it too."""
        if isinstance(exc, BrokenAnswer | HttpProcessingError):
            text = f"the answer cannot be read: {exc.message}" if isinstance(exc, HttpProcessingError) else str(exc)
            self._fail_body(BrokenAnswer(text))
        super().set_exception(exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """As in aiohttp; a reset does not count as the end of a body that ends with its connection."""
        if isinstance(exc, ConnectionError):
            self._fail_body(ClientOSError(*exc.args))
        super().connection_lost(exc)

    def close(self) -> None:
        """Politely after a whole exchange, else at once: a peer that reads nothing would keep it open for ever."""
        transport = self.transport
        if transport is not None and self._is_idle() and not transport.get_write_buffer_size():
            super().close()
        else:
            self.abort()

    def _refuse(self, what: str) -> None:
        self.set_exception(BrokenAnswer(f"the receiver sent {what}"))
        self._should_close = True
        if self.transport is not None:
            self.transport.abort()

    def _fail_body(self, error: ClientError) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(error)


class ReceiverConnector(TCPConnector):
    """Makes such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: Any = functools.partial(ReceiverProtocol, loop=self._loop)
        self._factory = factory
