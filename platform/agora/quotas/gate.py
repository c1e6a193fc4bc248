"""The gate of a request: one round trip to Redis says whether there is room, and whether what is remembered is so.

All processes count in the same buckets, and the script is atomic: however many come at once, none is let through
beyond the limit. While Redis is away each process lets its share through, of those that there are by the settings.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import redis

from agora.caching import generations
from agora.caching.epoch import EPOCH, new_value
from agora.caching.generations import PREFIX, Snapshot
from agora.caching.link import Away, ask, client_of
from agora.errors import TooMany
from agora.jobs.together import Together
from agora.quotas.bucket import MICRO, Bucket, Local, State
from agora.settings import get_settings

BUCKET = "agora:rate:"
STALE = "0"
MOST = 50
"""Requests that come at once and share a round trip. None joins one that has begun: it would read tags of before."""


class RateLimited(TooMany):
    """Too many requests."""

    slug = "rate-limited"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate says. Not ``fresh``: what is remembered has changed, or nobody knows; nothing was charged."""

    fresh: bool
    states: Sequence[State] = ()

    def check(self) -> None:
        """Raise RateLimited when there was no room, with the policies that say so and when to come back."""
        full = [state for state in self.states if state.wait]
        if full:
            names = [state.bucket.policy for state in full]
            extra = {"violated-policies": names, "retry_after": seconds_until_room(full)}
            raise RateLimited(f"too many requests: {', '.join(names)}", **extra)


def seconds_until_room(states: Sequence[State]) -> int:
    """How long to wait until all of these buckets have room, in whole seconds, at least one."""
    return max(1, math.ceil(max(state.wait for state in states) / MICRO))


def pass_through(buckets: Sequence[Bucket], tags: Sequence[str] = (), *, stamp: str = "", stamped: int = 0) -> Answer:
    """Charge all buckets, or none of them when one has no room.

    With a ``stamp``, which the first ``stamped`` tags are thought to have, only while they have it. The values of the
    tags are noted for the rest of the request. Without buckets, what was heard of the tags just now will do.
    """
    known = None if buckets else generations.recall(tags)
    if known is not None:
        generations.note_for_request(known)
        return Answer(fresh=stamp in {"", known.stamp(tags[:stamped])})
    try:
        generations.make_up()
        asked = time.monotonic()
        told = _together.do(_asked(buckets, tags, stamp, stamped)).decode().split("|")
    except Away:
        return Answer(fresh=False) if stamp else Answer(fresh=True, states=_take_here(buckets))
    epoch, *values = told[1 : 2 + len(tags)]
    generations.note(Snapshot(epoch, dict(zip(tags, values, strict=True)), asked))
    if told[0] == STALE:
        return Answer(fresh=False)
    numbers = iter(map(int, told[2 + len(tags) :]))
    return Answer(fresh=True, states=[State(one, next(numbers), next(numbers), next(numbers)) for one in buckets])


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call of the script."""

    keys: Sequence[str]
    args: Sequence[str | int]


def _asked(buckets: Sequence[Bucket], tags: Sequence[str], stamp: str, stamped: int) -> _Asked:
    keys = [EPOCH, *(PREFIX + tag for tag in tags), *(BUCKET + one.name for one in buckets)]
    numbers = [number for one in buckets for number in (one.interval, one.quota, one.cost)]
    return _Asked(keys, [len(tags), new_value(), stamp, stamped, *numbers])


def _run(asked: Sequence[_Asked]) -> Sequence[bytes]:
    return ask(lambda _: _run_on(_connected(get_settings().redis_url), asked))


def _run_on(client: redis.Redis, asked: Sequence[_Asked]) -> Sequence[bytes]:
    text, sha = _script()
    try:
        return _send(client, asked, sha)
    except redis.exceptions.NoScriptError:  # nothing was charged: those that come at once fail at the first of them
        client.script_load(text)
        return _send(client, asked, sha)


def _send(client: redis.Redis, asked: Sequence[_Asked], sha: str) -> Sequence[bytes]:
    if len(asked) == 1:
        return [client.evalsha(sha, len(asked[0].keys), *asked[0].keys, *asked[0].args)]
    with client.pipeline(transaction=False) as pipe:
        for one in asked:
            pipe.evalsha(sha, len(one.keys), *one.keys, *one.args)
        return pipe.execute()


@lru_cache(maxsize=1)
def _script() -> tuple[str, str]:
    text = files("agora.quotas").joinpath("gate.lua").read_text("utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=4)
def _connected(url: str) -> redis.Redis:
    """A connection of the gate's own: one caller at a time speaks for all, and needs no pool."""
    return redis.Redis(connection_pool=client_of(url).connection_pool, single_connection_client=True)


_together: Together[_Asked, bytes] = Together(_run, most=MOST)

_here = Local()


def _take_here(buckets: Sequence[Bucket]) -> Sequence[State]:
    settings = get_settings()
    return _here.take(buckets, shares=settings.web_processes * settings.web_hosts)


def forget_here() -> None:
    """Forget what this process has counted by itself."""
    global _here  # noqa: PLW0603  # one for each process
    _here = Local()
