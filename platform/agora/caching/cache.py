"""A process's memory of what is in a database: bounded, with one reader at a time for each value.

A value is used while its tags are what they were before it was read (agora/caching/generations.py), and not longer
than ``seconds``. While Redis is away it serves only those who came before it was read: all others read anew, one for
all who wait.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakSet

from prometheus_client import Counter, Histogram

from agora.caching import generations

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LOOKS = Counter("agora_cache_looks", "How often a cache was asked, by what came of it.", ["cache", "outcome"])
AGE = Histogram(
    "agora_cache_hit_age_seconds", "How old what was found is.", ["cache"], buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60)
)
SHARDS = 256

_all: "WeakSet[Cache]" = WeakSet()  # type: ignore[type-arg]


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """A value, the stamp of its tags from before it was read (None: unknown), and when reading began (monotonic)."""

    value: V
    stamp: str | None
    began: float


class Cache(Generic[K, V]):
    """Values by key. ``seconds``: the longest that one is kept; ``size``: how many are."""

    def __init__(self, name: str, *, seconds: float, size: int = 10_000) -> None:
        self.seconds, self._size = seconds, size
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self._readers = [threading.Lock() for _ in range(SHARDS)]
        self._hits, self._misses, self._stale = (LOOKS.labels(name, one) for one in ("hit", "miss", "stale"))
        self._age = AGE.labels(name)
        _all.add(self)

    def peek(self, key: K) -> Entry[V] | None:
        """What is kept, if it is not too old; whether its tags have changed is for the caller to find out."""
        with self._lock:
            entry = self._entries.get(key)
        return entry if entry is not None and time.monotonic() - entry.began < self.seconds else None

    def count_hit(self, entry: Entry[V]) -> None:
        """Somebody who peeked has found that the entry is good."""
        self._hits.inc()
        self._age.observe(time.monotonic() - entry.began)

    def get(self, key: K, tags: Sequence[str], load: Callable[[], V]) -> V:
        """The value as of now: kept, or read by ``load``, which raises what it likes; nothing is kept then."""
        came, stamp = generations.arrived(), generations.stamp(tags)
        entry = self._good(key, came, stamp)
        if entry is not None:
            self.count_hit(entry)
            return entry.value
        with self._readers[hash(key) % SHARDS]:
            entry = self._good(key, came, stamp)
            if entry is not None:
                self.count_hit(entry)
                return entry.value
            (self._misses if self.peek(key) is None else self._stale).inc()
            began = time.monotonic()
            try:
                value = load()
            except BaseException:
                self.drop(key)
                raise
            kept = stamp if stamp is not None and generations.may_be_kept(stamp) else None
            self._keep(key, Entry(value, kept, began))
            return value

    def put(self, key: K, value: V) -> None:
        """Keep what somebody has read by themselves; whether it is still so, they know best who peek."""
        self._keep(key, Entry(value, None, time.monotonic()))

    def _good(self, key: K, came: float, stamp: str | None) -> Entry[V] | None:
        entry = self.peek(key)
        if entry is None:
            return None
        same = stamp is not None and entry.stamp == stamp
        return entry if same or entry.began >= came else None

    def _keep(self, key: K, entry: Entry[V]) -> None:
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget one value."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()


def forget_all() -> None:
    """Empty every cache of this process."""
    for one in _all:
        one.clear()
