"""However much receivers send, the process that delivers stays small: measured in a process of its own."""

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.hostile import CHUNKED, EMPTY, OK, always, pour, stay
from tests.support.judging import DEADLINE, endpoint
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db", "quiet")

ROOT = Path(__file__).parents[2]
MOST_GROWTH = 48 * 2**20
"""Bytes of resident memory: 20 answers of 64 KiB, their rows on the way to Postgres, what the sockets hand over."""
IN_FLIGHT = 20
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"

SENDER = f"""
import sys
from agora import telemetry
from agora.webhooks.delivery import DeliveryEngine

telemetry.configure_logging()
engine = DeliveryEngine(timeout={DEADLINE})
print("done", flush=True)
for line in sys.stdin:
    command = line.strip()
    if command == "once":
        while DeliveryEngine(timeout={DEADLINE}).run_once():
            pass
    elif command == "ring":
        engine.ring()
    print("done", flush=True)
engine.stop(0)
"""


class Sender:
    """The process, and the most memory that it had since ``measure`` was called."""

    def __init__(self):
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SENDER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._watched = psutil.Process(self._process.pid)
        self._ended = threading.Event()
        self._most = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._wait()

    def _watch(self):
        while not self._ended.wait(0.005):
            self._most = max(self._most, self._watched.memory_info().rss)

    def do(self, command):
        """Have it done."""
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        self._wait()

    def _wait(self):
        assert self._process.stdout.readline() == "done\n"

    def measure(self):
        """Begin anew; returns how much it has now."""
        self._most = 0
        return self._watched.memory_info().rss

    def grown(self, before):
        """By how many bytes it had grown at its largest."""
        return self._most - before

    def close(self):
        """End it; returns what it logged."""
        self._ended.set()
        self._thread.join()
        _, logged = self._process.communicate(timeout=20)
        return logged


@pytest.fixture
def sender(db):
    made = Sender()
    yield made
    assert made.close() == ""  # nothing worth a warning


BIGGEST_HEAD = b"".join(b"x-%02d: " % n + b"y" * 8000 + b"\r\n" for n in range(31))
GZIP = gzip.compress(bytes(100_000_000))

BOMBS = {
    "interim answers": pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    "the biggest head that is read": stay(OK + BIGGEST_HEAD + EMPTY),
    "the biggest head, that never ends": stay(OK + BIGGEST_HEAD),
    "headers": pour(OK, b"x: y\r\n" * 10_000),
    "a header": pour(OK + b"x: ", b"y" * 2**20),
    "a body": pour(OK + b"\r\n", b"x" * 2**20),
    "a body of what takes most room": pour(OK + b"\r\n", bytes(2**20)),
    "tiny chunks": pour(CHUNKED, b"1\r\nx\r\n" * 10_000),
    "a chunk's extension": pour(CHUNKED + b"1;", b"x" * 2**20),
    "what comes after 101": pour(b"HTTP/1.1 101 Hello\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"x" * 2**20),
    "what comes after 204": pour(NO_CONTENT, NO_CONTENT * 10_000),
    "gzip": stay(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIP) + GZIP),
    "slow bodies of 60 kB": stay(OK + b"Content-Length: 70000\r\n\r\n" + b"x" * 60_000),
}


def test_bombs_in_flight_do_not_fill_the_memory(team, hostile, sender):
    """Twenty at a time of each kind; the first round only warms the process up."""
    endpoint(team, hostile.serve(always(NO_CONTENT)).url(), schedule=(0.0,))
    team.happen(count=IN_FLIGHT)
    sender.do("once")
    grown = {}
    for name, behave in BOMBS.items():
        team.id = type(team)().id  # another team: only its endpoints get the next event
        server = hostile.serve(behave)
        for number in range(IN_FLIGHT):
            endpoint(team, server.url(path=f"/{number}"), schedule=(0.0,))
        team.happen()
        before = sender.measure()
        sender.do("once")
        grown[name] = sender.grown(before)
        assert set(team.statuses()) <= {"succeeded", "exhausted"}
        assert server.connections == IN_FLIGHT
        server.close()
    assert {name: size >> 20 for name, size in grown.items() if size > MOST_GROWTH} == {}


def test_what_is_poured_into_kept_connections_fills_no_memory(team, hostile, sender):
    """Each answers well, keeps its connection, and pours answers that nobody asked for into it."""
    pouring, recorded = [], threading.Event()

    async def behave(peer):
        await peer.send(NO_CONTENT)
        await asyncio.to_thread(recorded.wait, 15.0)
        pouring.append(peer)
        await pour(b"", NO_CONTENT * 10_000)(peer)

    server = hostile.serve(behave)
    for number in range(IN_FLIGHT):
        endpoint(team, server.url(path=f"/{number}"))
    team.happen()
    before = sender.measure()
    sender.do("ring")
    eventually(lambda: team.statuses() == ["succeeded"] * IN_FLIGHT)
    recorded.set()
    eventually(lambda: len(pouring) == IN_FLIGHT and server.still_connected() == 0)
    assert sender.grown(before) < MOST_GROWTH
