"""Metrics of every process, to be had from any that serves ``/metrics``: each puts its own into Redis now and then.

A scrape reaches one process of many, and steps and deliveries are counted in processes that serve nothing. So every
sample says in the label ``process`` whose it is, as Prometheus wants it of things that count by themselves: sums over
processes are the scraper's to make, and a process that ends takes its numbers along (https://prometheus.io/docs/,
"Writing exporters"). While Redis is away, there are those of the process that is asked.
"""

import json
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from agora.caching.link import Away, ask
from agora.telemetry import get_logger

NAMES, PREFIX = "agora:metrics", "agora:metrics:"
EVERY_SECONDS, KEEP_SECONDS = 5.0, 20
LABEL = "process"
NOT_TOLD = "_created"
"""When each counter began: as many samples again, which nobody asks for."""

log = get_logger(__name__)
Family = dict[str, Any]


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
    while True:
        try:
            tell(name)
        except Exception:  # the work that is measured goes on
            log.exception("metrics were not told")
        pause.wait(EVERY_SECONDS)


def tell(name: str) -> None:
    """Put this process's metrics where all find them, for a little longer than until the next time."""
    text = json.dumps(list(_families(REGISTRY)), separators=(",", ":"))

    def put(client: redis.Redis) -> None:
        with client.pipeline(transaction=False) as both:
            both.set(PREFIX + name, text, ex=KEEP_SECONDS)
            both.sadd(NAMES, name)
            both.execute()

    try:
        ask(put)
    except Away:
        log.debug("redis is away: nobody else sees these metrics")


def everywhere(own: str) -> CollectorRegistry:
    """The metrics of all processes; ``own``: the name of this one, whose are as of now."""
    found = {name: json.loads(text) for name, text in _told().items() if name != own}
    registry = CollectorRegistry()
    registry.register(_Merged({own: list(_families(REGISTRY)), **found}))
    return registry


def _told() -> Mapping[str, str]:
    """What processes have told of late, by name; those that tell nothing any more are forgotten."""

    def look(client: redis.Redis) -> dict[str, str]:
        names = sorted(map(_text, client.smembers(NAMES)))
        texts = client.mget([PREFIX + name for name in names]) if names else []
        found = {name: _text(text) for name, text in zip(names, texts, strict=True) if text is not None}
        if gone := set(names) - found.keys():
            client.srem(NAMES, *gone)
        return found

    try:
        return ask(look)
    except Away:
        return {}


def _text(told: bytes | str) -> str:
    return told.decode() if isinstance(told, bytes) else told


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
