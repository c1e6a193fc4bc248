"""Leases outlive no step: whatever ends a step or keeps it from being recorded, its lease is dropped or runs out."""

import asyncio
import threading

import pytest
from sqlalchemy.exc import OperationalError

from agora.agents import Retry, StepContext, TransactionContext
from agora.dispatcher import duties
from agora.jobs import batch as batches
from agora.jobs.batch import Batch, Watch
from agora.jobs.decide import advance
from agora.jobs.leases import Heartbeat, Lease, heartbeat
from agora.jobs.settle import Finished
from agora.settings import override_environment
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db")
ONCE = {"retry": Retry(attempts=1)}


class GreenletExit(BaseException):
    """As gevent's."""


def idle(ctx: StepContext[Number]) -> Number:
    return ctx.input


@pytest.fixture(autouse=True)
def nothing_held(db):
    """Of what other tests left."""
    heartbeat()._held.clear()


@pytest.fixture
def quick_beats(db):
    with override_environment({"AGORA_HEARTBEAT_SECONDS": "0.05"}):
        yield


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, GreenletExit, SystemExit])
def test_whatever_a_step_raises_is_its_failure(monkeypatch, kind, transactional):
    def plain(_: StepContext[Number]) -> Number:
        raise kind("enough")

    def in_transaction(_: TransactionContext[Number]) -> Number:
        raise kind("enough")

    step = in_transaction if transactional else plain
    rig = Rig(monkeypatch, agent_with(torn=[(step, ONCE | {"transactional": transactional})]))
    job = rig.submit("torn")
    assert rig.run() == ["failed"]
    ended = rig.job(job)
    assert (ended.status, ended.error["type"], ended.error["message"]) == ("failed", kind.__name__, "enough")
    assert heartbeat()._held == {}


@pytest.mark.parametrize("transactional", [False, True])
def test_whoever_is_interrupted_in_a_step_renews_its_lease_no_longer(monkeypatch, transactional):
    def plain(_: StepContext[Number]) -> Number:
        raise KeyboardInterrupt

    def in_transaction(_: TransactionContext[Number]) -> Number:
        raise KeyboardInterrupt

    step = in_transaction if transactional else plain
    rig = Rig(monkeypatch, agent_with(stopped=[(step, {"transactional": transactional})]))
    job = rig.submit("stopped")
    with pytest.raises(KeyboardInterrupt):
        rig.run()
    assert heartbeat()._held == {}
    rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=job.id)
    assert duties.return_lost_leases() == 1
    assert rig.job(job).steps[0].status == "ready"


def held_batch(rig):
    """A batch with a try that has ended, and a claim that waits."""
    batch, jobs = Batch(), [rig.submit("idle"), rig.submit("idle")]
    for _ in jobs:
        batch.add(rig.engine.claimer.one(rig.rung.popleft().step_id).claims, rig.engine.lease)
    claim, lease = batch.pop()
    batch.finish(Finished(claim=claim, decision=advance({"n": 1}, claim.position), stored='{"v":{"n":1}}'), lease)
    return batch, jobs


def test_what_cannot_be_recorded_is_not_renewed_and_what_waits_is_given_back(monkeypatch):
    rig = Rig(monkeypatch, agent_with(idle=[idle]))
    batch, (ended, waiting) = held_batch(rig)
    assert len(heartbeat()._held) == 2

    def away(_):
        raise OperationalError("RECORD", {}, Exception("Postgres is away"))

    monkeypatch.setattr(batches, "settle", away)
    with pytest.raises(OperationalError):
        batch.relieve()
    assert heartbeat()._held == {}
    assert (rig.job(ended).steps[0].status, rig.job(waiting).steps[0].status) == ("running", "ready")


def test_what_cannot_be_given_back_is_not_renewed(monkeypatch):
    rig = Rig(monkeypatch, agent_with(idle=[idle]))
    batch, _ = held_batch(rig)

    def away(*_, **__):
        raise OperationalError("RELEASE", {}, Exception("Postgres is away"))

    monkeypatch.setattr(batches.step_queries, "release_steps", away)
    with pytest.raises(OperationalError):
        batch.relieve()
    assert heartbeat()._held == {}


def test_the_watch_goes_on_after_a_turn_that_it_could_not_relieve():
    broke, relieved = threading.Event(), threading.Event()

    class Stuck(Batch):
        def is_stuck(self):
            return True

    class Broken(Stuck):
        def relieve(self):
            broke.set()
            raise OSError("the store is away")

    class Other(Stuck):
        def relieve(self):
            relieved.set()

    watch, broken, other = Watch(), Broken(), Other()
    watch.begin(broken)
    assert broke.wait(15)
    watch.begin(other)
    assert relieved.wait(15)
    watch.end(broken)
    watch.end(other)
    assert watch._thread.is_alive()


def claimed(rig):
    """A lease of a step that runs."""
    rig.submit("idle")
    (claim,) = rig.engine.claimer.one(rig.rung.popleft().step_id).claims
    return rig.engine.lease(claim)


def overdue(give_up):
    lease = Lease(step_id="stp_overdue", fence="f", lease_seconds=10.0, timeout=0.001, give_up=give_up)
    lease.started = lease.renewed - 3600
    return lease


def is_renewed_after(lease, moment):
    eventually(lambda: lease.renewed > moment)


def test_a_step_that_cannot_be_written_off_ends_no_heartbeat(monkeypatch, quick_beats):
    rig, beats, tried = Rig(monkeypatch, agent_with(idle=[idle])), Heartbeat(), threading.Event()

    def give_up():
        tried.set()
        raise OperationalError("RECORD", {}, Exception("Postgres is away"))

    lease = claimed(rig)
    before = lease.renewed
    beats.hold([overdue(give_up), lease])
    try:
        assert tried.wait(15)
        is_renewed_after(lease, before)
        is_renewed_after(lease, lease.renewed)
    finally:
        beats.drop([lease])


def test_a_step_whose_row_is_held_keeps_no_other_lease_waiting(monkeypatch, quick_beats):
    rig, beats = Rig(monkeypatch, agent_with(idle=[idle])), Heartbeat()
    entered, release = threading.Event(), threading.Event()

    def give_up():
        entered.set()
        release.wait(60)

    lease = claimed(rig)
    beats.hold([overdue(give_up), lease])
    try:
        assert entered.wait(15)
        is_renewed_after(lease, lease.renewed)
        assert not lease.lost
    finally:
        release.set()
        beats.drop([lease])


def test_a_beat_that_fails_is_not_the_last_one_and_a_dead_thread_is_replaced(monkeypatch, quick_beats):
    rig, beats, failed = Rig(monkeypatch, agent_with(idle=[idle])), Heartbeat(), threading.Event()
    renew = beats._renew

    def broken_once(alive):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("no such luck")
        renew(alive)

    monkeypatch.setattr(beats, "_renew", broken_once)
    lease = claimed(rig)
    before = lease.renewed
    beats._thread = threading.Thread(target=lambda: None)
    beats._thread.start()
    beats._thread.join()
    beats.hold([lease])
    try:
        is_renewed_after(lease, before)
        assert failed.is_set()
    finally:
        beats.drop([lease])


def test_a_step_over_its_time_out_is_written_off_while_it_runs_on(monkeypatch):
    entered, release = threading.Event(), threading.Event()

    def stuck(_: StepContext[Number]) -> Number:
        entered.set()
        release.wait(60)
        return Number()

    rig = Rig(monkeypatch, agent_with(stuck=[(stuck, ONCE)]))
    job = rig.submit("stuck")
    turn = threading.Thread(target=rig.engine.run, args=(rig.rung.popleft().step_id,))
    turn.start()
    try:
        assert entered.wait(15)
        (lease,) = heartbeat()._held.values()
        lease.timeout, lease.started = 0.001, lease.started - 3600
        heartbeat()._beat([lease])
        eventually(lambda: rig.job(job).status == "failed")
        assert rig.job(job).error["code"] == "step-timeout"
    finally:
        release.set()
        turn.join(15)
    assert heartbeat()._held == {}
