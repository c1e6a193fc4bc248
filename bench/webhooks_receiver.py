"""Receivers of webhooks for measurements: one process, an address and a path each, an answer that costs little.

The process shares the machine with what it measures, so it speaks just enough HTTP: it notes when the first byte of a
request came, its webhook-id and its path, and answers 200; or, when it is told that an endpoint hangs, nothing.
"""

import asyncio
import multiprocessing
import multiprocessing.connection
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agora.runtime.ports import free_port

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: bench\r\nContent-Length: 2\r\n\r\nok"
PER_NET = 250
START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that came: which endpoint's, which event's, and when its first byte was here (monotonic seconds)."""

    number: int
    event_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A request as it came, for a look at its signature."""

    number: int
    headers: dict[str, str]
    body: bytes


def host_of(number: int) -> str:
    """The loopback address of an endpoint: each has one of its own, as receivers have, so none shares a connection."""
    return f"127.1.{number // PER_NET}.{number % PER_NET + 1}"


class Connection(asyncio.Protocol):
    """One connection of the sender."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._parts = b""
        self._first = 0.0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.hanging.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self._parts:
            self._first = time.monotonic()
        self._parts += data
        head, blank, body = self._parts.partition(b"\r\n\r\n")
        if not blank:
            return
        lower = head.lower()
        if len(body) < int(_header(lower, b"content-length")):
            return
        number = int(head[8 : head.index(b" ", 8)])  # POST /e/<number> HTTP/1.1
        self._parts = b""
        if self._server.took(number, _header(lower, b"webhook-id").decode(), self._first, head, body):
            self._transport.write(ANSWER)
        else:
            self._server.hanging.add(self._transport)


def _header(head: bytes, name: bytes) -> bytes:
    start = head.index(b"\r\n" + name + b": ") + len(name) + 4
    end = head.find(b"\r\n", start)
    return head[start:] if end < 0 else head[start:end]


class Server:
    """What the process of the receivers keeps."""

    def __init__(self, counts: Any, sampled: int) -> None:
        self.hanging: set[Any] = set()
        self._counts = counts
        self._sampled = sampled
        self._silent: frozenset[int] = frozenset()
        self._arrivals: list[tuple[int, str, float]] = []
        self._samples: list[tuple[int, bytes, bytes]] = []
        self._came = 0

    def took(self, number: int, event_id: str, at: float, head: bytes, body: bytes) -> bool:
        """Note a request; whether it is answered."""
        if number in self._silent:
            return False
        self._arrivals.append((number, event_id, at))
        self._counts[number] += 1
        self._came += 1
        if self._came % self._sampled == 1:
            self._samples.append((number, head, body))
        return True

    def obey(self, connection: multiprocessing.connection.Connection) -> None:
        """Do what the other process asks for; end when it has gone."""
        try:
            word, given = connection.recv()
        except EOFError:
            asyncio.get_running_loop().stop()
            return
        if word == "hang":
            self._silent = frozenset(given)
            if not given:
                for transport in list(self.hanging):
                    transport.close()
            connection.send(None)
        else:
            connection.send((self._arrivals, self._samples))
            self._arrivals, self._samples = [], []


def serve(connection: multiprocessing.connection.Connection, counts: Any, sampled: int, port: int) -> None:
    """Be the process of the receivers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = Server(counts, sampled)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        hosts = [host_of(number) for number in range(len(counts))]
        await loop.create_server(lambda: Connection(server), hosts, port, backlog=1024)
        loop.add_reader(connection.fileno(), server.obey, connection)
        connection.send(port)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(run())
    loop.run_forever()


class Receivers:
    """``size`` receivers on loopback, numbered from 0, in a process of their own.

    Every ``sampled``-th request is kept whole, for a look at its signature.
    """

    def __init__(self, size: int, *, sampled: int = 500) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.counts = spawn.RawArray("q", size)
        self._connection, other = spawn.Pipe()
        self.port = free_port()
        self._process = spawn.Process(target=serve, args=(other, self.counts, sampled, self.port), daemon=True)
        self._process.start()
        other.close()
        if not self._connection.poll(START_SECONDS):
            raise TimeoutError("the receivers do not start")
        self._connection.recv()

    @property
    def pid(self) -> int:
        """Of their process."""
        return self._process.pid or 0

    def url(self, number: int) -> str:
        """Where one of them listens."""
        return f"http://{host_of(number)}:{self.port}/e/{number}"

    def count(self, numbers: Iterable[int]) -> int:
        """How many requests these have answered so far."""
        return sum(self.counts[number] for number in numbers)

    def hang(self, numbers: Iterable[int] = ()) -> None:
        """These answer nothing from now on, and all others do; connections that were left to hang are closed."""
        self._connection.send(("hang", list(numbers)))
        self._connection.recv()

    def take(self) -> tuple[list[Arrival], list[Sample]]:
        """What came since the last time."""
        self._connection.send(("take", None))
        arrivals, samples = self._connection.recv()
        return [Arrival(*one) for one in arrivals], [_sample(*one) for one in samples]

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def _sample(number: int, head: bytes, body: bytes) -> Sample:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return Sample(number, dict(line.split(": ", 1) for line in lines), body)
