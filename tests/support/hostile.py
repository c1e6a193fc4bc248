"""Receivers on loopback that misbehave, byte by byte: a raw server for each, all in one thread with one event loop.

A behaviour is a coroutine function that takes a Peer; it begins when the request has been read whole.
"""

import asyncio
import socket
import ssl
import struct
import threading
from contextlib import suppress

import psutil

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
RESET_AT_ONCE = struct.pack("ii", 1, 0)


class Peer:
    """One connection of a sender."""

    def __init__(self, server, reader, writer):
        self.server = server
        self.reader = reader
        self.writer = writer

    async def take(self):
        """Read one request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        told = (line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        length = next(told, b"0")
        self.server.requests.append((head, await self.reader.readexactly(int(length))))

    async def send(self, data):
        """Write, as far as there is room. Raises ConnectionError when the sender has gone."""
        self.writer.write(data)
        await asyncio.sleep(0)  # else a loop of sends under TLS never learns that the connection is lost
        await self.writer.drain()

    async def gone(self):
        """Wait until the sender has gone, whatever it sends before."""
        while await self.reader.read(2**16):
            pass

    def reset(self):
        """End the connection with RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        self.writer.transport.abort()


class RawServer:
    """One port. ``requests``: what was read, heads and bodies; ``connections``: how many there were."""

    def __init__(self, behave, *, tls, reads):
        self._behave = behave
        self._tls = tls
        self._reads = reads
        self.requests = []
        self.connections = 0

    async def start(self):
        """Listen; a server that does not read has little room for what is sent to it."""
        listening = socket.create_server(("127.0.0.1", 0))
        if not self._reads:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = listening.getsockname()[1]
        limit = 2**20 if self._reads else 1
        self._server = await asyncio.start_server(self._handle, sock=listening, ssl=self._tls, limit=limit)

    async def _handle(self, reader, writer):
        self.connections += 1
        # The sender lets go in the middle of most cases.
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            peer = Peer(self, reader, writer)
            if self._reads:
                await peer.take()
            await self._behave(peer)
        writer.close()

    def url(self, host="127.0.0.1", path="/hook"):
        """Where it listens, by another name if need be."""
        return f"http{'s' if self._tls else ''}://{host}:{self.port}{path}"

    def close(self):
        """Listen no more."""
        self._server.close()

    def still_connected(self):
        """Connections to it that this process, or its children, hold open."""
        ours = psutil.Process()
        held = [one for process in [ours, *ours.children()] for one in process.net_connections("tcp4")]
        return sum(bool(one.raddr) and one.raddr.port == self.port for one in held)


class Hostile:
    """Makes servers, and ends them."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._servers = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def serve(self, behave, *, tls=None, reads=True):
        """A server that behaves so, on a port of its own."""
        server = RawServer(behave, tls=tls, reads=reads)
        asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(10)
        self._servers.append(server)
        return server

    def close(self):
        """End all, and what they are at."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self):
        for server in self._servers:
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round


async def silence(peer):
    """Say nothing until the sender has gone."""
    await peer.gone()


def say(*pieces, pause=0.0):
    """Write the pieces one by one, and close."""

    async def behave(peer):
        for piece in pieces:
            await peer.send(piece)
            await asyncio.sleep(pause)

    return behave


def stay(*pieces, pause=0.0):
    """Write the pieces one by one, and keep the connection until the sender has gone."""

    async def behave(peer):
        await say(*pieces, pause=pause)(peer)
        await peer.gone()

    return behave


def drip(head, text, *, pause=0.05):
    """Write the head at once, and the text byte by byte, each within any time-out for a single read."""
    return stay(head, *(bytes([byte]) for byte in text), pause=pause)


def pour(head, block):
    """Write the head, and the block again and again for ever."""

    async def behave(peer):
        await peer.send(head)
        while True:
            await peer.send(block)

    return behave


def reset(*pieces):
    """Write the pieces, and end the connection with RST."""

    async def behave(peer):
        await say(*pieces, pause=0.1)(peer)
        peer.reset()

    return behave


def half_close(*pieces):
    """Write the pieces, shut the sending side, and go on reading."""

    async def behave(peer):
        await say(*pieces)(peer)
        peer.writer.write_eof()
        await peer.gone()

    return behave


async def deaf(peer):
    """Read nothing and say nothing, for as long as the test lasts."""
    peer.writer.transport.pause_reading()
    await asyncio.sleep(60)


def answer_each(*answers, last=silence):
    """Answer the requests of one connection one by one; then do ``last``, without having read more."""

    async def behave(peer):
        for number, answer in enumerate(answers):
            if number:
                await peer.take()
            await peer.send(answer)
        await last(peer)

    return behave


def always(answer):
    """Answer every request of a connection so, as a receiver that is well does."""

    async def behave(peer):
        while True:
            await peer.send(answer)
            await peer.take()

    return behave
