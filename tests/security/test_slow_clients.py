"""Clients that hold connections by being slow, against the server as it is run: they are cut off, others do not notice.

The server of these tests has a patience of a second; in earnest it is AGORA_READ_SECONDS.
"""

import socket
import time
from contextlib import ExitStack

import psutil
import pytest

from tests.security.conftest import SILENCE
from tests.support.caller import Caller
from tests.support.webhooks import eventually

HEAD = "POST /api/v1/files?name=a.txt HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n"
LATE = 10.0
"""Seconds after which a connection counts as never cut: the machine may be busy."""
CROWD = 50


@pytest.fixture
def key(app):
    return Caller(app).key


def drip(wire, data, *, pause=0.1):
    """Send byte by byte until the server has had enough; how long that took, in seconds."""
    begun = time.monotonic()
    wire.socket.settimeout(pause)
    for byte in data:
        try:
            wire.send(bytes([byte]))
            if wire.socket.recv(1, socket.MSG_PEEK) == b"":  # the end; else the beginning of an answer
                break
        except TimeoutError:
            pass
        except OSError:
            break
        else:
            break
        assert time.monotonic() - begun < LATE, "nobody cuts this off"
    wire.socket.settimeout(LATE)
    return time.monotonic() - begun


def test_a_head_that_drips_is_cut_off(web):
    with web.wire() as wire:
        took = drip(wire, b"GET /healthz HTTP/1.1\r\nX-Drip: " + b"a" * 1000)
        assert wire.answer() is None
    assert took >= SILENCE / 2


def test_a_connection_that_says_nothing_is_closed_and_so_is_one_that_rests(web):
    with web.wire(LATE) as silent, web.wire(LATE) as resting:
        resting.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert resting.answer().status == 200
        assert resting.answer() is None
        assert silent.answer() is None


def test_a_body_that_stops_is_cut_off(web, key):
    with web.wire(LATE) as wire:
        wire.send(HEAD.format(key).encode() + b"Content-Length: 100\r\n\r\nabc")
        answer = wire.answer()
        assert (answer.status, answer.json["code"]) == (408, "request-timeout")
        assert answer.headers["connection"] == "close"
        assert wire.answer() is None


@pytest.mark.parametrize("framing", ["Content-Length: 10000", "Transfer-Encoding: chunked"])
def test_a_body_that_drips_is_cut_off(web, key, framing):
    """Each byte comes in time, and all of them would take for ever."""
    with web.wire(LATE) as wire:
        wire.send(f"{HEAD.format(key)}{framing}\r\n\r\n".encode())
        took = drip(wire, b"1;" + b"a" * 10_000)
        answer = wire.answer()
    assert (answer.status, answer.json["code"]) == (408, "request-timeout")
    assert took >= SILENCE / 2


def test_a_body_that_nobody_reads_is_cut_off(web):
    """It is refused before it is read; the rest of it does not hold the connection."""
    with web.wire(LATE) as wire:
        wire.send(HEAD.format("agora_no").encode() + b"Content-Length: 1000000\r\n\r\n")
        assert wire.answer().status == 401
        drip(wire, b"a" * 1000)
        assert wire.answer() is None


def test_a_slow_body_at_more_than_the_least_rate_arrives(web, key):
    """It takes longer than the patience for silence."""
    piece, pieces = 32 * 1024, 8
    with web.wire(LATE) as wire:
        wire.send(HEAD.format(key).encode() + f"Content-Length: {piece * pieces}\r\n\r\n".encode())
        begun = time.monotonic()
        for _ in range(pieces):
            wire.send(b"a" * piece)
            time.sleep(SILENCE / 6)
        assert time.monotonic() - begun > SILENCE
        assert wire.answer().status == 201


def is_held(web, wire):
    """Whether the server still holds its end of a connection, by the kernel's table."""
    ours = wire.socket.getsockname()[1]
    return any(
        (one.laddr.port, one.raddr and one.raddr.port, one.status) == (web.port, ours, "ESTABLISHED")
        for one in psutil.net_connections("tcp4")
    )


def test_who_does_not_take_the_answer_is_given_up(web, key):
    """A file that is more than the buffers of two sockets hold is asked for and not read."""
    size = 4 * 1024 * 1024
    with web.wire(LATE) as wire:
        wire.send(HEAD.format(key).encode() + f"Content-Length: {size}\r\n\r\n".encode() + b"a" * size)
        path = f"/api/v1/files/{wire.answer().json['id']}/content"
    with web.wire(LATE) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asked = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
        wire.send(asked.encode() * 3)
        assert is_held(web, wire)
        eventually(lambda: not is_held(web, wire), seconds=LATE)


def test_a_crowd_of_slow_clients_holds_up_nobody(web):
    with ExitStack() as held:
        crowd = [held.enter_context(web.wire()) for _ in range(CROWD)]
        for wire in crowd:
            wire.send(b"POST /api/v1/auth/sign-in HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(5):
            assert web.get().status == 200
        assert all(wire.answer() is None for wire in crowd)
    assert web.get().status == 200
