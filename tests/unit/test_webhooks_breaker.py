"""What tries tell about their endpoint: pure decisions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.webhooks.breaker import BAD_RATIO, ENOUGH_TRIES, LONGEST_REST, THRESHOLD, WINDOW, Told, judge
from agora.webhooks.schedule import Outcome

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAYS_5 = 5 * 24 * 3600.0
OK, FAILED, SLOWED, UNREACHED, GONE = (
    Outcome.DELIVERED, Outcome.FAILED, Outcome.SLOWED, Outcome.UNREACHED, Outcome.GONE,
)  # fmt: skip


def endpoint(failures=0, **columns):
    return {
        "kind": "endpoint", "status": "active", "consecutive_failures": failures, "resting": False, "allowance": 32,
        "max_in_flight": 32, "recent_tries": 0, "recent_failures": 0, "recent_since": None, "failing_since": None,
        "warned": 0, **columns,
    }  # fmt: skip


def verdict(row, *outcomes, retry_after=None):
    return judge(row, [Told(outcome=one, retry_after=retry_after) for one in outcomes], NOW, disable_after=DAYS_5)


def test_one_outage_counts_once_however_many_tries_were_under_way():
    found = verdict(endpoint(), *[UNREACHED] * 32)
    assert (found.failures, found.rest, found.allowance) == (THRESHOLD, 30, 1)


def test_after_its_rest_each_failed_probe_doubles_the_next():
    assert verdict(endpoint(THRESHOLD), UNREACHED).rest == 60
    assert verdict(endpoint(THRESHOLD + 1), UNREACHED).rest == 120
    assert verdict(endpoint(THRESHOLD + 50), UNREACHED).rest == LONGEST_REST


def test_while_it_rests_nothing_is_added():
    found = verdict(endpoint(THRESHOLD, resting=True, allowance=1), UNREACHED, UNREACHED)
    assert (found.failures, found.rest, found.allowance) == (THRESHOLD, None, 1)


def test_an_answer_of_any_kind_ends_the_run_but_only_2xx_is_health():
    refused = verdict(endpoint(4), UNREACHED, FAILED)
    assert (refused.failures, refused.rest, refused.healthy) == (0, None, False)
    well = verdict(endpoint(7), UNREACHED, OK)
    assert (well.failures, well.healthy, well.delivered) == (0, True, True)


def test_being_asked_to_slow_down_rests_the_endpoint_for_a_quarter_of_an_hour_at_most():
    assert verdict(endpoint(), SLOWED, retry_after=45.0).rest == 45
    assert verdict(endpoint(), SLOWED, retry_after=86_400.0).rest == LONGEST_REST
    assert verdict(endpoint(), SLOWED).rest is None
    assert verdict(endpoint(), FAILED, retry_after=45.0).rest is None


def test_410_disables():
    assert verdict(endpoint(), GONE).gone
    assert not verdict(endpoint(), FAILED).gone


def test_it_starts_slowly_and_doubles_with_each_round():
    allowance, rounds = 1, []
    while allowance < 32:
        allowance = verdict(endpoint(allowance=allowance), *[OK] * allowance).allowance
        rounds.append(allowance)
    assert rounds == [2, 4, 8, 16, 32]
    assert verdict(endpoint(), *[OK] * 100).allowance == 32


def test_a_receiver_that_asks_for_less_gets_half_and_a_silent_one_gets_one():
    assert verdict(endpoint(), SLOWED).allowance == 16
    assert verdict(endpoint(), SLOWED, SLOWED).allowance == 8
    assert verdict(endpoint(allowance=1), SLOWED).allowance == 1
    assert verdict(endpoint(), UNREACHED).allowance == 1
    assert verdict(endpoint(), FAILED).allowance == 32


def test_a_minute_in_which_most_tries_fail_opens_the_breaker_without_any_run():
    outcomes = [OK, UNREACHED] * (ENOUGH_TRIES // 2)
    found = verdict(endpoint(), *outcomes)
    assert (found.rest, found.tries, found.failed) == (30, 0, 0)
    half = len(outcomes) // 2
    first = verdict(endpoint(), *outcomes[:half])
    assert (first.rest, first.tries, first.failed) == (None, half, half // 2)
    columns = {"recent_tries": first.tries, "recent_failures": first.failed}
    assert verdict(endpoint(recent_since=NOW, **columns), *outcomes[half:]).rest == 30
    late = verdict(endpoint(recent_since=NOW - WINDOW - timedelta(seconds=1), **columns), *outcomes[half:])
    assert (late.rest, late.tries) == (None, half)


def test_a_good_ratio_is_no_reason_to_rest():
    outcomes = [OK, OK, OK, UNREACHED] * ENOUGH_TRIES
    assert BAD_RATIO > 0.25
    assert verdict(endpoint(), *outcomes).rest is None


@pytest.mark.parametrize(
    ("days", "warned", "expected"),
    [
        (1, 0, None), (2.5, 0, 50), (2.6, 50, None), (3.8, 50, 75), (4.6, 75, 90), (9, 90, 100), (5, 90, 100),
        (4.9, 90, None),
    ],
)  # fmt: skip
def test_warnings_come_at_their_shares_of_the_time_and_then_the_end(days, warned, expected):
    row = endpoint(failing_since=NOW - timedelta(days=days), warned=warned)
    assert verdict(row, UNREACHED).warn == expected
    assert verdict(row, FAILED).warn == expected
    assert verdict(row, OK).warn is None


def test_it_is_never_disabled_without_the_last_warning():
    """Of an endpoint that got nothing for a month after its first failure, too."""
    row = endpoint(failing_since=NOW - timedelta(days=30), warned=50)
    assert verdict(row, UNREACHED).warn == 90


@pytest.mark.parametrize("columns", [{"kind": "inline"}, {"status": "paused"}, {"failing_since": None}])
def test_no_warning_for_what_cannot_be_disabled(columns):
    row = endpoint(**{"failing_since": NOW - timedelta(days=30), "warned": 90} | columns)
    assert verdict(row, UNREACHED).warn is None


def test_a_recovery_is_told_only_of_what_was_warned_of():
    assert verdict(endpoint(warned=50), UNREACHED, OK).recovered
    assert not verdict(endpoint(), UNREACHED, OK).recovered
    assert not verdict(endpoint(warned=50), UNREACHED).recovered


@given(
    outcomes=st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=60),
    allowance=st.integers(1, 32), failures=st.integers(0, 30), resting=st.booleans(),
)  # fmt: skip
def test_whatever_happens_the_numbers_stay_within_their_bounds(outcomes, allowance, failures, resting):
    row = endpoint(failures, allowance=allowance, resting=resting)
    found = verdict(row, *outcomes)
    assert 1 <= found.allowance <= 32
    assert 0 <= found.failed <= found.tries <= len(outcomes)
    assert found.rest is None or 0 < found.rest <= LONGEST_REST
    assert not (resting and found.rest)
