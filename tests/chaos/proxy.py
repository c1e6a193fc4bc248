"""A small TCP proxy between a worker and a service: passes bytes, or hurts the connection in one of the usual ways."""

import asyncio
import threading
from contextlib import suppress

CHUNK = 65_536


class Network:
    """An event loop in a thread of its own, for all proxies of a run."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="chaos-network", daemon=True)
        self._thread.start()
        self._servers = []

    async def listen(self, serve, address):
        """Start a server on a free port of an address of this machine; returns the port."""
        server = await asyncio.start_server(serve, address, 0)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    def run(self, coroutine):
        """Run a coroutine in the loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def close(self):
        """End the loop and everything in it."""
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _cancel_all(self):
        for server in self._servers:
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # transports that were aborted close their sockets in the next round


class Proxy:
    """Listens on a port of its own at ``address`` and leads to the port ``target`` on loopback."""

    def __init__(self, network, target, address="127.0.0.1"):
        self._network, self._target, self.address = network, target, address
        self._open = set()
        self._flowing = None
        self._refusing = False
        self.port = network.run(self._start())

    async def _start(self):
        self._flowing = asyncio.Event()
        self._flowing.set()
        return await self._network.listen(self._serve, self.address)

    def cut(self):
        """Reset every connection and every new one."""
        self._refusing = True
        self._network.run(self._reset())

    def blackhole(self):
        """Pass nothing more, and close nothing: half-open sockets. New connections are taken and not answered."""
        self._network.loop.call_soon_threadsafe(self._flowing.clear)

    def heal(self, *, reset=False):
        """Pass again: what was held back first, unless ``reset``, as after a partition that outlived TCP's patience."""
        self._refusing = False
        if reset:
            self._network.run(self._reset())
        self._network.loop.call_soon_threadsafe(self._flowing.set)

    async def _reset(self):
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        if self._refusing:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(far_writer)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}
            for one in (writer, far_writer):
                one.transport.abort()

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            writer.transport.abort()
        finally:
            with suppress(OSError, RuntimeError):
                writer.close()
