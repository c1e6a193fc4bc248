"""How many jobs a team makes in a day (UTC): counted in Redis before they are made, so that no submit waits.

The count begins from Postgres, where the jobs are, and is taken up before a job is inserted: with Redis there, a team
never gets more than its quota, however many processes submit at once. A process that dies between the two loses one of
the quota for that day. While Redis is away Postgres is asked each time: then a team may get as many more as other
processes are inserting at that moment. Redis is made to begin anew from Postgres after that.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import redis
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from agora.caching.link import Away, ask
from agora.clock import now
from agora.db.session import transaction
from agora.ids import floor_id
from agora.quotas import queries, tiers
from agora.quotas.types import DailyQuotaExceeded, Quota

PREFIX = "agora:jobs-of-day:"
KEEP_SECONDS = 2 * 86_400
DAY = timedelta(days=1)
UNKNOWN, REFUSED = -1, -2

TAKE = """
local used = redis.call('GET', KEYS[1]) or ARGV[3]
if used == '' then return -1 end
if tonumber(ARGV[1]) > 0 and tonumber(used) + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return -2 end
used = math.max(0, tonumber(used) + tonumber(ARGV[1]))
redis.call('SET', KEYS[1], string.format('%.0f', used), 'EX', ARGV[4])
return used
"""

_lock = threading.Lock()
_pending: Counter[str] = Counter()
"""Jobs that this process is inserting without Redis, by team: Postgres does not count them yet."""
_uncounted = set[str]()
"""Counts in Redis that miss jobs which were made without it."""


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

    def _take(self, count: int, limit: int, session: Session | None) -> bool:
        key = f"{PREFIX}{self._day}:{self._team_id}"
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
            _uncounted.add(key)
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
        self._held_here = 0

    def close(self, *, maybe_made: bool) -> None:
        """Give back what was taken and not used; not where nobody knows whether it was."""
        if self._held_here:
            self._let_go()
        if self._counted and not self._used and not maybe_made:
            try:
                # A count that is gone meanwhile stays unknown: the next who takes has it from Postgres.
                _count(f"{PREFIX}{self._day}:{self._team_id}", -self._counted, 0)
            except Away:
                with _lock:
                    _uncounted.add(f"{PREFIX}{self._day}:{self._team_id}")


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
        gone = isinstance(error, SQLAlchemyError) and (
            not isinstance(error, DBAPIError) or error.connection_invalidated
        )
        made.close(maybe_made=gone or not isinstance(error, Exception))
        raise
    made.close(maybe_made=False)


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


def _count(key: str, count: int, limit: int, *, begin: str = "") -> int:
    with _lock:
        uncounted = tuple(_uncounted)
    if uncounted:
        ask(lambda client: client.delete(*uncounted))
        with _lock:
            _uncounted.difference_update(uncounted)
    return int(ask(lambda client: _script(client)(keys=[key], args=[count, limit, begin, KEEP_SECONDS])))


@lru_cache(maxsize=4)
def _script(client: redis.Redis) -> Any:
    return client.register_script(TAKE)
