"""Budgets of jobs with a map step: what of its items still begins when the budget is spent."""

from datetime import timedelta

import pytest

from agora.agents import Agent, ItemContext, Retry, StepContext
from agora.dispatcher import duties
from agora.jobs import approval
from agora.jobs.types import Budget
from tests.support.probes import Number
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
AT_ONCE = Retry(attempts=3, first=timedelta(0), jitter=0.0)
TOKENS = Budget(max_tokens=100)
ASKING = Budget(max_tokens=100, on_exceeded="ask")


def mapped(work):
    """An agent that does ``work`` for each of n items, and then ends."""
    agent = Agent("probe")
    action = agent.action("spread", input=Number, output=Number)

    @action.step
    def numbers(ctx: StepContext[Number]) -> list[int]:
        return list(range(ctx.input.n))

    @action.map(over=numbers)
    def each(ctx: ItemContext[Number, int]) -> int:
        return work(ctx)

    @action.step
    def last(_: StepContext[Number]) -> Number:
        return Number()

    return agent


def run_items(rig):
    """Run until nothing is rung any more, as the dispatcher would ring."""
    for _ in range(20):
        duties.refill_rings()
        if not rig.run():
            return


def test_no_item_of_a_map_begins_when_the_budget_is_spent(monkeypatch):
    begun = []

    def work(ctx) -> int:
        begun.append(ctx.item)
        ctx.use(tokens_in=60)
        return 1

    rig = Rig(monkeypatch, mapped(work))
    job = rig.submit("spread", {"n": 20}, budget=TOKENS)
    run_items(rig)
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "budget-exceeded")
    assert ended.error["budget"] == {"limit": "max_tokens", "allowed": 100, "used": 120}
    assert len(begun) == 2, "one within the budget, one that goes over"


def test_a_map_of_a_job_that_asks_is_finished_and_then_it_asks(monkeypatch):
    def work(ctx) -> int:
        ctx.check()
        ctx.use(tokens_in=60, model="m")
        return 1

    rig = Rig(monkeypatch, mapped(work))
    job = rig.submit("spread", {"n": 4}, budget=ASKING)
    run_items(rig)
    waiting = rig.job(job)
    assert (waiting.status, waiting.waits["step"]) == ("waiting", "last")
    assert [(one.model, one.calls, one.tokens_in) for one in waiting.steps[1].usage] == [("m", 4, 240)]
    approval.approve_job(job.id, team_id=rig.team_id)
    run_items(rig)
    assert rig.job(job).status == "succeeded"
