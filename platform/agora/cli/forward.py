"""Passes received webhooks on to a server on this machine: the same bytes and headers, and its answer back."""

import http.client
import ipaddress
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from agora.errors import Invalid, invalid_field

SECONDS = 15.0
"""The sender waits for 20."""
MAX_ANSWER = 64 * 1024
UNREACHABLE, LATE = 502, 504
PASSED_ON = ("content-type", "user-agent")
PASSED_BACK = ("content-type", "retry-after")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the sender is told: what the local server said, or, with ``error``, why it said nothing."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None
    milliseconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A local URL, and the loopback addresses of its host: only these are dialled."""

    netloc: str
    path: str
    port: int
    addresses: tuple[str, ...]

    @classmethod
    def of(cls, url: str) -> Self:
        """The target in a URL. Raises Invalid when it is not http, or when it leads off this machine."""
        parts = urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError:
            raise _refused(url, "has no valid port") from None
        if parts.scheme != "http" or not parts.hostname:
            raise _refused(url, "must be http://host[:port]/path")
        if parts.username is not None or parts.fragment:
            raise _refused(url, "must have no user name and no fragment")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(netloc=parts.netloc, path=path, port=port, addresses=_loopback(url, parts.hostname, port))

    def send(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send what was received; never raises for what the local server does."""
        start = time.monotonic()
        passed = {
            name: value
            for name, value in headers.items()
            if name.lower() in PASSED_ON or name.lower().startswith("webhook-")
        }
        try:
            answer = self._answer({**passed, "Host": self.netloc}, body)
        except TimeoutError:
            answer = Answer(status=LATE, error=f"no answer within {SECONDS:.0f} s")
        except (OSError, http.client.HTTPException) as error:
            answer = Answer(status=UNREACHABLE, error=str(error) or type(error).__name__)
        took = round((time.monotonic() - start) * 1000)
        return Answer(
            status=answer.status, headers=answer.headers, body=answer.body, error=answer.error, milliseconds=took
        )

    def _answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = self._connect()
        try:
            connection.request("POST", self.path, body, dict(headers))
            response = connection.getresponse()
            found = {name: response.headers[name] for name in PASSED_BACK if name in response.headers}
            return Answer(status=response.status, headers=found, body=response.read(MAX_ANSWER))
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        *others, last = self.addresses
        for address in others:
            try:
                return self._open(address)
            except OSError:
                continue  # it may listen on the next one
        return self._open(last)

    def _open(self, address: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(address, self.port, timeout=SECONDS)
        connection.connect()
        return connection


def _loopback(url: str, host: str, port: int) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(url, f"has a host that cannot be looked up: {error}") from None
    addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
    outside = [address for address in addresses if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    if outside:
        raise _refused(url, f"leads to {outside[0]}: webhooks are passed on to this machine only, such as localhost")
    return addresses


def _refused(url: str, why: str) -> Invalid:
    return invalid_field("/forward", "loopback", f"--forward {url} {why}", url)
