"""Receivers that misbehave on the wire, byte by byte: each try ends in a defined way, in bounded time and memory."""

import asyncio
import gzip
import ipaddress
import time

import pytest

from agora.egress.policy import Policy
from agora.egress.resolver import SystemLookUp
from agora.egress.session import guarded_session
from agora.webhooks.sender import MAX_BODY, Message, PeerResponse, send, tracing
from agora.webhooks.signing import SigningKey
from agora.webhooks.states import Algorithm

POLICY = Policy(allow=(ipaddress.ip_network("127.0.0.0/8"),), ports=(), allow_http=True)
SECONDS = 1.0


async def one_try(behave, *, tries=1):
    """Post to a raw server that behaves so; returns the last try and how many connections were made."""
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            await behave(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    look_up = SystemLookUp()
    try:
        async with guarded_session(POLICY, look_up, traces=[tracing()], response_class=PeerResponse) as session:
            message = Message(webhook_id="evt_1", url=url, body=b"{}", keys=(SigningKey(Algorithm.V1, bytes(32)),))
            for _ in range(tries):
                made = await send(session, POLICY, message, seconds=SECONDS)
    finally:
        server.close()
        look_up.close()
    return made, connections


def raw(data):
    async def behave(reader, writer):
        writer.write(data)

    return behave


async def slow_headers(reader, writer):
    for letter in b"HTTP/1.1 200 OK\r\nx-slow: " + b"a" * 1000:
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def continue_flood(reader, writer):
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()


async def chunked_for_ever(reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await writer.drain()


async def reset(reader, writer):
    writer.transport.abort()


GZIP = gzip.compress(bytes(50_000_000))
BOMB = b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(200_000)) + b"\r\n"

CASES = {
    "slow headers": (slow_headers, None, "timeout"),
    "1xx flood": (continue_flood, None, "timeout"),
    "silence": (lambda reader, writer: asyncio.sleep(10), None, "timeout"),
    "reset": (reset, None, "disconnected"),
    "closed": (raw(b""), None, "disconnected"),
    "half an answer": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), None, "disconnected"),
    "no http": (raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), None, "protocol"),
    "long header": (raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"), None, "protocol"),
    "header bomb": (raw(BOMB), None, "protocol"),
    "bad length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), None, "protocol"),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), None, "protocol"),
    "upgrade": (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), 101, "status"),
    "endless body": (chunked_for_ever, 200, None),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), 204, None),
    "http 1.0": (raw(b"HTTP/1.0 200 OK\r\n\r\nfine"), 200, None),
}


@pytest.mark.parametrize("name", CASES)
def test_each_ends_in_a_defined_way(name):
    behave, status, error_class = CASES[name]
    start = time.monotonic()
    made, _ = asyncio.run(one_try(behave))
    assert (made.status, made.error_class) == (status, error_class), made.error
    assert time.monotonic() - start < SECONDS + 2
    assert made.request_headers["webhook-id"] == "evt_1"
    assert len(made.response_body or "") <= MAX_BODY


def test_a_compressed_bomb_is_neither_unpacked_nor_read_to_its_end():
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIP)
    made, _ = asyncio.run(one_try(raw(head + GZIP)))
    assert made.status == 200
    assert made.response_body.endswith("bytes, content-encoding gzip]")


def test_a_kept_connection_that_is_closed_under_us_is_no_failure():
    """The receiver answers, keeps the connection, and drops it at the second request without an answer."""

    async def once(reader, writer):
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    made, connections = asyncio.run(one_try(once, tries=2))
    assert (made.status, connections) == (204, 2)


def test_a_new_connection_that_is_closed_is_a_failure_and_not_repeated():
    made, connections = asyncio.run(one_try(reset))
    assert (made.error_class, connections) == ("disconnected", 1)
