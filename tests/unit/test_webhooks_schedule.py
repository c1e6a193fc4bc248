"""When a delivery is tried again, and what an answer means."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.settings import Settings
from agora.webhooks import schedule
from agora.webhooks.schedule import Outcome, classify, next_try, parse_retry_after

DEFAULT = Settings().webhook_schedule
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_the_default_is_ten_tries_over_three_days():
    assert len(DEFAULT) == 10
    assert timedelta(days=3) < timedelta(seconds=sum(DEFAULT)) < timedelta(days=3, hours=6)
    assert DEFAULT[0] == 0


@given(tries=st.integers(1, 9), luck=st.floats(0, 1))
def test_pauses_are_jittered_by_a_fifth_at_most(tries, luck):
    pause = next_try(DEFAULT, tries, rng=lambda: luck)
    assert DEFAULT[tries] * 0.8 <= pause <= DEFAULT[tries] * 1.2


def test_jitter_goes_both_ways():
    assert next_try([0, 100], 1, rng=lambda: 0.0) == pytest.approx(80)
    assert next_try([0, 100], 1, rng=lambda: 1.0) == pytest.approx(120)


def test_a_spent_schedule_has_no_next_try_whatever_was_asked():
    assert next_try(DEFAULT, 10) is None
    assert next_try(DEFAULT, 10, retry_after=60) is None
    assert next_try([0], 1) is None


@given(asked=st.floats(0, 86_400), luck=st.floats(0, 1))
def test_retry_after_is_never_undercut(asked, luck):
    assert next_try(DEFAULT, 1, retry_after=asked, rng=lambda: luck) >= asked


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("31536000", 86_400.0),
        ("9" * 5000, 86_400.0),
        (format_datetime(NOW + timedelta(minutes=10), usegmt=True), 600.0),
        (format_datetime(NOW + timedelta(days=365), usegmt=True), 86_400.0),
        (format_datetime(NOW - timedelta(minutes=10), usegmt=True), None),
        ("Sat, 31 Jan 2026 12:01:00", 60.0),
        ("0", None),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("Fri, 31 Dec 999999 23:59:59 GMT", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_takes_seconds_and_dates_and_ignores_junk(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_retry_after_never_raises(value):
    found = parse_retry_after(value, NOW)
    assert found is None or 0 < found <= 86_400


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED), (204, Outcome.DELIVERED), (299, Outcome.DELIVERED),
        (101, Outcome.FAILED), (301, Outcome.FAILED), (302, Outcome.FAILED), (307, Outcome.FAILED),
        (400, Outcome.FAILED), (404, Outcome.FAILED), (410, Outcome.GONE), (429, Outcome.SLOWED),
        (500, Outcome.FAILED), (502, Outcome.SLOWED), (503, Outcome.SLOWED), (504, Outcome.SLOWED),
        (None, Outcome.UNREACHED),
    ],
)  # fmt: skip
def test_only_2xx_is_delivered(status, outcome):
    assert classify(status) is outcome


@pytest.mark.parametrize("own", [[], [0.0] * 21, [-1.0], [float("nan")], [float("inf")], [8 * 24 * 3600.0]])
def test_a_bad_schedule_is_explained(own):
    assert "schedule" in schedule.fault_of_schedule(own)


def test_a_good_schedule_has_no_fault():
    assert schedule.fault_of_schedule([0, 1, 2.5]) is None
    assert schedule.fault_of_schedule(DEFAULT) is None
