"""A webhook receiver on loopback, in a thread with its own event loop: each path behaves in its own way."""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress

from aiohttp import web
from multidict import CIMultiDict


class Receiver:
    """Counts and keeps what it gets. ``behave(path, *answers)``: an answer each, the last one for ever.

    An answer is a status, or ``(status, headers)``, or a coroutine function that takes the request.
    """

    def __init__(self, *, ssl=None):
        self.ssl = ssl
        self.got = defaultdict(list)
        self.under_way = Counter()
        self.most_under_way = Counter()
        self._answers = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self):
        await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _start(self):
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.ssl)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def _handle(self, request):
        body = await request.read()
        path = request.path
        self.got[path].append((CIMultiDict(request.headers), body, time.monotonic(), request.remote))
        answers = self._answers.get(path, [204])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.under_way[path] += 1
        self.most_under_way[path] = max(self.most_under_way[path], self.under_way[path])
        try:
            if callable(answer):
                return await answer(request)
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            return web.Response(status=status, headers=headers, text="" if status == 204 else f"said {status}")
        finally:
            self.under_way[path] -= 1

    def behave(self, path, *answers):
        """How a path answers; returns its URL."""
        self._answers[path] = list(answers)
        return self.url(path)

    def url(self, path):
        """The URL of a path."""
        return f"http{'s' if self.ssl else ''}://127.0.0.1:{self.port}{path}"

    def close(self):
        """End."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


async def hang(request):
    """Never answer."""
    await asyncio.sleep(30)
    return web.Response(status=204)


async def drip(request):
    """Answer 200 at once, and then a byte now and then."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(300):
        await response.write(b".")
        await asyncio.sleep(0.1)
    return response


async def flood(request):
    """A body without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(4096):
        await response.write(b"x" * 16_384)
    return response


async def cut(request):
    """Close the connection instead of an answer."""
    request.transport.abort()
    return web.Response()


async def nul(request):
    """Bytes that no text column takes."""
    return web.Response(status=200, body=b"\x00\xff\xfe ok", headers={"Set-Cookie": "sid=topsecret", "X-Info": "fine"})
