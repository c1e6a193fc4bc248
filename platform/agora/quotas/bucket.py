"""Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371).

A bucket is one number, the time at which it is full again. It lets ``quota`` calls through at once, and then one each
``window / quota``.

Here are its words and its arithmetic for one process; agora/quotas/gate.lua is the same for all of them.
"""

import heapq
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

MICRO = 1_000_000
MOST_BUCKETS = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A limit of one caller. ``policy`` is what clients read in the headers; ``cost`` below 0 gives back."""

    policy: str
    name: str
    quota: int
    window: int = 60
    cost: int = 1

    @property
    def interval(self) -> int:
        """Microseconds after which one more call may come; rounded up, so that never more than the quota may."""
        return -(-self.window * MICRO // self.quota)


@dataclass(frozen=True, slots=True)
class State:
    """A bucket after a call, or as it was when the call was refused. ``full_in``, ``wait``: microseconds."""

    bucket: Bucket
    remaining: int
    full_in: int
    wait: int
    """Until this very call would be let through; 0: this bucket had room."""


class Local:
    """Buckets of this process alone, for when Redis is away: each process lets its share through."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._full_at = dict[str, int]()

    def take(self, buckets: Sequence[Bucket], *, shares: int) -> list[State]:
        """Charge each bucket its cost, or none of them when one has no room: then only what is given back counts."""
        now = time.monotonic_ns() // 1_000
        with self._lock:
            states = [self._look(one, now, shares) for one in buckets]
            if any(one.wait for one in states):
                return [self._charge(one.bucket, now, shares) if one.bucket.cost < 0 else one for one in states]
            charged = [self._charge(one, now, shares) for one in buckets]
            self._tidy(now)
        return charged

    def _look(self, bucket: Bucket, now: int, shares: int) -> State:
        interval, burst = bucket.interval * shares, max(1, bucket.quota // shares)
        full_at = max(self._full_at.get(bucket.name, now), now)
        wait = full_at + max(0, bucket.cost) * interval - burst * interval - now
        remaining = (burst * interval - (full_at - now)) // interval
        return State(bucket, max(0, remaining), full_at - now, max(0, wait) if bucket.cost > 0 else 0)

    def _charge(self, bucket: Bucket, now: int, shares: int) -> State:
        interval = bucket.interval * shares
        full_at = max(self._full_at.get(bucket.name, now), now)
        self._full_at[bucket.name] = max(now, full_at + bucket.cost * interval)
        burst = max(1, bucket.quota // shares)
        left = self._full_at[bucket.name] - now
        return State(bucket, max(0, (burst * interval - left) // interval), left, 0)

    def _tidy(self, now: int) -> None:
        """Forget buckets that are full; were there still too many, those that are the next to be."""
        if len(self._full_at) <= MOST_BUCKETS:
            return
        live = {name: at for name, at in self._full_at.items() if at > now}
        for name in heapq.nsmallest(max(0, len(live) - MOST_BUCKETS // 2), live, key=live.__getitem__):
            del live[name]
        self._full_at = live
