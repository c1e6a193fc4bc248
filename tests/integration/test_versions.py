"""Versions of an action side by side: who runs what, and that nobody's absence stops the others."""

from agora.agents import Agent, StepContext
from agora.dispatcher import duties
from agora.ids import new_id
from agora.jobs import catalogue, manned, rings, service
from agora.jobs.engine import Engine
from agora.settings import get_settings
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


def test_a_ring_that_the_wrong_version_heard_is_rung_again_soon(db, monkeypatch):
    rig, old, new = two_versions(monkeypatch)
    job = rig.submit("count", version=1)
    assert new.run(rig.rung.popleft().step_id) is None
    (step,) = rig.sql("SELECT rung_at < now() - interval '4 s' AS soon FROM steps WHERE job_id = :id", id=job.id)
    assert step["soon"], "it is as good as due to be rung again"
    duties.rering_unheard()
    assert not rig.rung, "but not at once: it would go round and round"
    rig.sql("UPDATE steps SET rung_at = rung_at - interval '1 s' WHERE job_id = :id", id=job.id)
    duties.rering_unheard()
    run_all(rig, old)
    assert rig.job(job).output == {"n": 1}


def test_a_ring_for_a_step_that_is_taken_is_left_alone(db, monkeypatch):
    rig, old, _ = two_versions(monkeypatch)
    job = rig.submit("count", version=1)
    before = rig.sql("SELECT rung_at FROM steps WHERE job_id = :id", id=job.id)
    rings.postpone(rig.rung[0].step_id, known=old.claimer.known)
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
