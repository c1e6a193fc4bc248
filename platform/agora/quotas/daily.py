"""How many jobs a team makes in a day (UTC): counted in Redis before they are made, so that no submit waits.

The count begins from Postgres, where the jobs are, and is taken up before a job is inserted: with Redis there, a team
never gets more than its quota, however many processes submit at once. A process that dies between the two loses one of
the quota for that day. While Redis is away Postgres is asked each time: then a team may get as many more as other
processes are inserting at that moment. Redis is made to begin anew from Postgres after that, and so it is when it comes
back with an older count: each is of an epoch (agora/caching/epoch.py).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import redis
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError  # noqa: A004  # the pool's
from sqlalchemy.orm import Session

from agora.caching.epoch import EPOCH, new_value
from agora.caching.link import Away, ask
from agora.clock import now
from agora.db.session import transaction
from agora.ids import floor_id
from agora.jobs.together import Interrupted
from agora.quotas import queries, tiers
from agora.quotas.types import DailyQuotaExceeded, Quota

PREFIX = "agora:jobs-of-day:"
KEEP_SECONDS = 2 * 86_400
DAY = timedelta(days=1)
UNKNOWN, REFUSED = -1, -2

TAKE = """
redis.call('SET', KEYS[2], ARGV[5], 'NX')
local epoch = redis.call('GET', KEYS[2])
local of, used = string.match(redis.call('GET', KEYS[1]) or '', '^(%w+)|(%d+)$')
if of ~= epoch then used = ARGV[3] end
if used == '' then return -1 end
if tonumber(ARGV[1]) > 0 and tonumber(used) + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return -2 end
used = math.max(0, tonumber(used) + tonumber(ARGV[1]))
redis.call('SET', KEYS[1], epoch .. '|' .. string.format('%.0f', used), 'EX', ARGV[4])
return used
"""

_lock = threading.Lock()
_pending: Counter[str] = Counter()
"""Jobs that this process is inserting without Redis, by team: Postgres does not count them yet."""
_uncounted = dict[str, object]()
"""Counts in Redis that miss jobs which were made without it, each with a token of its own for whoever missed last."""
_making_up = threading.Lock()


class Allowance:
    """A part of a team's quota, taken before jobs are made, and given back when they are not."""

    def __init__(self, team_id: str) -> None:
        self._team_id, self._limit = team_id, tiers.of(team_id).jobs_per_day
        self._day = now().astimezone(UTC).date()
        self._counted, self._held_here, self._used = 0, 0, False

    @property
    def is_endless(self) -> bool:
        """Whether the team may make as many as it likes."""
        return self._limit is None

    def take(self, count: int = 1, *, session: Session | None = None) -> None:
        """Take room for so many jobs, or for none; once. ``session``: of whoever has one. Raises DailyQuotaExceeded."""
        if self._limit is None or self._counted or self._held_here:
            return
        if not self._take(count, self._limit, session):
            at = _midnight_of(self._day) + DAY
            raise DailyQuotaExceeded(
                f"the team may make {self._limit} jobs a day", quota=Quota.JOBS_PER_DAY.value, limit=self._limit,
                resets_at=at.isoformat(), retry_after=max(1, round((at - now()).total_seconds())),
            )  # fmt: skip

    def has_room(self) -> bool:
        """Take room for one job, if there is; else whoever needs it must :meth:`take` it and is told so."""
        return self._limit is None or self._take(1, self._limit, None)

    def use(self) -> None:
        """The jobs have been made."""
        self._used = True

    @property
    def _key(self) -> str:
        return f"{PREFIX}{self._day}:{self._team_id}"

    def _take(self, count: int, limit: int, session: Session | None) -> bool:
        key = self._key
        try:
            found = _count(key, count, limit)
            if found == UNKNOWN:
                found = _count(key, count, limit, begin=str(self._count_made(limit + count, session)))
        except Away:
            return self._take_here(key, count, limit, session)
        self._counted += count if found != REFUSED else 0
        return found != REFUSED

    def _take_here(self, key: str, count: int, limit: int, session: Session | None) -> bool:
        with _lock:
            _uncounted[key] = object()
            _pending[self._team_id] += count
            pending = _pending[self._team_id]
        self._held_here += count
        if self._count_made(limit + count, session) + pending <= limit:
            return True
        self._let_go()
        return False

    def _count_made(self, most: int, session: Session | None) -> int:
        return made_today(self._team_id, most=most, day=self._day, session=session)

    def _let_go(self) -> None:
        with _lock:
            _pending[self._team_id] -= self._held_here
            if _pending[self._team_id] <= 0:
                del _pending[self._team_id]
            _uncounted[self._key] = object()  # a count that somebody began meanwhile, from Postgres, misses them
        self._held_here = 0

    def close(self, *, maybe_made: bool) -> None:
        """Give back what was taken and not used; not where nobody knows whether it was."""
        if self._held_here:
            self._let_go()
        if self._counted and not self._used and not maybe_made:
            try:
                # A count that is gone meanwhile stays unknown: the next who takes has it from Postgres.
                _count(self._key, -self._counted, 0)
            except Away:
                with _lock:
                    _uncounted[self._key] = object()


@contextmanager
def allowance(team_id: str) -> Iterator[Allowance]:
    """Around the making of jobs: take, make, use."""
    made = Allowance(team_id)
    if made.is_endless:
        yield made
        return
    try:
        yield made
    except BaseException as error:
        made.close(maybe_made=_may_have_made(error))
        raise
    made.close(maybe_made=False)


def _may_have_made(error: BaseException) -> bool:
    """Whether jobs may be there although this was raised: the answer to a commit was lost, or nobody waited for it."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    if isinstance(error, TimeoutError):  # of the pool: no connection, and so no statement
        return False
    return isinstance(error, (SQLAlchemyError, Interrupted)) or not isinstance(error, Exception)


def made_today(
    team_id: str, *, most: int = queries.MOST_COUNTED, day: date | None = None, session: Session | None = None
) -> int:
    """How many jobs somebody made for a team since midnight (UTC), up to ``most``; children of jobs do not count."""
    began = _midnight_of(day or now().astimezone(UTC).date())
    since = floor_id("job", began)
    if session is not None:
        return queries.count_jobs(session, team_id=team_id, since=since, most=most)
    with transaction() as session_of_its_own:
        return queries.count_jobs(session_of_its_own, team_id=team_id, since=since, most=most)


def resets_at() -> datetime:
    """When the present day ends."""
    return _midnight_of(now().astimezone(UTC).date()) + DAY


def _midnight_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def make_up() -> None:
    """Let the counts that miss jobs begin anew, from Postgres. Raises Away.

    Whoever counts meanwhile waits for it: they would have the old count, or take away the one that begins here.
    """
    if not _uncounted:
        return
    with _making_up:
        with _lock:
            found = dict(_uncounted)
        if not found:
            return
        ask(lambda client: client.delete(*found))
        with _lock:
            for key, token in found.items():
                if _uncounted.get(key) is token:  # else somebody has missed it anew since
                    del _uncounted[key]


def _count(key: str, count: int, limit: int, *, begin: str = "") -> int:
    make_up()
    args = [count, limit, begin, KEEP_SECONDS, new_value()]
    return int(ask(lambda client: _script(client)(keys=[key, EPOCH], args=args)))


@lru_cache(maxsize=4)
def _script(client: redis.Redis) -> Any:
    return client.register_script(TAKE)
