"""Answers that go out in one piece."""

import errno
from typing import Any

from gunicorn.http import wsgi

PIECE = 64 * 1024
"""Bytes that a client has the patience of its socket to take."""


class Gathered:
    """Takes what would be sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keep it."""
        self._parts.append(bytes(data))

    def take(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


class OneSend(wsgi.Response):  # type: ignore[misc]  # untyped
    """Sends the head together with the first of the body: gunicorn makes two packets, which wake the caller twice.

    A client that does not take its answer for as long as the socket's time-out is given up.
    """

    sock: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.version = "agora"  # what is said as `Server`

    def write(self, arg: bytes) -> None:
        """Send a part of the body."""
        sock = self.sock
        self.sock = gathered = Gathered()
        try:
            super().write(arg)
        finally:
            self.sock = sock
        data = memoryview(gathered.take())
        try:
            for begin in range(0, len(data), PIECE):
                sock.sendall(data[begin : begin + PIECE])
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "the client does not take its answer") from error


def use() -> None:
    """Let gunicorn's workers answer so."""
    wsgi.Response = OneSend
