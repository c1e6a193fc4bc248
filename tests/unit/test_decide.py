"""decide(): every outcome of a step, without a database."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.agents import ActionSpec, StepSpec
from agora.jobs.decide import (
    Failure,
    Position,
    backoff,
    cancelled,
    decide,
    decide_failure,
    decide_interrupted,
    decide_lost,
    failure_of,
)
from agora.jobs.states import JobState, StepState
from agora.outcomes import (
    Cancel,
    Cancelled,
    Done,
    Draining,
    LeaseLost,
    Permanent,
    Repeat,
    Snooze,
    TimeExceeded,
    Transient,
    WaitFor,
)

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def spec_of(name, **changed):
    values = {"queue": "cpu", "attempts": 3, "first": 1.0, "cap": 60.0, "jitter": 0.2, "timeout": None}
    return StepSpec(name=name, transactional=False, **(values | changed))


ACTION = ActionSpec(
    agent="a",
    action="b",
    version=1,
    description="",
    steps=(spec_of("one"), spec_of("two", queue="io"), spec_of("three")),
    input_schema={},
    output_schema={},
    max_iterations=3,
)


def at(name="one", **changed):
    return Position(action=ACTION, step=ACTION.step(name), **changed)


@pytest.mark.parametrize("outcome", [5, Done(5)])
def test_a_value_makes_the_next_step_ready(outcome):
    decision = decide(outcome, at("one", iteration=2))
    assert decision.step_status is StepState.SUCCEEDED
    assert decision.result == 5
    assert decision.job_status is None
    assert (decision.next_step.spec.name, decision.next_step.position, decision.next_step.iteration) == ("two", 1, 2)
    assert not decision.next_step.new_carry


def test_the_last_value_ends_the_job():
    decision = decide({"x": 1}, at("three"))
    assert decision.job_status is JobState.SUCCEEDED
    assert decision.next_step is None


def test_snooze_and_wait_suspend():
    nap = decide(Snooze(LATER), at())
    assert (nap.step_status, nap.job_status, nap.wake_at) == (StepState.SUSPENDED, JobState.WAITING, LATER)
    ask = decide(WaitFor({"type": "string"}, "Why?"), at())
    assert ask.suspension == {"kind": "input", "prompt": "Why?", "schema": {"type": "string"}}
    assert ask.wake_at is None


def test_a_naive_time_fails_at_once_rather_than_sleep_in_an_unknown_zone():
    decision = decide(Snooze(LATER.replace(tzinfo=None)), at())
    assert (decision.job_status, decision.error.code) == (JobState.FAILED, "naive-time")


def test_repeat_goes_back_with_the_iteration_counted_up_and_is_bounded():
    decision = decide(Repeat("one", {"n": 1}), at("two", iteration=1))
    following = decision.next_step
    assert (following.spec.name, following.iteration, following.carry) == ("one", 2, {"n": 1})
    assert following.new_carry
    assert decide(Repeat("one"), at("two", iteration=2)).error.code == "iterations-exceeded"
    assert decide(Repeat("nine"), at("two")).error.code == "no-such-step"


def test_cancel_is_an_outcome():
    decision = decide(Cancel("enough"), at())
    assert (decision.job_status, decision.reason, decision.next_step) == (JobState.CANCELLED, "enough", None)


def test_transient_backs_off_until_the_attempts_run_out():
    failure = failure_of(Transient("later", retry_after=timedelta(seconds=90)))
    first = decide_failure(failure, at(attempt=1))
    assert first.step_status is StepState.READY
    assert first.retry_in >= 90
    last = decide_failure(failure, at(attempt=3))
    assert (last.step_status, last.job_status) == (StepState.FAILED, JobState.FAILED)


def test_lost_leases_do_not_eat_the_attempts_of_real_failures():
    failure = failure_of(ValueError("x"))
    assert decide_failure(failure, at(attempt=4, lost_leases=2)).step_status is StepState.READY
    assert decide_failure(failure, at(attempt=5, lost_leases=2)).step_status is StepState.FAILED


def test_permanent_fails_at_once():
    assert decide_failure(failure_of(Permanent("no", code="nope")), at()).error.code == "nope"
    assert decide_failure(failure_of(Permanent("no")), at()).job_status is JobState.FAILED


def test_a_lost_worker_has_a_cap_of_its_own():
    assert decide_lost(at(attempt=4, lost_leases=3), limit=5).step_status is StepState.READY
    poison = decide_lost(at(attempt=5, lost_leases=4), limit=5)
    assert (poison.step_status, poison.error.code, poison.lost_lease) == (StepState.FAILED, "worker-lost", True)


def test_interruptions():
    assert decide_interrupted(LeaseLost(), at()) is None
    assert decide_interrupted(Cancelled(), at()).job_status is JobState.CANCELLED
    drained = decide_interrupted(Draining(), at())
    assert (drained.step_status, drained.burns_attempt) == (StepState.READY, False)
    assert decide_interrupted(TimeExceeded(), at()).error.code == "step-timeout"


def test_a_cancelled_job_keeps_what_its_step_achieved():
    kept = cancelled(decide(7, at("one")))
    assert (kept.step_status, kept.result, kept.next_step) == (StepState.SUCCEEDED, 7, None)
    assert kept.job_status is JobState.CANCELLED
    retrying = cancelled(decide_failure(failure_of(ValueError()), at()))
    assert (retrying.step_status, retrying.retry_in) == (StepState.CANCELLED, 0)


@given(tried=st.integers(1, 1000), spread=st.floats(-1, 1))
def test_back_off_stays_within_its_bounds(tried, spread):
    step = spec_of("one", first=0.5, cap=30.0, jitter=0.2)
    delay = backoff(step, tried, spread)
    assert 0.4 <= delay <= 36.0
    assert backoff(step, tried + 1, 0) >= backoff(step, tried, 0)


@given(text=st.text())
def test_any_message_can_be_stored(text):
    failure = failure_of(ValueError(text))
    assert isinstance(failure, Failure)
    assert "\x00" not in failure.message + failure.traceback
    assert failure.message
