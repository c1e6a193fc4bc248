"""Answers that go out in one piece."""

from typing import Any

from gunicorn.http import wsgi


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
    """Sends the head together with the first of the body: gunicorn makes two packets, which wake the caller twice."""

    sock: Any

    def write(self, arg: bytes) -> None:
        """Send a part of the body."""
        if self.headers_sent:
            super().write(arg)
            return
        sock = self.sock
        self.sock = gathered = Gathered()
        try:
            super().write(arg)
        finally:
            self.sock = sock
        sock.sendall(gathered.take())


def use() -> None:
    """Let gunicorn's workers answer so."""
    wsgi.Response = OneSend
