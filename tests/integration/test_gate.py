"""The gate: concurrency keys and limits are never exceeded, nobody is stuck, and every end of a job makes room."""

import threading
import time
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from agora.agents import Retry, StepContext, WaitFor
from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.errors import Invalid, NotFound
from agora.jobs import announce, gate, limits, service
from agora.jobs.concurrency import Concurrency, ConcurrencyLimit
from agora.jobs.types import Submission
from agora.outcomes import Permanent
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


def plain(ctx: StepContext[Number]) -> Number:
    return ctx.input


def broken(_: StepContext[Number]) -> Number:
    raise Permanent("never")


def asking(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "object"}, "which?", until=now() + timedelta(hours=1))


@pytest.fixture
def rig(monkeypatch):
    once = {"retry": Retry(attempts=1)}
    return Rig(monkeypatch, agent_with(plain=[plain], broken=[(broken, once)], asking=[asking, plain]))


def keyed(rig, action="plain", *, key="k", limit=1, policy="queue", **options):
    return rig.submit(action, concurrency=Concurrency(key=key, limit=limit, policy=policy), **options)


def holders(rig):
    """Open jobs that hold a permit."""
    return rig.sql(
        "SELECT count(*) AS n FROM permits p JOIN jobs j ON j.id = p.job_id"
        " WHERE p.state = 'held' AND j.ended_at IS NULL"
    )[0]["n"]


def leftovers(rig):
    return rig.sql("SELECT (SELECT count(*) FROM permits) + (SELECT count(*) FROM limits WHERE key IS NOT NULL) AS n")[
        0
    ]["n"]


def statuses(rig, *jobs):
    return [rig.job(job).status for job in jobs]


def test_jobs_with_a_key_run_one_after_the_other_in_order(rig):
    jobs = [keyed(rig) for _ in range(3)]
    other = keyed(rig, key="another")
    assert {ring.job_id for ring in rig.rung} == {jobs[0].id, other.id}
    for n, job in enumerate(jobs):
        assert holders(rig) == (2 if n == 0 else 1)
        rig.run(at_most=2 if n == 0 else 1)
        assert rig.job(job).status == "succeeded"
    assert leftovers(rig) == 0


def test_a_higher_priority_stands_further_ahead_in_the_line(rig):
    keyed(rig)
    later, urgent = keyed(rig, priority=1), keyed(rig, priority=9)
    rig.run(at_most=2)
    assert statuses(rig, urgent, later) == ["succeeded", "queued"]


def test_the_newest_limit_of_a_key_counts(rig):
    jobs = [keyed(rig, limit=1) for _ in range(3)] + [keyed(rig, limit=3)]
    assert {ring.job_id for ring in rig.rung} == {job.id for job in jobs[:3]}


def end_by_success(rig, job):
    rig.run(at_most=1)


def end_by_failure(rig, job):
    rig.run(at_most=1)
    assert rig.job(job).status == "failed"


def end_by_cancel(rig, job):
    service.cancel_job(job.id, team_id=rig.team_id)


def end_by_deadline(rig, job):
    rig.sql("UPDATE jobs SET deadline = now() WHERE id = :id", id=job.id)
    duties.fail_late_jobs()


def end_by_lost_workers(rig, job):
    for _ in range(5):
        rig.engine.claimer.one(rig.rung.popleft().step_id)
        rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'")
        duties.return_lost_leases()
    assert rig.job(job).status == "failed"


def end_unheard(rig, job):
    """Whoever ended it died before it could say so."""
    rig.sql("UPDATE steps SET status = 'cancelled' WHERE job_id = :id", id=job.id)
    rig.sql("UPDATE jobs SET status = 'cancelled', ended_at = now() WHERE id = :id", id=job.id)
    duties.mend_lines()
    duties.refill_rings()


ENDS = {
    end_by_success: "plain", end_by_failure: "broken", end_by_cancel: "plain", end_by_deadline: "plain",
    end_by_lost_workers: "plain", end_unheard: "plain",
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_every_end_of_a_job_makes_room(rig, end):
    holder, waiting = keyed(rig, ENDS[end]), keyed(rig)
    assert [ring.job_id for ring in rig.rung] == [holder.id]
    end(rig, holder)
    assert rig.job(holder).ended
    assert waiting.id in [ring.job_id for ring in rig.rung]
    rig.run()
    assert rig.job(waiting).status == "succeeded"
    assert leftovers(rig) == 0


def test_a_job_that_waits_for_an_answer_keeps_its_place(rig):
    asked, waiting = keyed(rig, "asking"), keyed(rig)
    rig.run()
    assert statuses(rig, asked, waiting) == ["waiting", "queued"]
    service.give_input(asked.id, team_id=rig.team_id, value={})
    rig.run()
    assert rig.job(waiting).status == "succeeded"


def test_a_job_that_is_cancelled_in_the_line_leaves_it(rig):
    holder, gone, last = keyed(rig), keyed(rig), keyed(rig)
    service.cancel_job(gone.id, team_id=rig.team_id)
    rig.run()
    assert statuses(rig, holder, gone, last) == ["succeeded", "cancelled", "succeeded"]
    assert leftovers(rig) == 0


def test_reject_refuses_a_job_without_room_and_makes_none(rig):
    keyed(rig, policy="reject")
    with pytest.raises(ConcurrencyLimit, match="1 may be"):
        keyed(rig, policy="reject")
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 1
    rig.run()
    keyed(rig, policy="reject")


def test_cancel_running_replaces_the_oldest(rig):
    waiting, running = keyed(rig, "asking", policy="cancel_running"), None
    rig.run()
    running = keyed(rig, policy="cancel_running")
    assert statuses(rig, waiting, running) == ["cancelled", "queued"]
    claims = rig.engine.claimer.one(rig.rung.popleft().step_id).claims
    newest = keyed(rig, policy="cancel_running")
    assert statuses(rig, running, newest) == ["running", "queued"]
    assert rig.job(running).cancel_requested_at is not None
    rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=claims[0].job.id)
    duties.return_lost_leases()
    rig.run()
    assert statuses(rig, running, newest) == ["cancelled", "succeeded"]


def test_who_is_to_be_replaced_is_cancelled_by_the_dispatcher_if_nobody_else_did(rig, monkeypatch):
    older = keyed(rig)
    monkeypatch.setattr(service, "_tell", lambda *_, **__: None)  # the process dies after its commit
    newest = keyed(rig, policy="cancel_running")
    assert rig.job(older).status == "queued"
    duties.finish_cancels()
    rig.run()
    assert statuses(rig, older, newest) == ["cancelled", "succeeded"]


@pytest.mark.parametrize("error", [OperationalError("CANCEL", {}, Exception("away")), NotFound("its file is gone")])
def test_a_job_is_answered_as_made_when_whom_it_replaces_cannot_be_cancelled_just_now(rig, monkeypatch, error):
    older = keyed(rig)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as away:
        away.setattr(service, "request_cancel", fails)
        newest = keyed(rig, policy="cancel_running")
    assert rig.job(older).cancel_requested_at is not None, "that was committed with the new job"
    duties.finish_cancels()
    rig.run()
    assert statuses(rig, older, newest) == ["cancelled", "succeeded"]


def test_a_scheduled_job_stands_in_line_from_its_time_on(rig):
    later = keyed(rig, run_at=now() + timedelta(hours=1))
    assert holders(rig) == 0
    first = keyed(rig)
    rig.sql("UPDATE steps SET run_at = now() WHERE job_id = :id", id=later.id)
    duties.release_due()
    assert rig.job(later).status == "queued"
    assert [ring.job_id for ring in rig.rung] == [first.id]
    rig.run()
    assert statuses(rig, first, later) == ["succeeded"] * 2


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (Concurrency(key=""), "/concurrency_key"),
        (Concurrency(key="k", limit=0), "/concurrency_limit"),
        (Concurrency(key="k", policy="maybe"), "/concurrency_policy"),
    ],
)
def test_a_wrong_key_is_refused_and_names_the_field(rig, wrong, pointer):
    with pytest.raises(Invalid) as refused:
        rig.submit("plain", concurrency=wrong)
    assert refused.value.errors[0].pointer == pointer


def together(*tasks):
    """Run these at once; raises what one of them raised."""
    errors = []

    def run(task):
        try:
            task()
        except Exception as error:  # noqa: BLE001  # shown below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors


def test_fifty_submits_and_ends_at_once_never_exceed_the_limit_and_leave_nobody(rig):
    limit, jobs, most, stop = 3, [], [], threading.Event()

    def watch():
        let_in = text("SELECT count(*) FROM steps WHERE status = 'running' OR (status = 'ready' AND held IS NULL)")
        while not stop.is_set():
            with transaction() as session:
                most.append(session.scalar(let_in))
            time.sleep(0.005)

    def submit():
        jobs.append(keyed(rig, limit=limit))

    def work(engine):
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < 1:
            try:
                step_id = rig.rung.popleft().step_id
            except IndexError:
                time.sleep(0.01)
                continue
            idle_since = time.monotonic()
            engine.run(step_id)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            together(*[submit] * 10, *[partial(work, rig.worker()) for _ in range(2)])
    finally:
        stop.set()
        watcher.join()
    assert len(jobs) == 50
    assert max(most) == limit
    assert set(statuses(rig, *jobs)) == {"succeeded"}
    assert leftovers(rig) == 0


def test_fifty_submits_with_reject_at_once_accept_as_many_as_there_is_room_for(rig):
    accepted, rejected = [], []

    def submit():
        try:
            accepted.append(keyed(rig, limit=4, policy="reject"))
        except ConcurrencyLimit:
            rejected.append(1)

    for _ in range(5):
        together(*[submit] * 10)
    assert (len(accepted), len(rejected)) == (4, 46)


def test_a_limit_on_an_agent_holds_for_its_jobs_and_is_edited_live(rig):
    limits.put_limit("probe", team_id=rig.team_id, max_running=1)
    jobs = [rig.submit("plain") for _ in range(4)]
    assert [ring.job_id for ring in rig.rung] == [jobs[0].id]
    raised = limits.put_limit("probe", team_id=rig.team_id, max_running=3)
    assert (raised.running, raised.waiting) == (3, 1)
    assert {ring.job_id for ring in rig.rung} == {job.id for job in jobs[:3]}
    limits.delete_limit("probe", team_id=rig.team_id)
    assert {ring.job_id for ring in rig.rung} == {job.id for job in jobs}
    rig.run()
    assert statuses(rig, *jobs) == ["succeeded"] * 4
    assert rig.sql("SELECT count(*) AS n FROM limits")[0]["n"] == 0
    with pytest.raises(NotFound):
        limits.delete_limit("probe", team_id=rig.team_id)


def test_a_new_limit_counts_what_runs_and_holds_what_is_queued(rig):
    running, queued = rig.submit("asking"), None
    rig.run()
    queued = [rig.submit("plain") for _ in range(2)]
    rig.rung.clear()
    rig.sql("UPDATE steps SET rung_at = NULL WHERE status = 'ready'")
    made = limits.put_limit("*", team_id=rig.team_id, max_running=2)
    assert (made.running, made.waiting) == (2, 1)
    rig.run()
    service.give_input(running.id, team_id=rig.team_id, value={})
    rig.run()
    assert statuses(rig, running, *queued) == ["succeeded"] * 3


def test_the_operators_limit_is_shared_fairly_between_teams(rig):
    limits.put_limit("probe.plain", team_id=None, max_running=2)
    ours = [rig.submit("plain") for _ in range(4)]
    submission = Submission(agent="probe", action="plain", input={})
    theirs = [service.submit(submission, team_id="team_other").job for _ in range(2)]
    order = []
    while rig.rung:
        order.append(rig.rung[0].job_id)
        rig.run(at_most=1)
    assert order == [ours[0].id, ours[1].id, theirs[0].id, ours[2].id, theirs[1].id, ours[3].id]


def test_a_full_line_does_not_hold_up_those_that_another_limit_concerns(rig):
    limits.put_limit("*", team_id=rig.team_id, max_running=2)
    stuck = [keyed(rig, key="busy") for _ in range(3)]
    free = keyed(rig, key="idle")
    assert {ring.job_id for ring in rig.rung} == {stuck[0].id, free.id}


def test_a_rate_limit_lets_a_burst_in_and_then_one_at_a_time(rig):
    limits.put_limit("probe", team_id=rig.team_id, rate=5, burst=2)
    jobs = [rig.submit("plain") for _ in range(4)]
    assert [ring.job_id for ring in rig.rung] == [job.id for job in jobs[:2]]
    assert {row["held"] for row in rig.sql("SELECT held FROM steps WHERE held IS NOT NULL")} <= {"rate", "concurrency"}
    began, deadline = time.monotonic(), time.monotonic() + 10
    while len(rig.rung) < 4 and time.monotonic() < deadline:
        duties.admit_waiting()
        duties.refill_rings()
        time.sleep(0.01)
    assert len(rig.rung) == 4
    assert time.monotonic() - began >= 0.2


def test_a_job_of_another_team_or_agent_goes_the_short_way(rig, monkeypatch):
    limits.put_limit("other", team_id=rig.team_id, max_running=1)
    limits.put_limit("probe", team_id="team_other", max_running=1)
    monkeypatch.setattr(gate, "enter", lambda *_, **__: pytest.fail("a limit was looked at in a transaction"))
    job = rig.submit("plain")
    assert [ring.job_id for ring in rig.rung] == [job.id]


@pytest.mark.parametrize(
    ("target", "fields", "pointer"),
    [
        ("probe", {}, "/max_running"),
        ("probe", {"max_running": -1}, "/max_running"),
        ("probe", {"rate": 0.0}, "/rate"),
        ("probe", {"max_running": 1, "burst": 2}, "/burst"),
        ("probe.", {"max_running": 1}, "/target"),
        ("a/b", {"max_running": 1}, "/target"),
    ],
)
def test_a_wrong_limit_is_refused_and_names_the_field(rig, target, fields, pointer):
    with pytest.raises(Invalid) as refused:
        limits.put_limit(target, team_id=rig.team_id, **fields)
    assert refused.value.errors[0].pointer == pointer


def test_whoever_dies_between_commit_and_line_is_made_up_for(rig, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(announce.gate, "after_commit", lambda **_: set())
        job = keyed(rig)
    assert not rig.rung
    duties.mend_lines()
    duties.refill_rings()
    assert [ring.job_id for ring in rig.rung] == [job.id]
