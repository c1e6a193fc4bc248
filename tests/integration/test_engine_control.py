"""The engine on a real database: cancel, deadline, drain, lost workers, lost rings, registration."""

import threading
from datetime import timedelta

import pytest

from agora.agents import StepContext
from agora.clock import now
from agora.dispatcher import duties
from agora.errors import IllegalTransition
from agora.jobs import service
from agora.jobs.catalogue import CatalogueConflict, register_worker
from agora.outcomes import Cancel
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


def test_cancel_at_once_or_when_the_running_step_ends(monkeypatch):
    rig = None

    def first(ctx: StepContext[Number]) -> int:
        if ctx.input.n == 2:
            service.cancel_job(ctx.job_id, team_id=ctx.team_id, reason="changed my mind")
        return 1

    def second(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(two=[first, second]))
    queued = rig.submit("two")
    assert service.cancel_job(queued.id, team_id=rig.team_id).status == "cancelled"
    assert rig.run() == [None]
    with pytest.raises(IllegalTransition):
        service.cancel_job(queued.id, team_id=rig.team_id)
    running = rig.submit("two", {"n": 2})
    rig.run()
    ended = rig.job(running)
    assert (ended.status, ended.steps[0].status, ended.steps[0].result) == ("cancelled", "succeeded", 1)
    assert len(ended.steps) == 1


def test_a_cancelled_job_of_a_dead_worker_is_finished_by_the_dispatcher(monkeypatch):
    rig = None

    def dies(ctx: StepContext[Number]) -> Number:
        service.cancel_job(ctx.job_id, team_id=ctx.team_id)
        rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=ctx.job_id)
        duties.return_lost_leases()
        return Number()

    rig = Rig(monkeypatch, agent_with(dies=[dies]))
    job = rig.submit("dies")
    assert rig.run() == ["lost"]
    assert rig.job(job).status == "cancelled"
    assert rig.events(job)[-1] == "job.cancelled"


def test_a_step_can_cancel_its_job(monkeypatch):
    def stop(_: StepContext[Number]) -> Number | Cancel:
        return Cancel("nothing to do")

    rig = Rig(monkeypatch, agent_with(stop=[stop]))
    job = rig.submit("stop")
    rig.run()
    assert rig.job(job).status == "cancelled"


def test_a_passed_deadline_fails_the_job_and_takes_the_fence_away(monkeypatch):
    rig = None

    def slow(ctx: StepContext[Number]) -> Number:
        rig.sql("UPDATE jobs SET deadline = now() - interval '1 s' WHERE id = :id", id=ctx.job_id)
        duties.fail_late_jobs()
        return Number()

    rig = Rig(monkeypatch, agent_with(slow=[slow]))
    job = rig.submit("slow")
    assert rig.run() == ["lost"]
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "deadline-exceeded")


def test_drain_gives_the_lease_back_without_burning_an_attempt(monkeypatch):
    stopping = threading.Event()

    def patient(ctx: StepContext[Number]) -> Number:
        if ctx.input.n == 1:
            stopping.set()
            ctx.check()
        return Number()

    rig = Rig(monkeypatch, agent_with(patient=[patient]), draining=stopping.is_set)
    job = rig.submit("patient")
    rig.engine.run(rig.rung.popleft().step_id)
    step = rig.job(job).steps[0]
    assert (step.status, step.attempt, len(step.tries)) == ("ready", 0, 0)
    assert rig.rung


def test_a_worker_that_was_lost_too_often_fails_the_step(monkeypatch):
    def idle(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(idle=[idle]))
    job = rig.submit("idle")
    for _ in range(5):
        rig.sql(
            "UPDATE steps SET status = 'running', fence = 'x', attempt = attempt + 1,"
            " lease_expires_at = now() - interval '1 s' WHERE job_id = :id",
            id=job.id,
        )
        rig.sql("UPDATE jobs SET status = 'running' WHERE id = :id", id=job.id)
        assert duties.return_lost_leases() == 1
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "worker-lost")
    assert len(ended.steps[0].tries) == 5


def test_two_workers_that_claim_at_once_run_the_step_once(monkeypatch):
    ran = []

    def count(_: StepContext[Number]) -> Number:
        ran.append(1)
        return Number()

    rig = Rig(monkeypatch, agent_with(count=[count]))
    others = [rig.worker() for _ in range(4)]
    for _ in range(5):
        rig.submit("count")
        step_id = rig.rung.popleft().step_id
        threads = [threading.Thread(target=worker.run, args=(step_id,)) for worker in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ran) == 5


def test_scheduled_jobs_wait_for_their_time(monkeypatch):
    def idle(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(idle=[idle]))
    job = rig.submit("idle", run_at=now() + timedelta(hours=1))
    assert (job.status, len(rig.rung)) == ("scheduled", 0)
    assert duties.release_due() == 0
    rig.sql("UPDATE steps SET run_at = now() WHERE job_id = :id", id=job.id)
    assert duties.release_due() == 1
    assert duties.refill_rings() == 1
    assert rig.run() == ["succeeded"]


def test_an_unheard_ring_is_rung_again(monkeypatch):
    def idle(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(idle=[idle]))
    job = rig.submit("idle")
    rig.rung.clear()  # the broker lost it
    duties.rering_unheard()
    assert not rig.rung
    rig.sql("UPDATE steps SET rung_at = now() - interval '1 hour' WHERE job_id = :id", id=job.id)
    duties.rering_unheard()
    assert rig.run() == ["succeeded"]


def test_two_fleets_may_not_share_a_version_with_different_steps(monkeypatch):
    def idle(_: StepContext[Number]) -> Number:
        return Number()

    def other(_: StepContext[Number]) -> Number:
        return Number()

    Rig(monkeypatch, agent_with(job=[idle]))
    changed = list(agent_with(job=[other]).actions.values())
    with pytest.raises(CatalogueConflict, match="new version"):
        register_worker(changed, worker_id="wrk_2", hostname="there", pid=2)
