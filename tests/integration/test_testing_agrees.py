"""`agora.testing` and the real engine come to the same: the same scripted agents go through both."""

import re
from collections import Counter

import pytest
from sqlalchemy import text

from agora.db.session import transaction
from agora.dispatcher import duties
from agora.jobs import service
from agora.jobs.leases import heartbeat
from agora.testing import FailOnce, FailStep, LoseWorker, RequestCancel, run_action
from tests.support.rig import Rig
from tests.support.scripted import CASES, WorkerGone, kid_job

pytestmark = pytest.mark.usefixtures("db")


class Calls:
    """What the steps were given, and which notes they computed."""

    def __init__(self, agent):
        self.seen = []
        for step in agent.actions[("case", 1)].steps:
            step.function = self._watched(step.function)

    def _watched(self, function):
        def watched(ctx):
            key = ctx.idempotency_key.removeprefix(ctx.root_job_id)
            self.seen.append((ctx.step_name, ctx.attempt, ctx.iteration, key, ctx.carry))
            return function(ctx)

        watched.__annotations__, watched.__name__ = function.__annotations__, function.__name__
        return watched


def faulty(function, faults, rig):
    """The step with its faults, for the real engine."""
    left = list(faults)

    def wrapped(ctx):
        here = [one for one in left if (one.step_name, one.attempt, one.item) == (ctx.step_name, ctx.attempt, ctx.item)]
        for one in here:
            left.remove(one)
        for one in here:
            if isinstance(one, RequestCancel):
                rig.sql("UPDATE jobs SET cancel_requested_at = now() WHERE id = :id", id=ctx.job_id)
                ctx.runtime._lease.cancelled = True  # as the heartbeat would
            if isinstance(one, FailStep) and not one.after:
                raise one.error
            if isinstance(one, FailOnce | LoseWorker) and hasattr(ctx, "once"):
                break_once(ctx, one)
        value = function(ctx)
        for one in here:
            if isinstance(one, FailStep):
                raise one.error
            if isinstance(one, LoseWorker):
                raise WorkerGone
        return value

    wrapped.__annotations__, wrapped.__name__ = function.__annotations__, function.__name__
    return wrapped


def break_once(ctx, fault):
    once = ctx.runtime.once

    def broken(key, compute):
        if isinstance(fault, FailOnce) and fault.key == key:
            raise fault.error
        if isinstance(fault, LoseWorker) and fault.in_once == key:
            compute()
            raise WorkerGone
        return once(key, compute)

    ctx.runtime.once = broken


def really(case, monkeypatch):
    """The case on Postgres, with a worker in this process."""
    agent = case.agent()
    calls = Calls(agent)
    rig = Rig(monkeypatch, agent)
    for step in agent.actions[("case", 1)].steps:
        step.function = faulty(step.function, case.faults, rig)
    job = rig.submit("case", case.input)
    answers = list(case.answers)
    for _ in range(20):
        try:
            rig.run()
        except WorkerGone:
            heartbeat()._held.clear()  # its process is gone, and renews nothing
            rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'")
            assert duties.return_lost_leases() == 1
            continue
        if answers and rig.job(job).status == "waiting":
            service.give_input(job.id, team_id=rig.team_id, value=answers.pop(0))
        duties.wake_suspended()
        duties.finish_cancels()
        if rig.job(job).ended:
            break
    ended = rig.job(job)
    steps = [
        (
            one.name, one.iteration, one.status, one.attempt, one.lost_leases,
            [(t.number, t.outcome, (t.error or {}).get("code")) for t in one.tries],
            (one.error or {}).get("code"), one.result,
        )
        for one in ended.steps
        if not one.item
    ]  # fmt: skip
    error = (ended.error or {}).get("code"), (ended.error or {}).get("message")
    usage = {name: ended.usage.get(name, 0) for name in ("tokens_in", "tokens_out", "tokens", "cost_usd")}
    shown = ({name: str(value) for name, value in usage.items()}, ended.partial_output)
    return (ended.status, ended.output, error, steps, rig.events(job), calls.seen, shown)


def in_memory(case):
    """The case in agora.testing."""
    agent = case.agent()
    calls = Calls(agent)
    action = agent.actions[("case", 1)]
    with transaction() as session:
        result = run_action(
            action, case.input, answers=case.answers, faults=case.faults, session=session, children=kid_job
        )
    steps = [
        (
            one.name, one.iteration, one.status, one.attempt, one.lost_leases,
            [(t.number, t.outcome, t.error.code if t.error else None) for t in one.tries],
            one.error.code if one.error else None, one.result,
        )
        for one in result.steps
        if not one.item
    ]  # fmt: skip
    output = result.output.model_dump() if result.output else None
    error = (result.error.code, result.error.message) if result.error else (None, None)
    usage = {name: str(getattr(result.usage, name)) for name in ("tokens_in", "tokens_out", "tokens", "cost_usd")}
    shown = (usage, result.partial_output)
    return (result.status, output, error, steps, result.event_types, calls.seen, shown)


@pytest.fixture
def ledger(db):
    with transaction() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS ledger (key text NOT NULL)"))
        session.execute(text("ALTER TABLE ledger ALTER key SET NOT NULL"))
        session.execute(text("TRUNCATE ledger"))

    def take():
        with transaction() as session:
            found = Counter(session.scalars(text("SELECT key FROM ledger")).all())
            session.execute(text("TRUNCATE ledger"))
            return found

    return take


@pytest.mark.parametrize("name", CASES)
def test_the_same_agent_comes_to_the_same_in_both(name, monkeypatch, ledger):
    case = CASES[name]
    real, real_effects = really(case, monkeypatch), ledger()
    fake, fake_effects = in_memory(case), ledger()
    assert real[0] == case.status
    if case.map_over:  # whose items run in any order
        real[5].sort(key=str)
        fake[5].sort(key=str)
    parts = ("status", "output", "error", "steps", "events", "calls", "usage and partial output")
    for told, one, other in zip(parts, real, fake, strict=True):
        assert without_times(one) == without_times(other), told
    assert real_effects == fake_effects


def without_times(value):
    """Without moments and the ids of child jobs."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in {"answered_at", "at", "job_id"}}
    if isinstance(value, str):
        return re.sub(r"job_[0-9a-z]{26}", "JOB", value)
    if isinstance(value, list | tuple):
        return [without_times(one) for one in value]
    return value
