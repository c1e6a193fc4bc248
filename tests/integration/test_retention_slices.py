"""Retention goes in slices: whatever there is to remove, one transaction removes no more than it may."""

import pytest

from agora.agents import StepContext
from agora.retention import duties
from tests.support.aging import aged, begin_anew
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig


def only(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


def second(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


def third(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


@pytest.fixture
def rig(db, monkeypatch):
    begin_anew()
    return Rig(monkeypatch, agent_with(one=[only], three=[only, second, third]))


def old(rig, action):
    job = rig.submit(action)
    rig.run()
    return aged(rig, job, 31)


def left(rig, job_ids):
    """Which of them are still there, by their numbers."""
    there = {row["id"] for row in rig.sql("SELECT id FROM jobs")}
    return [number for number, job_id in enumerate(job_ids) if job_id in there]


def test_a_slice_of_jobs_ends_where_they_have_too_many_steps(rig, monkeypatch):
    monkeypatch.setattr(duties, "STEPS", 2)
    jobs = [old(rig, action) for action in ("one", "one", "one", "three", "one")]
    seen = []
    for _ in range(5):
        duties.remove_old_jobs()
        seen.append(left(rig, jobs))
    # Two with a step each; one, since the next has too many; that one alone; the last; and nothing is left.
    assert seen == [[2, 3, 4], [3, 4], [4], [], []]


def test_a_slice_of_jobs_with_few_steps_goes_at_once(rig):
    jobs = [old(rig, action) for action in ("one", "three", "one")]
    duties.remove_old_jobs()
    assert left(rig, jobs) == []
