"""Child jobs: made once, waited for without a worker, cancelled with their parent."""

import json

import pytest
from pydantic import BaseModel

from agora.agents import Agent, Child, ChildResult, Failures, Permanent, Retry, Spawn, StepContext
from agora.dispatcher import duties
from agora.jobs import children, decide, service
from agora.jobs.lineage import Wish, go_on
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
FAIL_FAST = Failures.fail_fast()


class Task(BaseModel):
    """What a parent and its children are given."""

    n: int = 3
    broken: list[int] = []
    depth: int = 0


class Report(BaseModel):
    """What they return."""

    numbers: list[int] = []
    missed: list[str] = []


def agent_of(failures=FAIL_FAST, spawn=None):
    agent = Agent("probe")
    parent, child = agent.action("parent", input=Task, output=Report), agent.action("child", input=Task, output=Report)
    nested = agent.action("nested", input=Task, output=Report)

    @parent.step(retry=Retry(attempts=1))
    def scatter(ctx: StepContext[Task]) -> Spawn:
        if spawn is not None:
            return spawn(ctx)
        jobs = [
            Child(agent="probe", action="child", input={"n": n, "broken": ctx.input.broken}) for n in range(ctx.input.n)
        ]
        return Spawn(jobs, failures)

    @parent.step
    def gather(ctx: StepContext[Task]) -> Report:
        found: list[ChildResult] = ctx.result(scatter)
        return Report(
            numbers=[one.output["numbers"][0] for one in found if one.status == "succeeded"],
            missed=[one.error["code"] if one.error else one.status for one in found if one.status != "succeeded"],
        )

    @child.step
    def work(ctx: StepContext[Task]) -> Report:
        if ctx.input.n in ctx.input.broken:
            raise Permanent(f"child {ctx.input.n} broke", code="broken")
        return Report(numbers=[ctx.input.n * 10])

    @nested.step(retry=Retry(attempts=1))
    def descend(ctx: StepContext[Task]) -> Spawn:
        return Spawn([Child(agent="probe", action="nested", input={"depth": ctx.input.depth + 1})])

    @nested.step
    def ascend(_: StepContext[Task]) -> Report:
        return Report()

    return agent


def jobs_of(rig, parent):
    return rig.sql("SELECT id, status, depth, priority, key_id FROM jobs WHERE parent_id = :id ORDER BY child_index",
                   id=parent.id)  # fmt: skip


def test_children_run_and_their_results_come_back_in_order(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("parent", {"n": 5}, priority=7)
    rig.run(at_most=1)
    waiting = rig.job(job)
    assert waiting.status == "waiting"
    assert [row["status"] for row in jobs_of(rig, job)] == ["queued"] * 5
    assert {(row["depth"], row["priority"]) for row in jobs_of(rig, job)} == {(1, 7)}
    rig.run()
    assert rig.job(job).output == {"numbers": [0, 10, 20, 30, 40], "missed": []}
    assert rig.events(job) == [
        "job.created", "job.started", "job.waiting", "step.succeeded", "job.resumed", "step.succeeded", "job.succeeded",
    ]  # fmt: skip


def test_no_children_are_an_empty_result(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("parent", {"n": 0})
    rig.run()
    assert rig.job(job).output == {"numbers": [], "missed": []}


def test_a_failed_child_fails_its_parent_and_cancels_its_siblings(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("parent", {"n": 4, "broken": [0]})
    rig.run(at_most=2)
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "children-failed")
    assert "child 0 broke" in ended.error["message"]
    rig.run()
    duties.finish_cancels()
    assert [row["status"] for row in jobs_of(rig, job)] == ["failed", "cancelled", "cancelled", "cancelled"]


def test_collect_hands_every_outcome_to_the_next_step(monkeypatch):
    rig = Rig(monkeypatch, agent_of(Failures.collect()))
    job = rig.submit("parent", {"n": 3, "broken": [1]})
    rig.run()
    assert rig.job(job).output == {"numbers": [0, 20], "missed": ["broken"]}


def test_cancel_goes_down_the_tree(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("nested")
    for _ in range(3):
        rig.run(at_most=1)
    service.cancel_job(job.id, team_id=rig.team_id, reason="enough")
    for _ in range(5):
        duties.finish_cancels()
    rows = rig.sql("SELECT status, depth FROM jobs ORDER BY depth")
    assert [row["depth"] for row in rows] == [0, 1, 2, 3]
    assert {row["status"] for row in rows} == {"cancelled"}


def test_a_deadline_of_the_parent_takes_its_children_with_it(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("parent")
    rig.run(at_most=1)
    rig.sql("UPDATE jobs SET deadline = now() WHERE id = :id", id=job.id)
    duties.fail_late_jobs()
    duties.finish_cancels()
    assert rig.job(job).error["code"] == "deadline-exceeded"
    assert {row["status"] for row in jobs_of(rig, job)} == {"cancelled"}


def test_depth_is_limited(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("nested")
    rig.run(at_most=100)
    duties.settle_parts()
    for _ in range(20):
        rig.run()
        duties.settle_parts()
    deepest = rig.sql("SELECT max(depth) AS depth FROM jobs")[0]["depth"]
    assert deepest == 10
    assert rig.job(job).error["code"] == "children-failed"
    assert rig.sql("SELECT error ->> 'code' AS code FROM jobs WHERE depth = 10")[0]["code"] == "too-deep"


def test_width_is_limited(monkeypatch):
    monkeypatch.setattr(decide, "MOST_CHILDREN", 2)
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("parent", {"n": 3})
    rig.run()
    assert rig.job(job).error["code"] == "too-many-children"
    assert jobs_of(rig, job) == []


@pytest.mark.parametrize(("child", "says"), [
    (Child(agent="nobody", action="x", input={}), "no worker has registered an agent"),
    (Child(agent="probe", action="child", input={"n": "many"}), "/input/n"),
    (Child(agent="probe", action="child", input={}, priority=12), "priority must be 0 to 9"),
])  # fmt: skip
def test_a_child_that_is_not_acceptable_fails_the_step_and_makes_none(monkeypatch, child, says):
    good = Child(agent="probe", action="child", input={})
    rig = Rig(monkeypatch, agent_of(spawn=lambda _: Spawn([good, child])))
    job = rig.submit("parent")
    rig.run()
    assert rig.job(job).status == "failed"
    assert says in rig.job(job).error["message"]
    assert jobs_of(rig, job) == []


def untold(rig, monkeypatch):
    """A parent of two children whose worker died before it told the parent that they have ended."""
    job = rig.submit("parent", {"n": 2})
    with monkeypatch.context() as dead:
        dead.setattr(children, "settle_children", lambda _: None)
        rig.run()
    return job


def test_a_worker_that_dies_before_it_tells_the_parent_leaves_that_to_the_dispatcher(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = untold(rig, monkeypatch)
    assert rig.job(job).status == "waiting"
    assert (duties.settle_parts(), duties.settle_parts()) == (1, 0)
    rig.run()
    assert rig.job(job).output["numbers"] == [0, 10]


def test_a_parent_that_cannot_be_settled_takes_nothing_from_its_childs_turn_nor_from_other_parents(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    broken, fine = rig.submit("parent", {"n": 1}), rig.submit("parent", {"n": 1})
    settle_step = children.settle_step

    def away(step):
        if step["job_id"] == broken.id or not is_back:
            raise OSError("the file store is away")
        return settle_step(step)

    is_back = []
    monkeypatch.setattr(children, "settle_step", away)
    assert rig.run() == ["suspended", "suspended", "succeeded", "succeeded"]
    assert (rig.job(broken).status, rig.job(fine).status) == ("waiting", "waiting")
    is_back.append(True)
    assert duties.settle_parts() == 1
    rig.run()
    assert (rig.job(broken).status, rig.job(fine).status) == ("waiting", "succeeded")


def test_a_childs_output_that_the_store_lost_fails_the_parent(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = untold(rig, monkeypatch)
    lost = jobs_of(rig, job)[1]["id"]
    reference = json.dumps({"ref": "values/gone", "size": 3})
    rig.sql("UPDATE jobs SET output = CAST(:ref AS jsonb) WHERE id = :id", ref=reference, id=lost)
    assert duties.settle_parts() == 1
    ended = rig.job(job)
    assert (ended.status, ended.error["code"], ended.error["retryable"]) == ("failed", "value-lost", False)
    assert lost in ended.error["message"]


def test_a_step_that_lost_its_fence_spawns_nothing(monkeypatch):
    rig = None

    def spawn(ctx):
        if ctx.attempt == 1:
            rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=ctx.job_id)
            duties.return_lost_leases()
        return Spawn([Child(agent="probe", action="child", input={"n": ctx.attempt})])

    rig = Rig(monkeypatch, agent_of(spawn=spawn))
    job = rig.submit("parent")
    rig.run()
    assert rig.job(job).output["numbers"] == [20]
    assert len(jobs_of(rig, job)) == 1


def test_a_retry_spawns_only_the_children_that_have_not_succeeded(monkeypatch):
    keys = []
    agent = agent_of()
    work = agent.actions[("child", 1)].named("work")
    done, mended = work.function, []

    def counted(ctx):
        keys.append(ctx.idempotency_key)
        return Report(numbers=[ctx.input.n * 10]) if mended else done(ctx)

    work.function = counted
    rig = Rig(monkeypatch, agent)
    job = rig.submit("parent", {"n": 3, "broken": [2]})
    rig.run()
    assert rig.job(job).error["code"] == "children-failed"
    mended.append(True)
    retry = go_on(job.id, Wish(), team_id=rig.team_id).job
    for _ in range(3):
        rig.run()
        duties.settle_parts()
    assert rig.job(retry).output["numbers"] == [0, 10, 20]
    (again,) = jobs_of(rig, retry)
    assert rig.sql("SELECT retry_of FROM jobs WHERE id = :id", id=again["id"])[0]["retry_of"] is not None
    assert keys[2] == keys[3], "the same work has the same key"
    assert len(keys) == 4


def test_a_retry_whose_children_have_all_succeeded_goes_on_with_their_results(monkeypatch):
    rig = Rig(monkeypatch, agent_of())
    job = rig.submit("parent", {"n": 2})
    rig.run(at_most=1)
    with monkeypatch.context() as dead:
        dead.setattr(children, "settle_children", lambda _: None)
        rig.run()
    service.cancel_job(job.id, team_id=rig.team_id)
    retry = go_on(job.id, Wish(), team_id=rig.team_id).job
    for _ in range(3):
        rig.run()
        duties.settle_parts()
    assert rig.job(retry).output["numbers"] == [0, 10]
    assert jobs_of(rig, retry) == []
