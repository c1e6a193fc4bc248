"""How many streams and waiting calls this process holds open, in all and for each key."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agora.errors import TooMany, Unavailable
from agora.settings import get_settings

_lock = threading.Lock()
_held: Counter[str] = Counter()


@contextmanager
def held_open(key_id: str) -> Iterator[None]:
    """Count a connection for as long as it is held.

    Raises:
        TooMany: the key holds as many as it may.
        Unavailable: the process holds as many as it can.
    """
    take(key_id)
    try:
        yield
    finally:
        give_back(key_id)


def take(key_id: str) -> None:
    """Count one more connection. Raises TooMany or Unavailable."""
    settings = get_settings()
    with _lock:
        if _held[key_id] >= settings.max_streams_per_key:
            raise TooMany(f"this key holds {_held[key_id]} streams and waiting calls, the limit")
        if _held.total() >= settings.max_streams:
            raise Unavailable("this process holds as many streams and waiting calls as it can")
        _held[key_id] += 1


def give_back(key_id: str) -> None:
    """Count one connection less."""
    with _lock:
        _held[key_id] -= 1
        if _held[key_id] <= 0:
            del _held[key_id]
