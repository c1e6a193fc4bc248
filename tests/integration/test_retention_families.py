"""Retention and children: what a retry has taken over stays for as long as it waits, and nobody goes on with fewer."""

import pytest
from pydantic import BaseModel

from agora.agents import Agent, Child, ChildResult, Failures, Permanent, Retry, Spawn, StepContext
from agora.dispatcher import duties
from agora.errors import NotFound
from agora.jobs import service
from agora.jobs.lineage import Wish, go_on
from tests.support.aging import aged, begin_anew, sweep
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


class Task(BaseModel):
    """What a parent and its children are given."""

    n: int = 0


class Report(BaseModel):
    """What they return."""

    numbers: list[int] = []


class Family:
    """A parent of two children; the second one fails until it is mended."""

    def __init__(self, monkeypatch):
        self.mended = False
        agent = Agent("probe")
        parent = agent.action("parent", input=Task, output=Report)
        child = agent.action("child", input=Task, output=Report)

        @parent.step(retry=Retry(attempts=1))
        def scatter(_: StepContext[Task]) -> Spawn:
            return Spawn([Child(agent="probe", action="child", input={"n": n}) for n in range(2)], Failures.fail_fast())

        @parent.step
        def gather(ctx: StepContext[Task]) -> Report:
            found: list[ChildResult] = ctx.result(scatter)
            return Report(numbers=[one.output["numbers"][0] for one in found])

        @child.step(retry=Retry(attempts=1))
        def work(ctx: StepContext[Task]) -> Report:
            if ctx.input.n and not self.mended:
                raise Permanent("broke")
            return Report(numbers=[ctx.input.n * 10])

        self.rig = Rig(monkeypatch, agent)

    def retried(self):
        """A retry that waits for the second child, and the first one, of long ago, that it has taken over."""
        job = self.rig.submit("parent")
        self.rig.run()
        assert self.rig.job(job).error["code"] == "children-failed"
        (first,) = self.rig.sql("SELECT id FROM jobs WHERE parent_id = :id AND child_index = 0", id=job.id)
        taken = aged(self.rig, service.get_job(first["id"], team_id=self.rig.team_id), 31)
        self.mended = True
        retry = go_on(job.id, Wish(), team_id=self.rig.team_id).job
        self.rig.run(at_most=1)
        assert self.rig.job(retry).status == "waiting"
        return retry, taken

    def goes_on(self):
        """Whatever is to be done."""
        for _ in range(3):
            self.rig.run()
            duties.settle_parts()


@pytest.fixture
def family(monkeypatch):
    begin_anew()
    return Family(monkeypatch)


def test_a_child_that_a_retry_has_taken_over_stays_while_the_retry_waits(family):
    retry, taken = family.retried()
    sweep()
    service.get_job(taken, team_id=family.rig.team_id)
    family.goes_on()
    assert family.rig.job(retry).output == {"numbers": [0, 10]}
    sweep()
    with pytest.raises(NotFound):
        service.get_job(taken, team_id=family.rig.team_id)


def test_a_step_whose_children_are_not_all_there_fails_its_job(family):
    retry, taken = family.retried()
    family.rig.sql("DELETE FROM jobs WHERE id = :id", id=taken)
    family.goes_on()
    ended = family.rig.job(retry)
    assert (ended.status, ended.error["code"]) == ("failed", "children-missing")
    assert "waited for 2 children, 1 of which are still there" in ended.error["message"]
