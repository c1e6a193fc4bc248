"""One try: sign, send, read the answer within one total deadline. No database here."""

import asyncio
import importlib.metadata
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ServerDisconnectedError,
    TraceConfig,
)
from aiohttp.connector import Connection
from yarl import URL

from agora.clock import now
from agora.egress.policy import EgressRefused, Policy
from agora.egress.resolver import ResolveFailed
from agora.webhooks import signing
from agora.webhooks.redaction import MAX_VALUE, printable, redact
from agora.webhooks.schedule import Outcome, classify, parse_retry_after
from agora.webhooks.signing import SigningKey

MAX_BODY = 64 * 1024
CHUNK = 16 * 1024
MAX_ERROR = 500
MOST_STALE = 3
"""Kept connections that one try may find dropped by the receiver; a new one that is dropped is a failure."""
HEAD_IS_ENOUGH = frozenset({Outcome.GONE, Outcome.SLOWED})
REDIRECTIONS = range(300, 400)


@lru_cache(maxsize=1)
def user_agent() -> str:
    """What receivers see. Reading the version from the package's metadata takes as long as all else in a try."""
    return f"Agora-Webhooks/{importlib.metadata.version('agora-platform')}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is to be sent. ``keys`` sign it, newest first; ``headers`` are the endpoint's own."""

    webhook_id: str
    url: str
    body: bytes
    keys: tuple[SigningKey, ...] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Try:
    """How one try went; ``timings`` are milliseconds since its start.

    ``status`` is None without a complete answer, save for 410 and what asks us to slow down: there the head is enough.
    """

    started_at: datetime
    status: int | None = None
    error_class: str | None = None
    error: str | None = None
    retry_after: str | None = None
    duration_ms: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] | None = None
    response_body: str | None = None
    peer_address: str | None = None
    reused: bool = False
    clock: float = field(default_factory=time.monotonic)

    def mark(self, name: str, moment: float | None = None) -> None:
        """Note how long after the start something was done: now, or at a ``moment`` of the monotonic clock."""
        self.timings[name] = round(((moment or time.monotonic()) - self.clock) * 1000, 2)

    def fail(self, error_class: str, error: str) -> None:
        """End without a complete answer."""
        if classify(self.status) not in HEAD_IS_ENOUGH:
            self.status = None
        self.error_class, self.error = error_class, printable(error)[:MAX_ERROR]


class PeerResponse(ClientResponse):
    """A response that remembers whom it came from; its connection may be gone when the body has been read."""

    peer: str | None = None
    opened_at: float | None = None

    async def start(self, connection: Connection) -> "PeerResponse":
        """As in aiohttp, after a look at the connection."""
        transport = connection.transport
        address = transport.get_extra_info("peername") if transport else None
        self.peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else None
        self.opened_at = getattr(connection.protocol, "opened_at", None)
        await super().start(connection)
        return self


def tracing() -> TraceConfig:
    """Notes the timings of a request in the Try that it was made with."""
    config = TraceConfig()

    def noting(name: str) -> Any:
        async def note(_session: ClientSession, context: Any, _params: Any) -> None:
            if context.trace_request_ctx is not None:
                context.trace_request_ctx.mark(name)

        return note

    async def reused(_session: ClientSession, context: Any, _params: Any) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.reused = True

    config.on_dns_resolvehost_end.append(noting("dns"))
    config.on_connection_create_end.append(noting("connect"))
    config.on_connection_reuseconn.append(reused)
    return config


async def send(session: ClientSession, policy: Policy, message: Message, *, seconds: float) -> Try:
    """Make one try, within ``seconds`` over DNS, connect, TLS, headers and body. What the world does never raises."""
    attempt = Try(started_at=now())
    try:
        async with asyncio.timeout(seconds):
            await _exchange(session, policy, message, attempt)
    except TimeoutError:
        stage = _stage(attempt) if attempt.status is None else "the answer's body"
        attempt.fail("timeout", f"no complete answer within {seconds:g} s, waiting for {stage}")
    except (ClientError, OSError, EgressRefused, ValueError) as error:
        attempt.fail(class_of(error), _words(error))
    attempt.duration_ms = round((time.monotonic() - attempt.clock) * 1000)
    return attempt


def _stage(attempt: Try) -> str:
    if attempt.reused or "connect" in attempt.timings:
        return "the answer"
    return "the connection" if "dns" in attempt.timings else "the name or the connection"


async def _exchange(session: ClientSession, policy: Policy, message: Message, attempt: Try) -> None:
    url = policy.vet_url(message.url)
    for _ in range(MOST_STALE):
        attempt.reused = False
        try:
            return await _post(session, url, message, attempt)
        except (ServerDisconnectedError, ClientOSError):
            # The receiver closed a kept connection as we wrote to it: no fault of either, and the id is the same.
            if not attempt.reused or attempt.status is not None:
                raise
    return await _post(session, url, message, attempt)


async def _post(session: ClientSession, url: URL, message: Message, attempt: Try) -> None:
    headers = headers_of(message, int(time.time()))
    attempt.request_headers = redact(headers, own=message.headers)
    async with session.post(
        url, data=message.body, headers=headers, allow_redirects=False, trace_request_ctx=attempt,
        timeout=ClientTimeout(total=None), read_bufsize=CHUNK,
    ) as response:  # fmt: skip
        attempt.mark("first_byte")
        _tell_tls_apart(attempt, response, url)
        attempt.status = response.status
        attempt.retry_after = _longest_retry_after(response)
        attempt.response_headers = redact(response.headers.items())
        attempt.peer_address = getattr(response, "peer", None)
        body, whole = await _read(response)
        attempt.response_body = _shown(body, response.headers.get("Content-Encoding", "identity"))
        if not whole:
            response.close()  # the rest is not worth reading, and the connection not worth keeping
    if classify(response.status) is not Outcome.DELIVERED:
        followed = " and is not followed" if response.status in REDIRECTIONS else ""
        attempt.error_class, attempt.error = "status", f"the receiver answered {response.status}{followed}"


def _tell_tls_apart(attempt: Try, response: ClientResponse, url: URL) -> None:
    """What aiohttp tells of a new connection is the end of its TLS handshake."""
    opened_at = getattr(response, "opened_at", None)
    if url.scheme == "https" and "connect" in attempt.timings and opened_at is not None:
        attempt.timings["tls"] = attempt.timings["connect"]
        attempt.mark("connect", opened_at)


def headers_of(message: Message, timestamp: int) -> dict[str, str]:
    """The headers of a try at ``timestamp``, in whole seconds. The platform's own win over the endpoint's."""
    return {
        **message.headers,
        "content-type": "application/json",
        "user-agent": user_agent(),
        "accept-encoding": "identity",
        signing.ID_HEADER: message.webhook_id,
        signing.TIMESTAMP_HEADER: str(timestamp),
        signing.SIGNATURE_HEADER: signing.sign(message.webhook_id, timestamp, message.body, message.keys),
    }


def _longest_retry_after(response: ClientResponse) -> str | None:
    """The Retry-After that asks for most: when there are several, none is undercut."""
    values = [value[:MAX_VALUE] for value in response.headers.getall("Retry-After", ())]
    return max(values, key=lambda value: parse_retry_after(value, now()) or 0.0, default=None)


async def _read(response: ClientResponse) -> tuple[bytes, bool]:
    """At most 64 KiB of the body, and whether that was all of it."""
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BODY:
        part = await response.content.read(CHUNK)
        if not part:
            return b"".join(parts), True
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:MAX_BODY], False


def _shown(body: bytes, encoding: str) -> str:
    if encoding.lower() not in {"identity", ""}:
        return f"[{len(body)} bytes, content-encoding {printable(encoding)[:MAX_VALUE]}]"
    return printable(body.decode("utf-8", "replace"))


def class_of(error: Exception) -> str:
    """A word for why there was no answer: what statistics count."""
    cause = getattr(error, "os_error", None) or getattr(error, "__cause__", None)
    if isinstance(error, EgressRefused) or isinstance(cause, EgressRefused):
        return "egress-refused"
    if isinstance(error, ResolveFailed) or isinstance(cause, ResolveFailed):
        return "dns"
    if isinstance(error, ClientConnectorCertificateError | ClientConnectorSSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, ClientConnectorError):
        return "connect"
    if isinstance(error, ServerDisconnectedError | ClientOSError | ClientPayloadError | ConnectionError):
        return "disconnected"
    return "protocol"


def _words(error: Exception) -> str:
    if isinstance(error, ServerDisconnectedError):  # its own text may hold the headers that had come
        return "the receiver closed the connection before its answer"
    text = str(getattr(error, "os_error", None) or error)
    if isinstance(error, ClientResponseError | ClientPayloadError):  # their own text speaks of a 400 of the parser
        broken = error if isinstance(error, ClientResponseError) else error.__cause__
        text = f"the answer cannot be read: {getattr(broken, 'message', text)}"
    if not text and isinstance(error, ClientConnectorError):
        return "the receiver closed the connection during the handshake"
    return " ".join(text.split()) or type(error).__name__
