"""A process's memory of what is in a database: bounded, with one reader at a time for each value.

A value is used while its tags are what they were before it was read (agora/caching/generations.py), and not longer
than ``seconds``. While Redis is away it serves only those who came before it was read: all others read anew, one for
all who wait.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from agora.caching import generations

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AGES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, math.inf)
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
        self.name, self.seconds, self._size = name, seconds, size
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self._readers = [threading.Lock() for _ in range(SHARDS)]
        self.misses, self.stale, self.age_seconds = 0, 0, 0.0
        self.hits_by_age = [0] * len(AGES)
        """Plain numbers: a hit is on the path of every request, where counters with locks would cost more than it does.
        Of two threads that count at the same instant one may be lost."""
        _all.add(self)

    def peek(self, key: K) -> Entry[V] | None:
        """What is kept, if it is not too old; whether its tags have changed is for the caller to find out."""
        entry = self._entries.get(key)
        return entry if entry is not None and time.monotonic() - entry.began < self.seconds else None

    def has(self, key: K) -> bool:
        """Whether a value is kept, however old: none has been refused since it was read."""
        return key in self._entries

    def count_hit(self, entry: Entry[V]) -> None:
        """Somebody who peeked has found that the entry is good."""
        age = time.monotonic() - entry.began
        self.hits_by_age[bisect_left(AGES, age)] += 1
        self.age_seconds += age

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
            if self.peek(key) is None:
                self.misses += 1
            else:
                self.stale += 1
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
    """Empty every cache of this process, and what it has heard of tags."""
    generations.forget()
    for one in _all:
        one.clear()


class _Told(Collector):
    """What /metrics says of the caches of this process."""

    def collect(self) -> Iterable[Metric]:
        """The counts of each."""
        looks = CounterMetricFamily(
            "agora_cache_looks", "How often a cache was asked, by what came of it.", labels=["cache", "outcome"]
        )
        ages = HistogramMetricFamily("agora_cache_hit_age_seconds", "How old what was found is.", labels=["cache"])
        for one in sorted(_all, key=lambda cache: cache.name):
            for outcome, count in (("hit", sum(one.hits_by_age)), ("miss", one.misses), ("stale", one.stale)):
                looks.add_metric([one.name, outcome], count)
            counted = accumulate(one.hits_by_age)
            buckets = [
                ("+Inf" if edge == math.inf else str(edge), count) for edge, count in zip(AGES, counted, strict=True)
            ]
            ages.add_metric([one.name], buckets=buckets, sum_value=one.age_seconds)
        return [looks, ages]


REGISTRY.register(_Told())
