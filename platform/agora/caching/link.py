"""Redis as caches and limits use it: one bounded try, and after a failure none for a while."""

import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agora import valkey
from agora.caching.epoch import open_connection
from agora.settings import get_settings
from agora.telemetry import get_logger

SECONDS = 0.25
"""A Redis that does not answer in this time is away."""
REST_SECONDS = 1.0
"""So long nobody tries again: else each request would wait for a Redis that hangs."""

T = TypeVar("T")
log = get_logger(__name__)
_lock = threading.Lock()
_away_until = dict[str, float]()


class Away(Exception):
    """Redis does not answer, or there is none."""


def ask(use: Callable[[redis.Redis], T]) -> T:
    """What Redis says. Raises Away, at once while it rests."""
    url = get_settings().redis_url
    if not url or _away_until.get(url, 0.0) > time.monotonic():
        raise Away
    try:
        found = use(client_of(url))
    except redis.RedisError as error:
        with _lock:
            _away_until[url] = time.monotonic() + REST_SECONDS
        log.warning("redis is away: limits and caches do without", error=type(error).__name__)
        raise Away from error
    return found


def forget() -> None:
    """Try again at the next call."""
    with _lock:
        _away_until.clear()


@lru_cache(maxsize=4)
def client_of(url: str) -> redis.Redis:
    """The client of this process; one more try for a connection that was closed while it was idle, none for a delay."""
    once = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return valkey.client(
        url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=once, redis_connect_func=open_connection
    )
