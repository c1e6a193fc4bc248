"""When schedules fire, held against an oracle that walks through every minute and knows no cron library."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.errors import Invalid
from agora.schedules.times import Timetable, check_timetable

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ZONES = (
    "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Europe/Dublin", "Africa/Cairo",
    "America/Havana", "Antarctica/Troll", "Asia/Kathmandu", "Pacific/Chatham", "Asia/Beirut", "UTC",
)  # fmt: skip
LIMITS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


@cache
def changes(zone):
    """The hours in which the zone's clocks changed, 2024 to 2027, and a moment at which they did not."""
    found, moment = [datetime(2025, 7, 1, tzinfo=UTC)], datetime(2024, 1, 1, tzinfo=UTC)
    while moment.year < 2028:
        following = moment + timedelta(hours=1)
        if moment.astimezone(ZoneInfo(zone)).utcoffset() != following.astimezone(ZoneInfo(zone)).utcoffset():
            found.append(moment)
        moment = following
    return found


def values_of(field, name):
    low, high = LIMITS[name]
    found = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin = int(first)
            end = int(last) if dash else (high if step else begin)
        found.update(range(begin, end + 1, int(step or 1)))
    return {value % 7 for value in found} if name == "weekday" else found


class Oracle:
    """Debian's rules, written down without any cleverness."""

    def __init__(self, expression, zone):
        self.fields = dict(zip(LIMITS, expression.split(), strict=True))
        self.sets = {name: values_of(field, name) for name, field in self.fields.items()}
        self.zone = ZoneInfo(zone)

    def fits(self, wall):
        day = wall.day in self.sets["day"]
        weekday = wall.isoweekday() % 7 in self.sets["weekday"]
        both = self.fields["day"].startswith("*") or self.fields["weekday"].startswith("*")
        return (
            wall.minute in self.sets["minute"]
            and wall.hour in self.sets["hour"]
            and wall.month in self.sets["month"]
            and ((day and weekday) if both else (day or weekday))
        )

    def exists(self, wall):
        there = wall.replace(tzinfo=self.zone).astimezone(UTC)
        return there.astimezone(self.zone).replace(tzinfo=None) == wall

    def first_at_or_after(self, wall):
        while not self.exists(wall):
            wall += MINUTE
        return wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)

    def times(self, start, end):
        """Every fire time after ``start``, up to ``end``."""
        if self.fields["minute"].startswith("*") or self.fields["hour"].startswith("*"):
            minutes = [start + MINUTE * n for n in range(1, (end - start) // MINUTE + 1)]
            return [one for one in minutes if self.fits(one.astimezone(self.zone).replace(tzinfo=None))]
        found, wall = set(), start.astimezone(self.zone).replace(tzinfo=None) - DAY
        while wall < end.astimezone(self.zone).replace(tzinfo=None) + DAY:
            if self.fits(wall):
                found.add(self.first_at_or_after(wall))
            wall += MINUTE
        return sorted(one for one in found if start < one <= end)


def fields(name):
    low, high = LIMITS[name]
    number = st.integers(low, high)
    # Of a range of one number with a step, the library and Vixie's cron think differently; nobody writes it.
    span = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(st.one_of(st.just("*"), span), st.integers(1, 20)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    some = st.lists(number.map(str), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), some, span, stepped)


NIGHT = st.one_of(st.sampled_from(["0", "1", "2", "3", "1-3", "2,3", "0-4", "23", "*", "*/2", "0,12"]), fields("hour"))
EXPRESSIONS = st.tuples(
    fields("minute"),
    NIGHT,
    st.one_of(st.just("*"), fields("day")),
    st.just("*"),
    st.one_of(st.just("*"), fields("weekday")),
).map(" ".join)


@pytest.mark.no_cover  # tracing would take most of its time
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), zone=st.sampled_from(ZONES), expression=EXPRESSIONS)
def test_cron_times_around_a_change_of_the_clocks_are_the_oracles(data, zone, expression):
    change = data.draw(st.sampled_from(changes(zone)))
    start = change - DAY + MINUTE * data.draw(st.integers(0, 26 * 60))
    end = change + DAY
    found = list(Timetable(cron=expression, timezone=zone)._through(start, end))
    assert found == Oracle(expression, zone).times(start, end)
    assert found == sorted(set(found))


def berlin(expression, start, count):
    table = Timetable(cron=expression, timezone="Europe/Berlin")
    return [one.strftime("%d %H:%M") for one in table.upcoming(datetime.fromisoformat(start), count)]


def test_a_fixed_hour_that_is_skipped_fires_right_after_it():
    assert berlin("30 2 * * *", "2026-03-28T12:00+00:00", 2) == ["29 01:00", "30 00:30"]


def test_a_fixed_hour_that_comes_twice_fires_once_and_a_starred_minute_twice():
    assert berlin("30 2 * * *", "2026-10-24T12:00+00:00", 2) == ["25 00:30", "26 01:30"]
    assert berlin("*/30 2 * * *", "2026-10-24T12:00+00:00", 5) == [
        "25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00",
    ]  # fmt: skip


def test_it_does_not_go_back_from_the_second_pass_to_the_first():
    assert berlin("45 2 * * *", "2026-10-25T01:30+00:00", 1) == ["26 01:45"]


def test_a_change_by_half_an_hour_loses_no_minute():
    table = Timetable(cron="*/15 0 * * *", timezone="Australia/Lord_Howe")
    found = table.upcoming(datetime(2024, 4, 6, 14, 0, tzinfo=UTC), 4)
    assert [one.strftime("%d %H:%M") for one in found] == ["07 13:30", "07 13:45", "07 14:00", "07 14:15"]


def test_a_starred_time_of_the_hour_that_comes_twice_once_a_year_comes_twice():
    table = Timetable(cron="*/30 2 25 10 *", timezone="Europe/Berlin")
    found = table.upcoming(datetime(2026, 10, 25, 0, 29, tzinfo=UTC), 3)
    assert [one.isoformat()[:16] for one in found] == ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]


def test_an_interval_keeps_to_its_anchor():
    anchor = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)
    table = Timetable(every=90, anchor=anchor)
    assert table.after(anchor) == anchor + timedelta(seconds=90)
    assert table.after(anchor + timedelta(seconds=90)) == anchor + timedelta(seconds=180)
    assert table.after(anchor + timedelta(days=3, seconds=1)) == anchor + timedelta(days=3, seconds=90)
    assert table.after(anchor - timedelta(days=1)) == anchor


def test_a_moment_fires_once_and_nothing_fires_after_the_end():
    at = datetime(2026, 5, 1, tzinfo=UTC)
    assert Timetable(at=at).upcoming(at - DAY, 10) == [at]
    assert Timetable(at=at).after(at) is None
    table = Timetable(cron="0 0 * * *", ends_at=at + DAY)
    assert table.upcoming(at - MINUTE, 10) == [at, at + DAY]


@settings(max_examples=100, deadline=None)
@given(hours=st.integers(0, 4000), count=st.integers(1, 50), every=st.sampled_from([60, 3600, 7 * 86_400]))
def test_the_latest_times_are_the_tail_of_them_all(hours, count, every):
    since = datetime(2026, 1, 1, tzinfo=UTC)
    until = since + timedelta(hours=hours)
    table = Timetable(every=every, anchor=since)
    everything = [since + timedelta(seconds=every * n) for n in range(hours * 3600 // every + 1)]
    assert table.latest(since, until, count) == everything[-count:]


NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("table", "pointer", "rule"),
    [
        ({}, "/cron", "exactly-one"),
        ({"cron": "* * * * *", "every": 5.0}, "/every", "exactly-one"),
        ({"cron": "* * * *"}, "/cron", "cron"),
        ({"cron": "* * * * * *"}, "/cron", "cron"),
        ({"cron": "61 * * * *"}, "/cron", "cron"),
        ({"cron": "*/0 * * * *"}, "/cron", "cron"),
        ({"cron": "L/2 * * * *"}, "/cron", "cron"),
        ({"cron": "0 0 31 2 *"}, "/cron", "cron"),
        ({"cron": "0 0 * * *", "timezone": "Mars/Olympus"}, "/timezone", "time-zone"),
        ({"cron": "0 0 * * *", "timezone": "../etc/passwd"}, "/timezone", "time-zone"),
        ({"cron": "0 0 * * *", "ends_at": NOW}, "/cron", "never-fires"),
        ({"every": 0.5}, "/every", "range"),
        ({"every": 1e9}, "/every", "range"),
        ({"at": NOW - MINUTE}, "/at", "never-fires"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(table, pointer, rule):
    with pytest.raises(Invalid) as refused:
        check_timetable(Timetable(anchor=NOW, **table), now=NOW)
    assert (refused.value.errors[0].pointer, refused.value.errors[0].rule) == (pointer, rule)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=30), st.lists(st.text("0123456789*/,-L#W", max_size=5), min_size=5, max_size=5).map(" ".join)
    )
)
def test_any_text_for_a_cron_is_taken_or_refused(text):
    table = Timetable(cron=text)
    with suppress(Invalid):
        check_timetable(table, now=NOW)
        assert table.after(NOW) > NOW
