"""When a schedule fires: pure functions over time, no database.

Cron follows Debian's rules when the clocks change (cronsim): a job of fixed hours that falls into the hour that is
skipped runs right after it, one in the hour that comes twice runs the first time; a job whose minute or hour begins
with a star goes by the clock on the wall.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from agora.errors import invalid_field

FIELDS = 5
SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 366 * 86_400.0
WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 24, 32 * 24, 366 * 24, 5 * 366 * 24))
"""How far back the newest fire times are looked for, one after the other: few are gone through when they are dense."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timetable:
    """When to fire: by ``cron`` in ``timezone``, ``every`` seconds from ``anchor`` on, or ``at`` a moment once."""

    cron: str | None = None
    timezone: str = "UTC"
    every: float | None = None
    anchor: datetime | None = None
    at: datetime | None = None
    ends_at: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """The first fire time after ``moment``, in UTC; None when there is none any more."""
        return next(self._from(moment), None)

    def upcoming(self, moment: datetime, count: int) -> list[datetime]:
        """The next ``count`` fire times after ``moment``."""
        return [found for _, found in zip(range(count), self._from(moment), strict=False)]

    def latest(self, since: datetime, until: datetime, count: int) -> list[datetime]:
        """The newest ``count`` fire times from ``since`` to ``until``, both included, oldest first."""
        first = since - timedelta(microseconds=1)
        found: list[datetime] = []
        for window in (*WINDOWS, until - since):
            start = max(first, until - window)
            found = list(self._through(start, until))
            if len(found) >= count or start == first:
                break
        return found[-count:]

    def _through(self, start: datetime, until: datetime) -> Iterator[datetime]:
        for found in self._from(start):
            if found > until:
                return
            yield found

    def _from(self, moment: datetime) -> Iterator[datetime]:
        for found in self._unbounded(moment.astimezone(UTC)):
            if self.ends_at is not None and found > self.ends_at:
                return
            yield found

    def _unbounded(self, moment: datetime) -> Iterator[datetime]:
        if self.cron is not None:
            yield from cron_times(self.cron, self.timezone, moment)
        elif self.at is not None:
            if self.at > moment:
                yield self.at.astimezone(UTC)
        elif self.every is not None and self.anchor is not None:
            yield from _interval_times(self.every, self.anchor.astimezone(UTC), moment)


def cron_times(expression: str, timezone: str, moment: datetime) -> Iterator[datetime]:
    """The fire times of a cron expression after ``moment``, in UTC, strictly increasing."""
    minute, hour, *_ = expression.split()
    starred = minute.startswith("*") or hour.startswith("*")
    times = _starred_times if starred else _fixed_times
    return times(expression, ZoneInfo(timezone), moment)


def _fixed_times(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    last = moment
    for local in CronSim(expression, moment.astimezone(zone)):
        found = local.astimezone(UTC)
        # From within an hour that comes twice the library may go back to its first pass.
        if found > last:
            last = found
            yield found


def _starred_times(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """From one change of the clocks to the next: in between, the clock on the wall is plain arithmetic.

    Over a change by half an hour the library, when it is given the zone, loses its step.
    """
    last = moment.replace(microsecond=0)
    offset = _offset(zone, last)
    wall = (last + offset).replace(tzinfo=None)
    while True:
        for local in CronSim(expression, wall):
            found = local.replace(tzinfo=UTC) - offset
            change = _next_change(zone, last, found)
            if change is not None:
                last, offset = change, _offset(zone, change)
                wall = (change + offset).replace(tzinfo=None) - timedelta(seconds=1)
                break
            last = found
            yield found
        else:
            return


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _next_change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment after ``start``, up to ``end``, at which the zone's clocks change; to the second."""
    offset, probe = _offset(zone, start), start
    while probe < end:
        following = min(probe + timedelta(days=1), end)
        if _offset(zone, following) == offset:
            probe = following
            continue
        while following - probe > timedelta(seconds=1):
            middle = probe + (following - probe) // 2
            middle = middle.replace(microsecond=0)
            probe, following = (middle, following) if _offset(zone, middle) == offset else (probe, middle)
        return following
    return None


def _interval_times(every: float, anchor: datetime, moment: datetime) -> Iterator[datetime]:
    number = 0 if moment < anchor else math.floor((moment - anchor).total_seconds() / every)
    while True:
        found = anchor + timedelta(seconds=number * every)
        if found > moment:
            yield found
        number += 1


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def check_timetable(table: Timetable, *, now: datetime) -> None:
    """Raise Invalid, naming the field, unless a timetable can be kept."""
    given = [name for name in ("cron", "every", "at") if getattr(table, name) is not None]
    if len(given) != 1:
        message = f"give one of cron, every and at, not {', '.join(given) or 'none'}"
        raise invalid_field(f"/{given[1] if given else 'cron'}", "exactly-one", message)
    if table.timezone not in _zones():
        message = f"{table.timezone!r} is no time zone of the IANA database, such as Europe/Berlin"
        raise invalid_field("/timezone", "time-zone", message, table.timezone)
    if table.cron is not None:
        _check_cron(table.cron, now)
    if table.every is not None and not SHORTEST_INTERVAL <= table.every <= LONGEST_INTERVAL:
        message = f"every must be {SHORTEST_INTERVAL:.0f} to {LONGEST_INTERVAL:.0f} seconds"
        raise invalid_field("/every", "range", message, table.every)
    if table.after(now) is None:
        message = "the schedule would never fire: no time of it lies ahead"
        raise invalid_field(f"/{given[0]}", "never-fires", message, str(getattr(table, given[0])))


def _check_cron(expression: str, now: datetime) -> None:
    if len(expression.split()) != FIELDS:
        message = f"cron must have {FIELDS} fields: minute, hour, day of the month, month, day of the week"
        raise invalid_field("/cron", "cron", message, expression)
    try:
        next(CronSim(expression, now), None)
    except CronSimError as error:
        message = f"cron {expression!r}: {str(error)[:1].lower()}{str(error)[1:]}"
        raise invalid_field("/cron", "cron", message, expression) from None
    except (ValueError, OverflowError, AssertionError) as error:
        raise invalid_field("/cron", "cron", f"cron {expression!r} cannot be read: {error}", expression) from None
