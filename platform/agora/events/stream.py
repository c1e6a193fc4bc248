"""Live wake-ups over Redis pub/sub: hints only, each reader also looks at Postgres now and then.

One subscription per process, however many streams and waiting calls it serves.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import redis

from agora import valkey
from agora.settings import get_settings
from agora.telemetry import get_logger

CHANNEL = "agora:jobs"
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often the subscription's thread looks whether it shall end."""
GATHER_SECONDS = 0.005
"""How long wake-ups are gathered, so that a busy process sends them in one go."""

log = get_logger(__name__)


class Waker:
    """Rings when something happened to a job."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; True when rung since the last call."""
        rung = self._event.wait(timeout)
        self._event.clear()
        return rung

    def ring(self) -> None:
        """Wake whoever waits."""
        self._event.set()


class _Stream:
    """This process's subscription and those who wait for it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._wakers: dict[str, set[Waker]] = defaultdict(set)
        self._thread: threading.Thread | None = None
        self._client: redis.Redis | None = None
        self._publisher: threading.Thread | None = None
        self._due = threading.Event()
        self._closed = threading.Event()
        self._told: set[str] = set()

    def add(self, job_id: str, waker: Waker) -> None:
        with self._lock:
            self._wakers[job_id].add(waker)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="agora-stream", daemon=True)
                self._thread.start()

    def remove(self, job_id: str, waker: Waker) -> None:
        with self._lock:
            self._wakers[job_id].discard(waker)
            if not self._wakers[job_id]:
                del self._wakers[job_id]

    def publish(self, job_ids: Iterable[str]) -> None:
        with self._lock:
            self._told.update(job_ids)
            if self._publisher is None:
                self._publisher = threading.Thread(target=self._publish, name="agora-publish", daemon=True)
                self._publisher.start()
        self._due.set()

    def close(self) -> None:
        """End both threads and close their connections."""
        self._closed.set()
        self._due.set()
        for thread in (self._thread, self._publisher):
            if thread is not None:
                thread.join(5 * LOOK_SECONDS)
        if self._client is not None:
            self._client.close()

    def _publish(self) -> None:
        while not self._closed.is_set():
            self._due.wait()
            time.sleep(GATHER_SECONDS)
            self._due.clear()
            with self._lock:
                told, self._told = self._told, set()
            try:
                self._send(told)
            except redis.RedisError as error:
                log.debug("live stream not told", error=str(error)[:200])
                self._closed.wait(RETRY_SECONDS)

    def _send(self, told: Iterable[str]) -> None:
        if self._client is None:
            self._client = _connect(socket_timeout=1.0)
        with self._client.pipeline(transaction=False) as pipeline:
            for job_id in told:
                pipeline.publish(CHANNEL, job_id)
            pipeline.execute()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                log.debug("live stream broken, readers poll", error=str(error)[:200])
                self._closed.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        with _connect(socket_timeout=None).pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        ) as subscription:
            subscription.subscribe(CHANNEL)
            while not self._closed.is_set():
                message = subscription.get_message(timeout=LOOK_SECONDS)
                if message is not None:
                    self._wake(message["data"].decode())

    def _wake(self, job_id: str) -> None:
        with self._lock:
            wakers = list(self._wakers.get(job_id, ()))
        for waker in wakers:
            waker.ring()


def _connect(socket_timeout: float | None) -> redis.Redis:
    return valkey.client(
        get_settings().redis_url, socket_timeout=socket_timeout, socket_connect_timeout=1.0, health_check_interval=10
    )


_streams: dict[int, _Stream] = {}


def _stream() -> _Stream:
    pid = os.getpid()
    if pid not in _streams:
        _streams.clear()  # a parent's thread and sockets do not cross a fork
        _streams[pid] = _Stream()
    return _streams[pid]


@contextmanager
def listen(job_id: str) -> Iterator[Waker]:
    """A waker of one job; begin to listen before the first read, so that nothing falls in between."""
    waker = Waker()
    stream = _stream()
    stream.add(job_id, waker)
    try:
        yield waker
    finally:
        stream.remove(job_id, waker)


def publish(job_ids: Iterable[str]) -> None:
    """Tell every process that something happened to these jobs. Never raises, never waits long."""
    _stream().publish(job_ids)


def close() -> None:
    """End this process's part in the live stream; a later call begins a new one."""
    stream = _streams.pop(os.getpid(), None)
    if stream is not None:
        stream.close()
