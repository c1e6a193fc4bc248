"""The delivery engine of a process: one thread with one event loop. Celery only rings it."""

import asyncio
import resource
import threading
from typing import Any

from agora.egress.policy import Policy
from agora.egress.resolver import LookUp
from agora.settings import get_settings
from agora.telemetry import get_logger
from agora.webhooks.pump import Pump

CAPACITY = 256
"""Deliveries that one process sends at a time."""
WAITING = 1024
"""Further ones that only wait for their receivers, as long as the process may open so many connections."""
SPARE_FILES = 256
"""Files that a process needs beside the connections to receivers."""
SETTLE_SECONDS = 1.0
JOIN_SECONDS = 15.0

log = get_logger(__name__)


def allow_waiting(capacity: int) -> int:
    """Let this process open as many connections as its hard limit allows; how many tries may wait beside the others."""
    wanted = capacity + WAITING + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < wanted:
        log.warning("the limit of open files is low: fewer webhooks may wait for silent receivers", limit=soft)
        return max(0, soft - capacity - SPARE_FILES)
    return WAITING


class DeliveryEngine:
    """Sends what is due, until it is stopped. Every method may be called from any thread.

    ``policy`` and ``timeout`` (seconds for one whole try) default to the settings; ``ssl`` is an SSL context for
    receivers with a private authority; ``look_up`` replaces the system's resolver.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        capacity: int = CAPACITY,
        timeout: float | None = None,
        ssl: Any = True,
        look_up: LookUp | None = None,
    ) -> None:
        self._policy = policy or Policy.of()
        self._capacity = capacity
        self._timeout = timeout or get_settings().webhook_timeout
        self._ssl = ssl
        self._look_up = look_up
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pump: Pump | None = None
        # What was sent must be settled: else a receiver that takes its time would get it again after each deploy.
        self._drain_seconds = max(get_settings().drain_seconds, self._timeout + SETTLE_SECONDS)
        self._stopped = False

    def start(self) -> None:
        """Start the thread unless it runs; after stop() it stays stopped."""
        with self._lock:
            if self._stopped or (self._thread is not None and self._thread.is_alive()):
                return
            ready = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="agora-webhooks", daemon=True)
            self._thread.start()
        ready.wait(JOIN_SECONDS)

    def ring(self) -> None:
        """Look for due deliveries at once; starts the engine if it does not run."""
        self.start()
        if self._pump is not None:
            self._call(self._pump.ring)

    def stop(self, drain_seconds: float | None = None) -> None:
        """Claim no more, let what is under way end for so many seconds, give the rest back, and end the thread."""
        with self._lock:
            self._stopped = True
            if drain_seconds is not None:
                self._drain_seconds = drain_seconds
        self.cease()
        if self._thread is not None:
            self._thread.join(self._drain_seconds + JOIN_SECONDS)

    def cease(self) -> None:
        """Claim no more; returns at once."""
        self._stopped = True
        if self._pump is not None:
            self._call(self._pump.stop)

    def run_once(self) -> int:
        """Claim, send and settle once in the caller's thread; returns how many deliveries were claimed."""

        async def once() -> int:
            return await self._make().run_once()

        return asyncio.run(once())

    def _make(self) -> Pump:
        return Pump(
            policy=self._policy, capacity=self._capacity, waiting=allow_waiting(self._capacity), timeout=self._timeout,
            ssl=self._ssl, look_up=self._look_up,
        )  # fmt: skip

    def _run(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._pump = asyncio.get_running_loop(), self._make()
            ready.set()
            if not self._stopped:
                await self._pump.run(lambda: self._drain_seconds)

        try:
            asyncio.run(main())
        except Exception:
            log.exception("the delivery engine fell over; the next ring starts it again")
        finally:
            ready.set()

    def _call(self, what: Any) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            log.debug("the delivery engine has ended")
