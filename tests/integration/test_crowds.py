"""A burst that was rung for whole: whoever has done its own step takes on others whose messages nobody has heard."""

from uuid import uuid4

import pytest

from agora.agents import StepContext
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.jobs import queues, step_queries
from agora.jobs.step_queries import Claimant
from agora.settings import override_environment
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
BURST = 16


def first(ctx: StepContext[Number]) -> int:
    return ctx.input.n


def second(ctx: StepContext[Number]) -> Number:
    return ctx.input


def slow(ctx: StepContext[Number]) -> Number:
    return ctx.input


@pytest.fixture
def rig(monkeypatch):
    with override_environment({"AGORA_TURN_SECONDS": "20"}):
        made = Rig(monkeypatch, agent_with(shared=[first, second], slow=[slow]))
        made.submit("shared")
        made.submit("slow")
        made.run()
        know(made)
        yield made


def know(rig, engine=None):
    """Quick steps are known as such, on however busy a machine, and the slow one as slow."""
    seconds = (engine or rig.engine).pace._seconds
    seconds.update({"probe.shared.first": 0.001, "probe.shared.second": 0.001, "probe.slow.slow": 10.0})


def burst(rig, action="shared", count=BURST, **options):
    jobs = [rig.submit(action, {"n": n}, **options) for n in range(count)]
    assert len(rig.rung) == count
    return jobs


def statuses(rig, jobs):
    return [rig.job(job).status for job in jobs]


def test_one_message_does_most_of_a_burst_and_the_others_find_it_done(rig):
    jobs = burst(rig)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded"] * BURST
    heard = list(rig.rung)
    assert [rig.engine.run(ring.step_id) for ring in heard] == [None] * (BURST - 1)
    assert list(rig.rung) == heard  # nobody was rung for again
    for n, job in enumerate(jobs):
        ended = rig.job(job)
        assert (ended.output, [step.attempt for step in ended.steps]) == ({"n": n}, [1, 1])
        assert rig.events(job) == ["job.created", "job.started", "step.succeeded", "step.succeeded", "job.succeeded"]
    assert duties.return_lost_leases() == 0


def test_a_look_takes_half_and_leaves_the_other_half_to_others(rig):
    burst(rig, count=9)
    quick = ["probe.shared.first"]
    sizes = [len(rig.engine.claimer.rung(queue="cpu", quick=quick, count=25).claims) for _ in range(6)]
    assert sizes == [5, 2, 1, 1, 0, 0]


def test_the_oldest_rings_come_first_and_no_more_than_asked_for(rig):
    jobs = burst(rig)
    taken = rig.engine.claimer.rung(queue="cpu", quick=["probe.shared.first"], count=3).claims
    assert [claim.job.id for claim in taken] == [job.id for job in jobs[:3]]


def test_those_that_are_not_taken_are_not_locked_either(rig):
    jobs = burst(rig)

    def take(session):
        who = Claimant(known=rig.engine.claimer.known, worker_id="w", fence=uuid4().hex, lease=10.0, may_fan_out=True)
        rows = step_queries.claim_rung(session, who, queue="cpu", quick=["probe.shared.first"], count=3)
        return [row["job_id"] for row in rows]

    with transaction() as one, transaction() as other:
        assert take(one) + take(other) == [job.id for job in jobs[:6]]


def test_a_few_are_no_crowd(rig):
    few = step_queries.CROWD - 1
    jobs = burst(rig, count=few)
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, jobs) == ["succeeded"] + ["queued"] * (few - 1)
    rig.run()
    assert statuses(rig, jobs) == ["succeeded"] * few


def test_slow_steps_are_left_to_their_own_messages(rig):
    quick, slow = burst(rig), [rig.submit("slow") for _ in range(4)]
    rig.engine.run(rig.rung.popleft().step_id)
    assert statuses(rig, quick) == ["succeeded"] * BURST
    assert statuses(rig, slow) == ["queued"] * 4
    rig.run()
    assert statuses(rig, slow) == ["succeeded"] * 4


def test_who_lost_a_worker_or_waits_for_its_time_or_is_on_a_paused_queue_is_not_taken(rig):
    lost, later, plain = burst(rig, count=3)
    rig.sql("UPDATE steps SET lost_leases = 1 WHERE job_id = :id", id=lost.id)
    rig.sql("UPDATE steps SET held = 'time' WHERE job_id = :id", id=later.id)
    queues.pause("cpu")
    look = {"queue": "cpu", "quick": ["probe.shared.first"], "count": 25}
    assert rig.engine.claimer.rung(**look).claims == []
    queues.resume("cpu")
    assert [claim.job.id for claim in rig.engine.claimer.rung(**look).claims] == [plain.id]


def test_two_workers_share_a_burst_and_each_job_is_done_once(rig):
    other = rig.worker()
    know(rig, other)
    jobs = burst(rig, count=30)
    turns = 0
    while rig.rung:
        (rig.engine, other)[turns % 2].run(rig.rung.popleft().step_id)
        turns += 1
    assert statuses(rig, jobs) == ["succeeded"] * 30
    assert all([step.attempt for step in rig.job(job).steps] == [1, 1] for job in jobs)
