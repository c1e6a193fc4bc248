"""Which state of things a remembered value belongs to: tags in Redis that each write changes.

A value is stored with the tags' values from before it was read, its stamp, and is good while they are the same. A write
marks its tags before it commits, so that nobody keeps what is read meanwhile, and changes them after: also a writer
that dies in between leaves nothing stale behind. Redis forgetting anything changes the epoch, and so every stamp.

What a process has heard of tags holds for ``LEASE_SECONDS`` from when it asked, so that a busy one asks once for many
requests. A writer waits for as long before it returns: then nobody's word from before the change holds any more.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import redis

from agora.caching.epoch import EPOCH, new_value
from agora.caching.link import Away, ask

PREFIX = "agora:tag:"
TAG_SECONDS = 600
"""Longer than any value is kept: a tag that is gone then says nothing about what is kept now."""
MARK_SECONDS = 120
"""A writer that died has been rolled back long before, and whatever was kept when it began is not kept any more."""
SNAPSHOT_SECONDS = 2.0
SETTLE_SECONDS = 0.2
LEASE_SECONDS = 0.025
MOST_HEARD = 20_000
MARK = "!"
CATALOGUE = "catalogue"
TIERS = "tiers"


def team_tag(team_id: str) -> str:
    """Of what is remembered of a team: its keys, the roles of its members, its tier."""
    return f"team:{team_id}"


def user_tag(user_id: str) -> str:
    """Of what is remembered of a user in all their teams: sessions, system roles, the second factor."""
    return f"user:{user_id}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of some tags, as they were at a moment (monotonic) after the request came."""

    epoch: str
    tags: Mapping[str, str]
    at: float = field(default_factory=time.monotonic)
    """When they were asked for."""

    def stamp(self, tags: Sequence[str]) -> str | None:
        """The stamp of what belongs to these tags; None when one was not asked for."""
        if any(tag not in self.tags for tag in tags):
            return None
        return "|".join([self.epoch, *(self.tags[tag] for tag in tags)])


@dataclass(slots=True)
class Request:
    """What one request knows: when it came, and the newest snapshot that it took."""

    began: float
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class _Heard:
    """A tag's value, of which epoch, and when it was asked for (monotonic)."""

    epoch: str
    value: str
    asked: float


_heard = dict[str, _Heard]()
_request: ContextVar[Request | None] = ContextVar("agora_request", default=None)
_owed = dict[str, object]()
"""Tags that could not be changed when they should have been, each with a token of its own for each time."""
_lock = threading.Lock()
_making_up = threading.Lock()


def begin() -> None:
    """A request comes: what was read of the tags before says nothing about it."""
    _request.set(Request(time.monotonic()))


def end() -> None:
    """The request is over."""
    _request.set(None)


@contextmanager
def view() -> Iterator[None]:
    """For the length of a block outside of requests, read each tag once: as one request would."""
    if _request.get() is not None:
        yield
        return
    begin()
    try:
        yield
    finally:
        end()


def arrived() -> float:
    """When the present request came (monotonic); outside of one, now. What was read after that is new enough for it."""
    known = _request.get()
    fresh = known is not None and time.monotonic() - known.began < SNAPSHOT_SECONDS
    return known.began if known is not None and fresh else time.monotonic()


def note(snapshot: Snapshot) -> None:
    """Use a snapshot for the rest of the request, and its values for others while the lease lasts."""
    note_for_request(snapshot)
    if len(_heard) > MOST_HEARD:
        _heard.clear()
    for tag, value in snapshot.tags.items():
        _heard[tag] = _Heard(snapshot.epoch, value, snapshot.at)


def note_for_request(snapshot: Snapshot) -> None:
    """Use a snapshot for the rest of the request."""
    known = _request.get()
    if known is not None:
        known.snapshot = snapshot if known.snapshot is None else _merged(known.snapshot, snapshot)


def recall(tags: Sequence[str]) -> Snapshot | None:
    """What was heard of these tags so lately that it holds; None: ask."""
    values, epoch, since = {}, None, time.monotonic() - LEASE_SECONDS
    for tag in tags:
        heard = _heard.get(tag)
        if heard is None or heard.asked < since or epoch not in {None, heard.epoch}:
            return None
        epoch, values[tag] = heard.epoch, heard.value
    return None if epoch is None else Snapshot(epoch, values)


def stamp(tags: Sequence[str]) -> str | None:
    """The present stamp of these tags: of this request's snapshot, else asked for. None: nobody knows."""
    known = _request.get()
    taken = known.snapshot if known is not None else None
    if taken is not None and time.monotonic() - taken.at < SNAPSHOT_SECONDS:
        found = taken.stamp(tags)
        if found is not None:
            return found
    found_lately = recall(tags)
    if found_lately is not None:
        return found_lately.stamp(tags)
    try:
        read_now = read(tags)
    except Away:
        return None
    note(read_now)
    return read_now.stamp(tags)


def _merged(older: Snapshot, newer: Snapshot) -> Snapshot:
    """Both; of two epochs only the newer counts."""
    if older.epoch != newer.epoch:
        return newer
    return Snapshot(newer.epoch, {**older.tags, **newer.tags}, older.at)


def read(tags: Sequence[str]) -> Snapshot:
    """The values of tags now. Raises Away."""
    make_up()
    asked = time.monotonic()
    values = ask(lambda client: client.mget([EPOCH, *(PREFIX + tag for tag in tags)]))
    epoch = _text(values[0])
    if not epoch:
        ask(lambda client: client.set(EPOCH, new_value(), nx=True))
        epoch = _text(ask(lambda client: client.get(EPOCH)))
    return Snapshot(epoch, {tag: _text(value) for tag, value in zip(tags, values[1:], strict=True)}, asked)


def may_be_kept(stamp_: str) -> bool:
    """Whether what is read under this stamp may be kept: not while somebody is writing."""
    return MARK not in stamp_


def forget() -> None:
    """Ask anew for every tag."""
    _heard.clear()


@contextmanager
def changing(*tags: str) -> Iterator[None]:
    """Around a transaction that changes what is remembered under these tags: the next read anywhere sees it.

    While Redis is away nobody trusts what they remember. Should only this process not reach it, it makes up for that
    as soon as it does.
    """
    _write(tags, lambda: MARK + new_value(), MARK_SECONDS)
    try:
        yield
    finally:
        changed(*tags)


def changed(*tags: str) -> None:
    """What is remembered under these tags has changed: as :func:`changing`, for whoever knows it only afterwards."""
    _write(tags, new_value, TAG_SECONDS)
    if tags:
        time.sleep(LEASE_SECONDS)


def _write(tags: Sequence[str], value: Callable[[], str], seconds: int) -> None:
    if not tags:
        return
    for tag in tags:
        _heard.pop(tag, None)
    if _request.get() is not None:
        begin()  # what this request itself has read before is no longer new enough for it
    try:
        make_up()
        _set(tags, value, seconds)
    except Away:
        with _lock:
            _owed.update({tag: object() for tag in tags})


def _set(tags: Sequence[str], value: Callable[[], str], seconds: int) -> None:
    def write(client: redis.Redis) -> None:
        with client.pipeline(transaction=False) as pipe:
            for tag in tags:
                pipe.set(PREFIX + tag, value(), ex=seconds)
            pipe.execute()

    ask(write)


def make_up() -> None:
    """Change the tags that could not be changed when they should have been. Raises Away.

    They are owed until it is done, and whoever comes meanwhile waits for that: so nobody reads a tag as it was before,
    and what is made up for late does not take a writer's mark away.
    """
    if not _owed:
        return
    with _making_up:
        with _lock:
            owed = dict(_owed)
        if owed:
            _set(tuple(owed), new_value, TAG_SECONDS)
        with _lock:
            for tag, debt in owed.items():
                if _owed.get(tag) is debt:  # who has come to owe the same meanwhile owes it still
                    del _owed[tag]


def settle(seconds: float) -> bool:
    """Try for so long to make up, before this process ends; whether nothing is owed any more."""
    deadline = time.monotonic() + seconds
    while _owed:
        try:
            make_up()
        except Away:
            if time.monotonic() > deadline:
                return False
            time.sleep(SETTLE_SECONDS)
    return True


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
