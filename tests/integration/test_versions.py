"""Versions of an action side by side: who runs what, and that nobody's absence stops the others."""

import threading
import time
from dataclasses import replace

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from agora.agents import Agent, Retry, StepContext
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.errors import Conflict, IllegalTransition, Invalid, NotFound
from agora.ids import new_id
from agora.jobs import catalogue, manned, moves, rings, service, step_queries
from agora.jobs.engine import Engine
from agora.settings import get_settings, override_environment
from agora.webhooks import service as webhooks
from agora.webhooks.types import NewEndpoint
from tests.support.locks import until_waiting
from tests.support.probes import Number
from tests.support.rig import Rig


def agent_of(*versions):
    """An agent whose action ``count`` exists in these versions; each tells its own number."""
    agent = Agent("probe")
    for version in versions:
        action = agent.action("count", input=Number, output=Number, version=version)

        @action.step
        def begin(ctx: StepContext[Number]) -> int:
            return ctx.input.n

        @action.step(queue="io")
        def tell(_: StepContext[Number], version=version) -> Number:
            return Number(n=version)

    return agent


def worker_of(agent, *versions, queues=("cpu", "io")):
    """A worker that runs these versions only; returns its engine."""
    actions = [agent.actions["count", version] for version in versions]
    worker_id = new_id("wrk")
    catalogue.register_worker(actions, worker_id=worker_id, hostname="here", pid=1, queues=queues)
    manned.forget()
    return Engine(worker_id=worker_id, actions={catalogue.label_of(action): action for action in actions})


def lose(rig, engine):
    """The worker dies without a word, long ago."""
    rig.sql("UPDATE workers SET seen_at = now() - interval '1 hour' WHERE id = :id", id=engine.worker_id)
    manned.forget()


def run_all(rig, *engines, at_most=200):
    """Hand what is rung to these workers in turn until nothing is rung; returns how many messages that took."""
    heard = 0
    while rig.rung and heard < at_most:
        engines[heard % len(engines)].run(rig.rung.popleft().step_id)
        heard += 1
    return heard


def two_versions(monkeypatch):
    """A rig without a worker of its own, and one worker for each version."""
    agent = agent_of(1, 2)
    rig = Rig(monkeypatch, agent)
    lose(rig, rig.engine)
    return rig, worker_of(agent, 1), worker_of(agent, 2)


def test_steps_that_nobody_can_run_do_not_stop_the_queue(db, monkeypatch):
    rig, old, new = two_versions(monkeypatch)
    window = get_settings().ring_window
    stuck = [rig.submit("count", version=1) for _ in range(window)]
    assert len(rig.rung) == window, "they fill the queue's window"
    lose(rig, old)
    rig.rung.clear()
    later = [rig.submit("count", version=1) for _ in range(window)]
    assert not rig.rung, "nobody is rung for a version that nobody runs"
    job = rig.submit("count", version=2)
    rig.sql("UPDATE steps SET rung_at = rung_at - interval '1 hour' WHERE rung_at IS NOT NULL")
    duties.rering_unheard()
    assert not rig.rung
    duties.refill_rings()
    run_all(rig, new)
    assert rig.job(job).output == {"n": 2}
    back = worker_of(rig.agent, 1)
    for _ in range(6):
        duties.refill_rings()
        run_all(rig, back)
    assert [rig.job(one).output for one in (stuck[0], later[-1])] == [{"n": 1}, {"n": 1}]


def test_a_ring_that_the_wrong_version_heard_is_handed_on_at_once(db, monkeypatch):
    rig, old, new = two_versions(monkeypatch)
    job = rig.submit("count", version=1)
    first = rig.rung.popleft()
    assert new.run(first.step_id) is None
    assert list(rig.rung) == [replace(first, hops=1)]
    run_all(rig, old)
    assert rig.job(job).output == {"n": 1}


def test_a_ring_that_none_of_many_could_answer_is_rung_again_soon(db, monkeypatch):
    rig, old, new = two_versions(monkeypatch)
    job = rig.submit("count", version=1)
    handed = 0
    while rig.rung and handed < 100:
        ring = rig.rung.popleft()
        assert new.run(ring.step_id, hops=ring.hops) is None
        handed += 1
    assert handed == rings.MOST_HOPS + 1
    (step,) = rig.sql("SELECT rung_at < now() - interval '4 s' AS soon FROM steps WHERE job_id = :id", id=job.id)
    assert step["soon"], "it is as good as due to be rung again"
    duties.rering_unheard()
    assert not rig.rung, "but not at once: it would go round and round"
    rig.sql("UPDATE steps SET rung_at = rung_at - interval '1 s' WHERE job_id = :id", id=job.id)
    duties.rering_unheard()
    run_all(rig, old)
    assert rig.job(job).output == {"n": 1}


@pytest.mark.parametrize(("later", "released"), [(rings.UNPARK_SECONDS + 55, 1), (1, 0)])
def test_what_was_parked_by_an_old_memory_is_released_however_late_somebody_looks(db, monkeypatch, later, released):
    rig, _, _ = two_versions(monkeypatch)
    moment = time.monotonic()
    monkeypatch.setattr(rings.time, "monotonic", lambda: moment)
    parked = rings.Parked()
    parked.release("cpu")
    moment += rings.UNPARK_SECONDS + 1
    parked.release("cpu")  # the last look at this change
    job = rig.submit("count", version=1)
    rig.sql("UPDATE steps SET held = 'worker', rung_at = NULL WHERE job_id = :id", id=job.id)
    moment += later
    assert parked.release("cpu") == released


def test_a_change_is_looked_at_again_when_its_dispatcher_slept_meanwhile(db, monkeypatch):
    rig, _, _ = two_versions(monkeypatch)
    moment = time.monotonic()
    monkeypatch.setattr(rings.time, "monotonic", lambda: moment)
    parked = rings.Parked()
    parked.release("cpu")
    job = rig.submit("count", version=1)
    rig.sql("UPDATE steps SET held = 'worker', rung_at = NULL WHERE job_id = :id", id=job.id)
    moment += rings.UNPARK_SECONDS + 1
    assert parked.release("cpu") == 1


def test_a_ring_for_a_step_that_is_taken_is_left_alone(db, monkeypatch):
    rig, old, _ = two_versions(monkeypatch)
    job = rig.submit("count", version=1)
    before = rig.sql("SELECT rung_at FROM steps WHERE job_id = :id", id=job.id)
    rung = list(rig.rung)
    rings.hand_on(rung[0].step_id, known=old.claimer.known, hops=0)
    assert list(rig.rung) == rung
    assert rig.sql("SELECT rung_at FROM steps WHERE job_id = :id", id=job.id) == before


def test_the_catalogue_counts_workers_by_version_and_queue(db, monkeypatch):
    rig, old, _ = two_versions(monkeypatch)
    worker_of(rig.agent, 2, queues=["io"])
    worker_of(rig.agent, 1, 2, queues=["webhooks"])
    found = {one.version: one for one in service.list_agents("probe")}
    assert (found[1].workers, found[1].live_workers) == ({"cpu": 1, "io": 1}, 1)
    assert (found[2].workers, found[2].live_workers) == ({"cpu": 1, "io": 2}, 2)
    lose(rig, old)
    found = {one.version: one for one in service.list_agents("probe")}
    assert (found[1].workers, found[1].live_workers) == ({"cpu": 0, "io": 0}, 0)


def test_a_job_finishes_on_its_version_says_when_nobody_runs_it_and_is_moved(db, monkeypatch):
    rig, old, new = two_versions(monkeypatch)
    finishes = rig.submit("count", version=1)
    for hears in (new, old, new, old):
        run_all(rig, hears)
        rig.sql("UPDATE steps SET rung_at = rung_at - interval '1 h' WHERE rung_at IS NOT NULL")
        duties.rering_unheard()
    assert rig.job(finishes).output == {"n": 1}, "both fleets were there, and it stayed on its own version"
    stays = rig.submit("count", version=1)
    old.run(rig.rung.popleft().step_id)
    lose(rig, old)
    waits = rig.job(stays).waits
    assert (waits["reason"], waits["version"]) == ("no-worker", 1)
    step = rig.job(stays).steps[-1]
    assert (waits["step"], waits["queue"], waits["since"]) == (step.name, step.queue, step.run_at)
    rig.rung.clear()
    duties.refill_rings()
    assert not rig.rung
    moved = moves.move_job(stays.id, team_id=rig.team_id, version=2)
    assert (moved.version, moved.waits["reason"]) == (2, "queue")
    run_all(rig, new)
    assert rig.job(stays).output == {"n": 2}
    assert rig.events(stays).count("job.moved") == 1
    (event,) = [one for one in service.list_events(stays.id, team_id=rig.team_id) if one.type == "job.moved"]
    assert (event.data["from"], event.data["to"]) == (1, 2)
    with pytest.raises(IllegalTransition):
        moves.move_job(stays.id, team_id=rig.team_id, version=1)


def test_a_move_to_where_the_job_is_changes_nothing(db, monkeypatch):
    rig, *_ = two_versions(monkeypatch)
    job = rig.submit("count", version=1)
    assert moves.move_job(job.id, team_id=rig.team_id, version=1).version == 1
    assert "job.moved" not in rig.events(job)
    with pytest.raises(NotFound):
        moves.move_job(job.id, team_id="team_other", version=2)


class Named(BaseModel):
    """An input that the first version did not have."""

    name: str


def changed(monkeypatch):
    """Versions that a job of version 1 cannot, and can, be moved to; returns the rig and a job after its first step."""

    def first(_: StepContext[Number]) -> int:
        return 1

    def second(_: StepContext[Number]) -> Number:
        return Number(n=1)

    def other(_: StepContext[Number]) -> int:
        return 9

    def third(_: StepContext[Number]) -> Number:
        return Number(n=3)

    agent = Agent("probe")
    chains = {1: [first, second], 2: [other, second], 3: [first, second], 4: [first, second, third]}
    for version, chain in chains.items():
        action = agent.action("count", input=Named if version == 3 else Number, output=Number, version=version)
        for step in chain:
            action.step(queue="io" if version == 4 and step is second else "cpu", retry=Retry(attempts=version))(step)
    rig = Rig(monkeypatch, agent)
    job = rig.submit("count", version=1)
    with override_environment({"AGORA_TURN_SECONDS": "0"}):
        rig.engine.run(rig.rung.popleft().step_id)
    rig.rung.clear()
    return rig, job


@pytest.mark.parametrize(
    ("version", "pointer", "rule"),
    [(2, "/version", "same-steps"), (3, "/input", "required"), (7, "/version", "registered")],
)
def test_a_version_that_does_not_fit_is_refused_and_nothing_is_moved(db, monkeypatch, version, pointer, rule):
    rig, job = changed(monkeypatch)
    with pytest.raises(Invalid) as refused:
        moves.move_job(job.id, team_id=rig.team_id, version=version)
    assert [(one.pointer, one.rule) for one in refused.value.errors] == [(pointer, rule)]
    assert (rig.job(job).version, rig.events(job)[-1]) == (1, "step.succeeded")


def test_a_moved_step_runs_where_and_as_often_as_its_new_version_says(db, monkeypatch):
    rig, job = changed(monkeypatch)
    step = moves.move_job(job.id, team_id=rig.team_id, version=4).steps[-1]
    (row,) = rig.sql("SELECT queue, max_attempts FROM steps WHERE id = :id", id=step.id)
    assert (row["queue"], row["max_attempts"]) == ("io", 4)
    rig.run()
    assert rig.job(job).output == {"n": 3}, "the step that only the new version has"
    assert [one.name for one in rig.job(job).steps] == ["first", "second", "third"]


def test_a_running_step_is_not_moved(db, monkeypatch):
    refused = []

    def busy(ctx: StepContext[Number]) -> Number:
        with pytest.raises(Conflict, match="runs"):
            moves.move_job(ctx.job_id, team_id=ctx.team_id, version=2)
        refused.append(1)
        return Number(n=1)

    agent = Agent("probe")
    for version in (1, 2):
        agent.action("count", input=Number, output=Number, version=version).step(busy)
    rig = Rig(monkeypatch, agent)
    job = rig.submit("count", version=1)
    rig.run()
    assert (refused, rig.job(job).version, rig.job(job).status) == ([1], 1, "succeeded")


PAUSE = 4711


@pytest.fixture
def paused_claims(db, monkeypatch):
    """Claims have their snapshot and wait before they lock a step, for as long as somebody holds PAUSE."""
    with transaction() as session:
        body = f"BEGIN PERFORM pg_advisory_xact_lock_shared({PAUSE}); RETURN true; END"
        session.execute(text(f"CREATE OR REPLACE FUNCTION pause() RETURNS boolean LANGUAGE plpgsql AS $$ {body} $$"))
    for name in ("CLAIM_ONE", "CLAIM_NEXT", "CLAIM_RUNG"):
        slow = getattr(step_queries, name).text.replace("AND s.status = 'ready'", "AND s.status = 'ready' AND pause()")
        assert "pause()" in slow
        monkeypatch.setattr(step_queries, name, text(slow))
    yield
    with transaction() as session:
        session.execute(text("DROP FUNCTION pause()"))


def claim_one(engine, step_id):
    return engine.claimer.one(step_id).claims


def claim_some(engine, _):
    return engine.claimer.some(queue="cpu", quick=["probe.count.begin"], count=5).claims


def claim_rung(engine, _):
    return engine.claimer.rung(queue="cpu", quick=["probe.count.begin"], count=5).claims


@pytest.mark.parametrize("subscribed", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("claim", [claim_one, claim_some, claim_rung])
def test_a_claim_that_meets_a_move_takes_the_step_on_its_new_version_or_not_at_all(
    monkeypatch, paused_claims, claim, both, subscribed
):
    rig, old, new = two_versions(monkeypatch)
    engine = worker_of(rig.agent, 1, 2) if both else old
    if subscribed:
        endpoint = NewEndpoint(url="https://receiver.example/hook", event_types=["job.*"])
        webhooks.create_endpoint(endpoint, team_id=rig.team_id)
    job, taken = rig.submit("count", version=1), []
    step_id = rig.job(job).steps[0].id
    rung = "now()" if claim is claim_rung else "NULL"
    rig.sql(f"UPDATE steps SET rung_at = {rung} WHERE id = :id", id=step_id)
    turn = threading.Thread(target=lambda: taken.extend(claim(engine, step_id)))
    with transaction() as held:
        held.execute(text(f"SELECT pg_advisory_xact_lock({PAUSE})"))
        turn.start()
        until_waiting()
        assert moves.move_job(job.id, team_id=rig.team_id, version=2).version == 2
        rig.sql(f"UPDATE steps SET rung_at = {rung} WHERE id = :id", id=step_id)
    turn.join(30)
    assert [claim.job.version for claim in taken] == ([2] if both else [])
    step = rig.job(job).steps[0]
    assert (step.status, step.attempt) == (("running", 1) if both else ("ready", 0))
    started = rig.sql("SELECT count(*) AS n FROM webhook_deliveries WHERE event_type = 'job.started'")[0]["n"]
    assert started == (1 if both and subscribed else 0)
    if not both:
        assert [claim.job.version for claim in claim_one(new, step_id)] == [2]


def test_all_open_jobs_of_a_version_are_moved_and_those_that_cannot_be_are_named(db, monkeypatch):
    rig, old, _ = two_versions(monkeypatch)
    jobs = [rig.submit("count", version=1) for _ in range(3)]
    busy, *free = jobs
    claims = old.claimer.one(next(ring.step_id for ring in rig.rung if ring.job_id == busy.id)).claims
    assert claims
    found = moves.move_jobs("probe", "count", team_id=rig.team_id, before=1, version=2)
    assert (found["moved"], found["more"]) == (2, False)
    assert [one["job_id"] for one in found["refused"]] == [busy.id]
    assert [rig.job(job).version for job in free] == [2, 2]
    monkeypatch.setattr(moves, "MOST", 1)
    assert moves.move_jobs("probe", "count", team_id=rig.team_id, before=2, version=1)["more"] is True
    with pytest.raises(Invalid):
        moves.move_jobs("probe", "count", team_id=rig.team_id, before=9, version=2)
