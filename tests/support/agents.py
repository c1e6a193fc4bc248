"""Agents of the acceptance tests: their steps leave a line in a ledger file each time they run."""

import os
import time
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import text

from agora.agents import Agent, Retry, StepContext, TransactionContext, WaitFor
from agora.outcomes import Answer
from agora.settings import get_settings


class Work(BaseModel):
    """``name`` finds the job's lines in the ledger; ``seconds`` is how long the middle step takes, in small naps."""

    name: str
    seconds: float = 0.0


class Sum(BaseModel):
    """What the chain hands on."""

    total: int


agent = Agent("probe", description="Steps that tests can follow.")
chain = agent.action("chain", input=Work, output=Sum)


def note(ctx, what):
    """Append a line to the ledger: appends of short lines are atomic."""
    path = Path(get_settings().data_dir) / "ledger.txt"
    with path.open("a") as ledger:
        ledger.write(f"{ctx.input.name} {ctx.step_name} {what} attempt={ctx.attempt} pid={os.getpid()}\n")


@chain.step
def first(ctx: StepContext[Work]) -> int:
    note(ctx, "ran")
    return 1


@chain.step(retry=Retry(attempts=5, first=timedelta(milliseconds=100)), timeout=timedelta(seconds=60))
def middle(ctx: StepContext[Work]) -> int:
    note(ctx, "begins")
    end = time.monotonic() + ctx.input.seconds
    while time.monotonic() < end:
        ctx.check()
        time.sleep(0.02)
    note(ctx, "ends")
    return ctx.result(first) + 1


@chain.step(transactional=True)
def last(ctx: TransactionContext[Work]) -> Sum:
    """Its effect and its checkpoint commit together: the ledger table must hold each job once."""
    key = {"key": ctx.idempotency_key}
    ctx.session.execute(text("INSERT INTO effects (key) VALUES (:key)"), key)
    return Sum(total=ctx.result(middle) + 1)


poison = agent.action("poison", input=Work, output=Sum)


@poison.step
def dies(ctx: StepContext[Work]) -> Sum:
    note(ctx, "dies")
    os.kill(os.getpid(), 9)
    return Sum(total=0)


stuck = agent.action("stuck", input=Work, output=Sum)


@stuck.step(timeout=timedelta(seconds=1), retry=Retry(attempts=1))
def loops(ctx: StepContext[Work]) -> Sum:
    while True:
        note(ctx, "loops")
        time.sleep(0.2)


asks = agent.action("asks", input=Work, output=Sum)


@asks.step
def ask(ctx: StepContext[Work]) -> WaitFor:
    return WaitFor({"type": "integer", "minimum": 1}, prompt=f"how many, {ctx.input.name}?")


@asks.step
def answered(ctx: StepContext[Work]) -> Sum:
    answer = ctx.result(ask)
    assert isinstance(answer, Answer)
    return Sum(total=answer.value)


quick = agent.action("quick", input=Work, output=Sum)


@quick.step
def one(ctx: StepContext[Work]) -> int:
    note(ctx, "ran")
    return 1


@quick.step
def two(ctx: StepContext[Work]) -> int:
    return ctx.result(one) + 1


@quick.step(transactional=True)
def three(ctx: TransactionContext[Work]) -> Sum:
    ctx.session.execute(text("INSERT INTO effects (key) VALUES (:key)"), {"key": ctx.idempotency_key})
    return Sum(total=ctx.result(two) + 1)


AGENTS = (agent,)
