"""The judges judged: with the fence, the re-ring or the memo switched off, the same looks at the outcome must fail."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from agora.agents import Retry, StepContext, Transient
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.jobs import record_queries, ring_queries, step_queries
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
FENCE = "WHERE s.status = given.from_status AND s.fence IS NOT DISTINCT FROM given.fence"
AT_ONCE = Retry(attempts=3, first=timedelta(0))


def judge_zombie(monkeypatch):
    """A worker wakes after another one finished its step, and fails: what was recorded must stand."""
    rig = None

    def slow(ctx: StepContext[Number]) -> int:
        if ctx.attempt > 1:
            return 7
        rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=ctx.job_id)
        duties.return_lost_leases()
        assert rig.worker().run(rig.rung.pop().step_id) == "succeeded"
        raise Transient("woke up too late")

    def after(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(slow=[(slow, {"retry": AT_ONCE}), (after, {"queue": "io"})]))
    job = rig.submit("slow")
    rig.engine.run(rig.rung.popleft().step_id)
    step = rig.job(job).steps[0]
    assert (step.status, step.result) == ("succeeded", 7)


def judge_lost_ring(monkeypatch):
    """The broker forgot a ring: the job must end all the same."""

    def idle(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(idle=[idle]))
    job = rig.submit("idle")
    rig.rung.clear()
    rig.sql("UPDATE steps SET rung_at = now() - interval '1 hour' WHERE job_id = :id", id=job.id)
    duties.refill_rings()
    duties.rering_unheard()
    rig.run()
    assert rig.job(job).status == "succeeded"


def judge_memo(monkeypatch):
    """A step fails after a paid call: the call must not be made again."""
    paid = []

    def call(ctx: StepContext[Number]) -> Number:
        ctx.once("model", lambda: paid.append(1) or 42)
        if ctx.attempt == 1:
            raise Transient("after the call")
        return Number()

    rig = Rig(monkeypatch, agent_with(call=[(call, {"retry": AT_ONCE})]))
    rig.submit("call")
    rig.run()
    assert len(paid) == 1


@pytest.mark.parametrize("judge", [judge_zombie, judge_lost_ring, judge_memo])
def test_the_engine_as_it_is_passes(monkeypatch, judge):
    judge(monkeypatch)


def ddl(statement):
    with transaction() as session:
        session.execute(text(statement))


def test_without_the_fence_the_judge_fails(monkeypatch, request):
    assert FENCE in record_queries.RECORD.text
    monkeypatch.setattr(record_queries, "RECORD", text(record_queries.RECORD.text.replace(FENCE, "")))
    trigger = "ALTER TABLE steps {} TRIGGER steps_ended_stays"  # else the database itself would refuse it
    request.addfinalizer(lambda: ddl(trigger.format("ENABLE")))
    ddl(trigger.format("DISABLE"))
    with pytest.raises(AssertionError):
        judge_zombie(monkeypatch)


def test_without_the_re_ring_the_judge_fails(monkeypatch):
    monkeypatch.setattr(ring_queries, "rering", lambda *_, **__: [])
    with pytest.raises(AssertionError):
        judge_lost_ring(monkeypatch)


def test_without_the_memo_the_judge_fails(monkeypatch):
    monkeypatch.setattr(step_queries, "find_note", lambda *_, **__: None)
    with pytest.raises(AssertionError):
        judge_memo(monkeypatch)
