"""The deny list: sessions that ended within the last quarter of an hour, in Redis, so that all processes know at once.

The truth is in Postgres. While Redis is away, nobody trusts what they remember: Postgres is asked each time.
"""

from collections.abc import Iterable
from functools import lru_cache

import redis

from agora import valkey
from agora.identity.access_tokens import LIVES
from agora.settings import get_settings
from agora.telemetry import get_logger

PREFIX = "agora:ended:"
SECONDS = 0.5
"""A Redis that does not answer in this time is away."""

log = get_logger(__name__)


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return valkey.client(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)


def tell(session_ids: Iterable[str]) -> None:
    """Put sessions on the list."""
    url = get_settings().redis_url
    if not url:
        return
    try:
        with _client(url).pipeline(transaction=False) as pipe:
            for session_id in session_ids:
                pipe.set(PREFIX + session_id, "1", ex=int(LIVES.total_seconds()) + 1)
            pipe.execute()
    except redis.RedisError as error:
        log.warning("the deny list cannot be written", error=type(error).__name__)


def knows(session_id: str) -> bool | None:
    """Whether a session is on the list; None: nobody knows, since Redis is away or there is none."""
    url = get_settings().redis_url
    if not url:
        return None
    try:
        return bool(_client(url).exists(PREFIX + session_id))
    except redis.RedisError as error:
        log.warning("the deny list cannot be read", error=type(error).__name__)
        return None
