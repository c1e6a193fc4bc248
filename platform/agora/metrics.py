"""Metrics of every process, to be had from any that serves ``/metrics``: each puts its own into Redis now and then.

A scrape reaches one process of many, and steps and deliveries are counted in processes that serve nothing. So every
sample says in the label ``process`` whose it is, as Prometheus wants it of things that count by themselves: sums over
processes are the scraper's to make, and a process that ends takes its numbers along (https://prometheus.io/docs/,
"Writing exporters"): what it measured at once, what it counted two scrapes later, so that none of it is missed. While
Redis is away, there are those of the process that is asked.

Each time, what this process owes Redis is made up for as well: one that has nothing to do comes by no other way to it.
"""

import json
import os
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import redis
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from agora.caching import generations
from agora.caching.link import Away, ask
from agora.quotas import daily
from agora.telemetry import get_logger

NAMES, COUNTED, MEASURED = "agora:metrics-names", "agora:metrics-counted:", "agora:metrics-measured:"
EVERY_SECONDS, MEASURED_SECONDS, COUNTED_SECONDS = 5.0, 20, 150
"""What was counted is told for two scrapes of a minute after its process has ended; a gauge of it says nothing then."""
COUNTERS = frozenset({"counter", "histogram", "summary"})
LABEL = "process"
NOT_TOLD = "_created"
"""When each counter began: as many samples again, which nobody asks for."""

TELL = """
local now = tonumber(redis.call('TIME')[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[4])
if ARGV[3] == '' then
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[5])
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
"""By Redis' clock. Whoever tells also forgets who is gone: there may be nobody who scrapes."""

log = get_logger(__name__)
Family = dict[str, Any]
_ended = set[str]()


def name_of(kind: str) -> str:
    """What this process is called in the label: ``web``, ``worker`` or the like, its host and its pid."""
    return f"{kind}-{socket.gethostname()}-{os.getpid()}"


def start_telling(kind: str) -> threading.Thread:
    """Put this process's metrics into Redis every few seconds from now on. After a fork: threads do not survive it."""
    teller = threading.Thread(target=_tell_for_ever, args=(name_of(kind),), name="agora-metrics", daemon=True)
    teller.start()
    return teller


def _tell_for_ever(name: str) -> None:
    pause = threading.Event()
    while name not in _ended:
        for do in (partial(tell, name), _make_up):
            try:
                do()
            except Exception:  # the work that is measured goes on
                log.exception("metrics were not told, or what is owed to redis was not made up for")
        pause.wait(EVERY_SECONDS)


def _make_up() -> None:
    with suppress(Away):
        generations.make_up()
        daily.make_up()


def tell_last(kind: str) -> None:
    """This process ends: put what it has counted where it is found for a while, and nothing of what it measured."""
    name = name_of(kind)
    _ended.add(name)
    try:
        tell(name, last=True)
    except Exception:  # it ends all the same
        log.exception("metrics were not told")


def tell(name: str, *, last: bool = False) -> None:
    """Put this process's metrics where all find them, for a little longer than until the next time."""
    families = list(_families(REGISTRY))
    counted = [one for one in families if one["type"] in COUNTERS]
    measured = [one for one in families if one["type"] not in COUNTERS]
    args = [name, _packed(counted), "" if last else _packed(measured), COUNTED_SECONDS, MEASURED_SECONDS]
    try:
        ask(lambda client: _script(client)(keys=[NAMES, COUNTED + name, MEASURED + name], args=args))
    except Away:
        log.debug("redis is away: nobody else sees these metrics")


def _packed(families: Sequence[Family]) -> str:
    return json.dumps(families, separators=(",", ":"))


@lru_cache(maxsize=4)
def _script(client: redis.Redis) -> Any:
    return client.register_script(TELL)


def everywhere(own: str) -> CollectorRegistry:
    """The metrics of all processes; ``own``: the name of this one, whose are as of now."""
    found = {name: families for name, families in _told().items() if name != own}
    registry = CollectorRegistry()
    registry.register(_Merged({own: list(_families(REGISTRY)), **found}))
    return registry


def _told() -> Mapping[str, Sequence[Family]]:
    """What processes have told of late, by name; those that tell nothing any more are forgotten."""

    def look(client: redis.Redis) -> dict[str, list[Family]]:
        names = sorted(_text(name) for name in client.zrange(NAMES, 0, -1))
        keys = [prefix + name for name in names for prefix in (COUNTED, MEASURED)]
        texts = client.mget(keys) if keys else []
        found = defaultdict[str, list[Family]](list)
        for name, text in zip((name for name in names for _ in (COUNTED, MEASURED)), texts, strict=True):
            if text is not None:
                found[name] += json.loads(text)
        if gone := set(names) - found.keys():
            client.zrem(NAMES, *gone)
        return found

    try:
        return ask(look)
    except Away:
        return {}


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)


def _families(registry: CollectorRegistry) -> Iterator[Family]:
    for metric in registry.collect():
        samples = [[one.name, one.labels, one.value] for one in metric.samples if not one.name.endswith(NOT_TOLD)]
        if samples:
            yield {"name": metric.name, "about": metric.documentation, "type": metric.type, "samples": samples}


class _Merged(Collector):
    """Metrics of several processes: each once, with the samples of all."""

    def __init__(self, families: Mapping[str, Iterable[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Each metric, by name."""
        merged: dict[str, Metric] = {}
        for process, families in self._families.items():
            for one in families:
                metric = merged.setdefault(one["name"], Metric(one["name"], one["about"], one["type"]))
                for name, labels, value in one["samples"]:
                    metric.add_sample(name, {**labels, LABEL: process}, value)
        return [merged[name] for name in sorted(merged)]
