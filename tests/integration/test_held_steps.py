"""A step whose row is locked, as a transactional one's is for as long as it runs: nobody waits for it."""

import threading

import pytest
from sqlalchemy import text

from agora.agents import Retry, StepContext, TransactionContext, WaitFor
from agora.batches import duties as batches
from agora.batches import service as batch_service
from agora.bulk import duties as bulk
from agora.bulk import service as bulk_service
from agora.bulk.types import NewBulk
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.errors import Conflict, IllegalTransition, Invalid
from agora.ids import new_id
from agora.jobs import approval, leases, moves, queries, service
from agora.jobs.types import JobFilter, Submission
from tests.support.locks import until_waiting
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

LATE = "UPDATE jobs SET deadline = now() - interval '1 s' WHERE id = :id"
HOLD = "SELECT id FROM steps WHERE job_id = :id FOR UPDATE"
PATIENCE = 10.0


def at_once(do):
    """What a call returns or raises; it may wait for nobody."""
    found = []

    def call():
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001  # it is what is asserted on
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, "it waits for the step that runs"
    return found[0]


class Platform(Rig):
    """A worker whose transactional steps do what a test says, in the middle of their transaction."""

    def __init__(self, monkeypatch):
        self.meanwhile = lambda ctx: None
        self.found = []

        def write(ctx: TransactionContext[Number]) -> Number:
            ctx.session.execute(text("INSERT INTO ledger VALUES (:id)"), {"id": ctx.job_id})
            self.found.append(self.meanwhile(ctx))
            return Number()

        def go_on(ctx: StepContext[Number]) -> Number:
            return Number(n=ctx.input.n)

        def ask(_: StepContext[Number]) -> WaitFor:
            return WaitFor({"type": "integer"}, "How many?")

        held = (write, {"transactional": True, "retry": Retry(attempts=1)})
        agent = agent_with(last=[held], first=[held, ask, go_on], plain=[go_on], asks=[ask, go_on])
        agent.action("last", input=Number, output=Number, version=2).step(**held[1])(write)
        super().__init__(monkeypatch, agent)
        self.sql("CREATE TABLE IF NOT EXISTS ledger (key text)")
        self.sql("TRUNCATE ledger")

    def kept(self, job):
        return bool(self.sql("SELECT FROM ledger WHERE key = :id", id=job.id))


@pytest.fixture
def rig(db, monkeypatch):
    return Platform(monkeypatch)


def test_a_late_job_whose_step_is_held_holds_up_no_other_late_job(rig):
    other = rig.submit("plain")
    job = rig.submit("first")

    def both_are_late(ctx):
        for job_id in (ctx.job_id, other.id):
            rig.sql(LATE, id=job_id)
        return at_once(duties.fail_late_jobs)

    rig.meanwhile = both_are_late
    rig.rung.popleft()
    rig.run(at_most=1)
    assert rig.found == [1]
    assert rig.job(other).error["code"] == "deadline-exceeded"
    duties.fail_late_jobs()
    assert rig.job(job).error["code"] == "deadline-exceeded", "as soon as its step has ended"


def test_a_transactional_step_that_was_told_of_the_deadline_is_undone(rig):
    job = rig.submit("last")

    def it_is_late(ctx):
        rig.sql(LATE, id=ctx.job_id)
        beating = leases.heartbeat()
        beating._renew(dict(beating._held))

    rig.meanwhile = it_is_late
    assert rig.run() == ["lost"]
    assert not rig.kept(job)
    duties.fail_late_jobs()
    assert rig.job(job).error["code"] == "deadline-exceeded"


def test_a_cancel_does_not_wait_for_the_step_and_the_step_is_undone(rig):
    job = rig.submit("last")
    rig.meanwhile = lambda ctx: at_once(lambda: service.cancel_job(ctx.job_id, team_id=rig.team_id))
    assert rig.run() == ["cancelled"]
    (answered,) = rig.found
    assert (answered.status, answered.cancel_requested_at is not None) == ("running", True)
    assert (rig.job(job).status, rig.kept(job)) == ("cancelled", False)


def test_the_cancel_of_a_batch_does_not_wait_for_a_step(rig):
    one = Submission(agent="probe", action="last", input={})
    made = batch_service.submit_batch([one, one], team_id=rig.team_id)

    def cancelled(_):
        batch_service.cancel_batch(made.batch.id, team_id=rig.team_id)
        return at_once(batches.cancel_batches)

    rig.meanwhile = cancelled
    rig.run()
    assert rig.found == [2]
    assert [rig.job(service.get_job(one, team_id=rig.team_id)).status for one in made.job_ids] == ["cancelled"] * 2


def test_a_bulk_cancel_does_not_wait_for_a_step(rig):
    job = rig.submit("last")

    def cancelled(_):
        new = NewBulk(action="cancel", filter=JobFilter(agent="probe"))
        made, _repeated = bulk_service.begin(new, team_id=rig.team_id)
        at_once(bulk.work_off)
        return bulk_service.get_bulk(made.id, team_id=rig.team_id).status

    rig.meanwhile = cancelled
    rig.run()
    assert rig.found == ["completed"]
    assert rig.job(job).status == "cancelled"


def test_who_wants_a_running_job_to_wait_or_to_move_is_answered_at_once(rig):
    job = rig.submit("last", version=1)
    asked = (
        lambda job_id: service.give_input(job_id, team_id=rig.team_id, value=3),
        lambda job_id: service.give_input(job_id, team_id=rig.team_id, value=3, question=new_id("stp")),
        lambda job_id: approval.approve_job(job_id, team_id=rig.team_id),
        lambda job_id: moves.move_job(job_id, team_id=rig.team_id, version=2),
    )
    rig.meanwhile = lambda ctx: [at_once(lambda do=do: do(ctx.job_id)) for do in asked]
    assert rig.run() == ["succeeded"]
    assert [type(answer) for answer in rig.found[0]] == [Conflict, Invalid, Conflict, Conflict]
    assert all(f"job {job.id}" in str(answer) for answer in rig.found[0])


def test_a_job_whose_waiting_step_somebody_has_locked_is_cancelled_by_the_dispatcher(rig):
    job = rig.submit("asks")
    rig.run()
    with transaction() as session:
        session.execute(text(HOLD), {"id": job.id})
        answered = at_once(lambda: service.cancel_job(job.id, team_id=rig.team_id))
        assert (answered.status, answered.cancel_requested_at is not None) == ("waiting", True)
        assert at_once(duties.finish_cancels) == 0
    assert duties.finish_cancels() == 1
    assert rig.job(job).status == "cancelled"
    with pytest.raises(IllegalTransition):
        service.cancel_job(job.id, team_id=rig.team_id)


def test_children_are_locked_in_the_order_in_which_records_lock_jobs(rig):
    parent, older, newer = rig.submit("asks"), rig.submit("plain"), rig.submit("plain")
    rig.run(at_most=1)
    rig.sql("UPDATE jobs SET parent_id = :id WHERE id = ANY(:ids)", id=parent.id, ids=[older.id, newer.id])
    lock = text("SELECT id FROM jobs WHERE id = :id FOR NO KEY UPDATE NOWAIT")
    cancel = threading.Thread(target=service.cancel_job, args=(parent.id,), kwargs={"team_id": rig.team_id})
    with transaction() as session:
        session.execute(lock, {"id": older.id})
        cancel.start()
        until_waiting()
        session.execute(lock, {"id": newer.id})  # raises when the cancel has it already: each would wait for the other
    cancel.join(PATIENCE)
    with transaction() as session:
        for one in (older, newer):
            assert queries.find_job(session, team_id=rig.team_id, job_id=one.id).cancel_requested_at is not None
