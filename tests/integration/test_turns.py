"""Turns under a backlog: quick steps share claims and records, and nobody pays for a neighbour."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from agora.agents import StepContext, TransactionContext
from agora.db.session import transaction
from agora.jobs import pace, service, settle
from agora.jobs.leases import heartbeat
from agora.settings import get_settings, override_environment
from agora.webhooks import service as webhooks
from agora.webhooks.types import NewEndpoint
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db")


def first(ctx: StepContext[Number]) -> int:
    return ctx.input.n


def second(ctx: StepContext[Number]) -> Number:
    return ctx.input


@pytest.fixture(autouse=True)
def long_turns(db):
    """A turn ends when its work does, not when a busy machine has used up its slice."""
    with override_environment({"AGORA_TURN_SECONDS": "20"}):
        yield


@pytest.fixture
def groups(monkeypatch):
    """The sizes of the groups that were recorded."""
    sizes, record_all = [], settle.record_all

    def spy(session, tries, **options):
        sizes.append(len(tries))
        return record_all(session, tries, **options)

    monkeypatch.setattr(settle, "record_all", spy)
    return sizes


@pytest.fixture
def patient(db, monkeypatch):
    """Turns that last, and steps that count as quick, on a machine that is busy with other things."""
    monkeypatch.setattr(pace, "QUICK_SECONDS", 1.0)
    monkeypatch.setenv("AGORA_TURN_SECONDS", "5")
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


def warm(rig, action):
    """Let the worker get to know the steps, as quick ones on however busy a machine; then it shares turns."""
    rig.submit(action)
    rig.run()
    for label in rig.engine.pace._seconds:
        rig.engine.pace._seconds[label] = 0.001


def backlog(rig, action, *inputs, **options):
    """Submit jobs of which only the first was rung for, as when the queue's window is full."""
    jobs = [rig.submit(action, {"n": n}, **options) for n in inputs]
    kept = rig.rung.popleft()
    rig.rung.clear()
    rig.sql(
        "UPDATE steps SET rung_at = NULL WHERE team_id = :team AND id <> :kept", team=rig.team_id, kept=kept.step_id
    )
    rig.rung.append(kept)
    return jobs


def statuses(rig, jobs):
    return [rig.job(job).status for job in jobs]


def test_one_message_works_off_a_backlog_and_each_job_is_whole(patient, monkeypatch, groups):
    rig = Rig(monkeypatch, agent_with(shared=[first, second]))
    warm(rig, "shared")
    jobs = backlog(rig, "shared", *range(20))
    del groups[:]
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded"] * 20
    assert max(groups) > 1
    assert len(groups) < 40
    for n, job in enumerate(jobs):
        ended = rig.job(job)
        assert ended.output == {"n": n}
        assert [(step.name, step.attempt, step.status) for step in ended.steps] == [
            ("first", 1, "succeeded"),
            ("second", 1, "succeeded"),
        ]
        assert rig.events(job) == [
            "job.created", "job.started", "step.succeeded", "step.succeeded", "job.succeeded",
        ]  # fmt: skip


def test_the_backlog_is_taken_in_the_order_of_the_queue(monkeypatch):
    order = []

    def noting(ctx: StepContext[Number]) -> Number:
        order.append(ctx.input.n)
        return ctx.input

    rig = Rig(monkeypatch, agent_with(ordered=[noting]))
    warm(rig, "ordered")
    backlog(rig, "ordered", 1, 2, 3)
    urgent = rig.submit("ordered", {"n": 9}, priority=9)
    rig.sql("UPDATE steps SET rung_at = NULL WHERE job_id = :id", id=urgent.id)
    del order[:]
    rig.engine.run(rig.rung.popleft().step_id)
    assert order == [1, 9, 2, 3]


def test_a_step_that_nobody_knows_yet_is_run_alone_and_the_next_worker_is_rung(monkeypatch):
    rung_meanwhile = []

    def unknown(ctx: StepContext[Number]) -> Number:
        rung_meanwhile.append(len(rig.rung))
        return ctx.input

    rig = Rig(monkeypatch, agent_with(unknown=[unknown]))
    jobs = backlog(rig, "unknown", 1, 2, 3)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded", "queued", "queued"]
    assert rung_meanwhile == [2]
    rig.run()
    assert statuses(rig, jobs) == ["succeeded"] * 3


def test_a_slow_step_holds_nobody_up(monkeypatch):
    """It was quick before. What waits behind it is given back unburnt, what has ended is recorded."""
    release, entered = threading.Event(), threading.Event()

    def moody(ctx: StepContext[Number]) -> Number:
        if ctx.input.n == 3:
            entered.set()
            assert release.wait(30)
        return ctx.input

    rig = Rig(monkeypatch, agent_with(moody=[moody]))
    warm(rig, "moody")
    jobs = backlog(rig, "moody", 1, 2, 3, 4, 5)
    turn = threading.Thread(target=rig.engine.run, args=(rig.rung.popleft().step_id,))
    turn.start()
    try:
        assert entered.wait(10)
        eventually(lambda: statuses(rig, jobs[:3]) == ["succeeded", "succeeded", "running"])
        eventually(lambda: [rig.job(job).steps[0].status for job in jobs[3:]] == ["ready", "ready"])
        rig.sql("UPDATE steps SET rung_at = now() WHERE team_id = :team AND status = 'ready'", team=rig.team_id)
        other = rig.worker()
        for job in jobs[3:]:
            assert other.run(rig.job(job).steps[0].id) == "succeeded"
    finally:
        release.set()
        turn.join(10)
    assert statuses(rig, jobs) == ["succeeded"] * 5
    assert [rig.job(job).steps[0].attempt for job in jobs] == [1] * 5


def test_a_step_that_lost_a_worker_takes_no_others_with_it(monkeypatch):
    rig = Rig(monkeypatch, agent_with(suspect=[second]))
    warm(rig, "suspect")
    jobs = backlog(rig, "suspect", 1, 2, 3)
    rig.sql("UPDATE steps SET lost_leases = 1 WHERE job_id = :id", id=jobs[1].id)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded", "queued", "succeeded"]


def test_a_step_with_a_time_limit_runs_alone(monkeypatch):
    """Its message carries the limits, which would be those of its whole turn."""
    rig = Rig(monkeypatch, agent_with(limited=[(second, {"timeout": timedelta(seconds=30)})]))
    warm(rig, "limited")
    jobs = backlog(rig, "limited", 1, 2, 3)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded", "queued", "queued"]
    assert len(rig.rung) == 2


def test_a_cancel_and_a_lost_fence_concern_only_their_own_job(monkeypatch, groups):
    def interfering(ctx: StepContext[Number]) -> Number:
        if ctx.input.n == 2:
            service.cancel_job(ctx.job_id, team_id=rig.team_id, reason="changed my mind")
        if ctx.input.n == 3:
            rig.sql("UPDATE steps SET fence = 'of another worker' WHERE job_id = :id", id=ctx.job_id)
        return ctx.input

    rig = Rig(monkeypatch, agent_with(interfering=[interfering]))
    warm(rig, "interfering")
    jobs = backlog(rig, "interfering", 1, 2, 3, 4)
    rig.engine.run(rig.rung.popleft().step_id)
    assert max(groups) > 1
    assert statuses(rig, jobs) == ["succeeded", "cancelled", "running", "succeeded"]
    assert rig.job(jobs[2]).steps[0].result is None


def test_what_postgres_refuses_fails_its_own_job_only(monkeypatch, groups):
    rig = Rig(monkeypatch, agent_with(refused=[second]))
    warm(rig, "refused")
    jobs = backlog(rig, "refused", 1, 2, 3)
    with transaction() as session:
        session.execute(text("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                             "$$ BEGIN RAISE EXCEPTION 'not this one'; END $$"))  # fmt: skip
        session.execute(text("CREATE TRIGGER refuse BEFORE UPDATE ON steps FOR EACH ROW "
                             f"WHEN (NEW.status = 'succeeded' AND NEW.job_id = '{jobs[1].id}') "
                             "EXECUTE FUNCTION refuse()"))  # fmt: skip
    try:
        rig.engine.run(rig.rung.popleft().step_id)
    finally:
        with transaction() as session:
            session.execute(text("DROP TRIGGER refuse ON steps"))
            session.execute(text("DROP FUNCTION refuse()"))
    assert statuses(rig, jobs) == ["succeeded", "running", "succeeded"]
    assert "not this one" in rig.job(jobs[1]).steps[0].error["message"]
    rig.sql("UPDATE steps SET run_at = now(), held = NULL WHERE job_id = :id", id=jobs[1].id)
    rig.engine.run(rig.job(jobs[1]).steps[0].id)
    assert rig.job(jobs[1]).status == "succeeded"


def test_a_draining_worker_gives_back_what_it_has_not_begun(monkeypatch):
    stopping = []

    def last(ctx: StepContext[Number]) -> Number:
        if ctx.input.n == 2:
            stopping.append(1)
        return ctx.input

    rig = Rig(monkeypatch, agent_with(last=[last]), draining=lambda: bool(stopping))
    warm(rig, "last")
    jobs = backlog(rig, "last", 1, 2, 3, 4)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs[:2]) == ["succeeded"] * 2
    steps = [rig.job(job).steps[0] for job in jobs[2:]]
    assert [(step.status, step.attempt) for step in steps] == [("ready", 0)] * 2
    assert {ring.step_id for ring in rig.rung} == {step.id for step in steps}


def subscribe(rig):
    endpoint = NewEndpoint(url="https://receiver.example/hook", event_types=["job.*"])
    webhooks.create_endpoint(endpoint, team_id=rig.team_id)


def test_what_waited_in_a_frozen_process_is_not_run_by_it(monkeypatch):
    """After SIGSTOP and SIGCONT the leases of a shared turn are old: their steps may run elsewhere by now."""
    ran = []

    def freezing(ctx: StepContext[Number]) -> Number:
        ran.append(ctx.input.n)
        if ctx.input.n == 2:
            for lease in list(heartbeat()._held.values()):
                lease.renewed -= 3600
        return ctx.input

    rig = Rig(monkeypatch, agent_with(freezing=[freezing]))
    warm(rig, "freezing")
    jobs = backlog(rig, "freezing", 1, 2, 3, 4)
    del ran[:]
    rig.engine.run(rig.rung.popleft().step_id)
    assert ran == [1, 2]
    assert statuses(rig, jobs) == ["succeeded", "succeeded", "running", "running"]
    assert rig.job(jobs[2]).steps[0].result is None


def deliveries_of(rig, job):
    found = rig.sql("SELECT event_type FROM webhook_deliveries WHERE job_id = :id ORDER BY id", id=job.id)
    return sorted(row["event_type"] for row in found)


def test_the_jobs_of_a_team_with_endpoints_make_their_deliveries_in_a_shared_turn(monkeypatch):
    rig = Rig(monkeypatch, agent_with(told=[second]))
    warm(rig, "told")
    subscribe(rig)
    jobs = backlog(rig, "told", 1, 2, 3)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded"] * 3
    for job in jobs:
        assert deliveries_of(rig, job) == ["job.created", "job.started", "job.succeeded"]


def test_an_endpoint_that_comes_while_a_step_runs_gets_what_follows(monkeypatch):
    def subscribing(ctx: StepContext[Number]) -> Number:
        if ctx.input.n == 2:
            subscribe(rig)
        return ctx.input

    rig = Rig(monkeypatch, agent_with(subscribing=[subscribing]))
    warm(rig, "subscribing")
    jobs = backlog(rig, "subscribing", 2)
    rig.engine.run(rig.rung.popleft().step_id)
    assert deliveries_of(rig, jobs[0]) == ["job.succeeded"]


def test_a_transactional_step_in_a_shared_turn_commits_by_itself(patient, monkeypatch):
    def writes(ctx: TransactionContext[Number]) -> Number:
        ctx.session.execute(text("SELECT 1"))
        return ctx.input

    rig = Rig(monkeypatch, agent_with(writes=[first, (writes, {"transactional": True})]))
    warm(rig, "writes")
    jobs = backlog(rig, "writes", 1, 2, 3)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded"] * 3
