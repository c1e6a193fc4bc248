"""The agent of the fault harness: a chain whose steps leave evidence, and steps that are poison.

Importing this module also makes the worker the test-only build that the harness asked for: see sabotage and wallclock.
"""

import ctypes
import os
import resource
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text

from agora.agents import (
    Agent,
    Child,
    ChildResult,
    ItemContext,
    Retry,
    Spawn,
    StepContext,
    TransactionContext,
    Transient,
)
from agora.clock import now
from agora.outcomes import Snooze
from tests.chaos import ledger, sabotage, wallclock

sabotage.apply()
wallclock.install()

AGAIN = Retry(attempts=60, first=timedelta(milliseconds=200), cap=timedelta(seconds=2))
"""A disk may be full and Postgres away for a while: no job of the chain may fail for it."""
TOTAL = 5
NAP = timedelta(seconds=1)
MEGABYTE = 1 << 20


class Work(BaseModel):
    """A job of the stream. ``name`` is its own; ``seconds`` is how long ``work`` takes, in one piece when ``deaf``."""

    name: str
    seconds: float = 0.0
    tail: float = 0.0
    """How long ``rest`` takes."""
    deaf: bool = False
    naps: bool = False
    trips: int = 0
    """How often ``pay`` fails after its paid call."""
    wide: int = 0
    """How many items a fan-out has, or children a family."""
    bulk: int = 0
    """Bytes of a result that goes to the file store."""


class Sum(BaseModel):
    """What the chain hands on."""

    total: int


class Bulk(BaseModel):
    """A result that is too large."""

    text: str


agent = Agent("chaos", description="Steps that leave evidence.")
chain = agent.action("chain", input=Work, output=Sum)


@chain.step(retry=AGAIN)
def begin(ctx: StepContext[Work]) -> str:
    ledger.note(ctx, ledger.BEGINS)
    return "x" * ctx.input.bulk


@chain.step(retry=AGAIN)
def pay(ctx: StepContext[Work]) -> int:
    """A call that must not be paid for again once its value is noted."""
    ledger.note(ctx, ledger.BEGINS)

    def call() -> int:
        ledger.note(ctx, ledger.CALLED)
        return TOTAL - 3

    value = ctx.once("call", call)
    ledger.note(ctx, ledger.NOTED)
    if ctx.attempt <= ctx.input.trips:
        raise Transient("trips after the paid call")
    return value


@chain.step(retry=AGAIN)
def work(ctx: StepContext[Work]) -> int:
    ledger.note(ctx, ledger.BEGINS)
    end = time.monotonic() + ctx.input.seconds
    while time.monotonic() < end:
        time.sleep(ctx.input.seconds if ctx.input.deaf else 0.02)
        if not ctx.input.deaf:
            ctx.check()
    ledger.note(ctx, ledger.ENDS)
    return len(ctx.result(begin)) - ctx.input.bulk + 1


@chain.step(queue="io", retry=AGAIN)
def rest(ctx: StepContext[Work]) -> Snooze | None:
    """Time between a slow step and the job's end, in which a zombie of that step may come back."""
    ledger.note(ctx, ledger.BEGINS)
    end = time.monotonic() + ctx.input.tail
    while time.monotonic() < end:
        time.sleep(0.05)
        ctx.check()
    return Snooze(now() + NAP) if ctx.input.naps else None


@chain.step(transactional=True, retry=AGAIN, timeout=timedelta(seconds=5))
def effect(ctx: TransactionContext[Work]) -> Sum:
    """Its effect and its checkpoint commit together: the table must hold each job once. It has no unique index."""
    ctx.session.execute(text("INSERT INTO chaos_effects (key) VALUES (:key)"), {"key": ctx.idempotency_key})
    return Sum(total=ctx.result(pay) + ctx.result(work) + 2)


fan = agent.action("fan", input=Work, output=Sum)


@fan.step(retry=AGAIN)
def deal(ctx: StepContext[Work]) -> list[int]:
    ledger.note(ctx, ledger.BEGINS)
    return list(range(ctx.input.wide))


@fan.map(over=deal, retry=AGAIN)
def take(ctx: ItemContext[Work, int]) -> int:
    """An item of a fan-out, each with its own tries."""
    ledger.note(ctx, ledger.BEGINS)
    time.sleep(0.05 * (ctx.value % 4))
    return 1


@fan.step(retry=AGAIN)
def count(ctx: StepContext[Work]) -> Sum:
    return Sum(total=sum(ctx.result(take)))


family = agent.action("family", input=Work, output=Sum)


@family.step(retry=AGAIN)
def send(ctx: StepContext[Work]) -> Spawn:
    """Child jobs, which are jobs of the stream themselves."""
    ledger.note(ctx, ledger.BEGINS)
    names = child_names(ctx.input.name, ctx.input.wide)
    return Spawn([Child(agent="chaos", action="chain", input={"name": name}) for name in names])


@family.step(retry=AGAIN)
def meet(ctx: StepContext[Work]) -> Sum:
    children: list[ChildResult] = ctx.result(send)
    return Sum(total=sum(child.output["total"] for child in children))


def child_names(name, count):
    """What the children of a job are called."""
    return [f"{name}-child-{number}" for number in range(count)]


ONCE = Retry(attempts=1)
poisons = Agent("poison", description="Steps that hurt their process.")


@contextmanager
def memory_limit(most):
    """What a container's limit would do, without harm to the machine."""
    kept = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, kept)


def segfault(_: StepContext[Work]) -> Sum:
    ctypes.string_at(0)
    return Sum(total=0)


def killed(_: StepContext[Work]) -> Sum:
    """What the kernel's out-of-memory killer does."""
    os.kill(os.getpid(), 9)
    return Sum(total=0)


def memory(_: StepContext[Work]) -> Sum:
    with memory_limit(4096 * MEGABYTE):
        bytearray(8192 * MEGABYTE)
    return Sum(total=0)


def leaves(_: StepContext[Work]) -> Sum:
    sys.exit(3)


def loops(_: StepContext[Work]) -> Sum:
    while True:
        pass


def unpicklable(_: StepContext[Work]) -> Any:
    return lambda: None


def huge(_: StepContext[Work]) -> Bulk:
    return Bulk(text="x" * (50 * MEGABYTE))


def recurses(ctx: StepContext[Work]) -> Sum:
    return recurses(ctx)


POISON = {
    segfault: "worker-lost",
    killed: "worker-lost",
    memory: "out-of-memory",
    leaves: "step-failed",
    loops: "step-timeout",
    unpicklable: "step-failed",
    huge: "value-too-large",
    recurses: "step-failed",
}
"""Each poison and the error code with which its job must end."""

for function in POISON:
    limit = timedelta(seconds=1) if function is loops else None
    output = Bulk if function is huge else Sum
    poisons.action(function.__name__, input=Work, output=output).step(retry=ONCE, timeout=limit)(function)

AGENTS = (agent, poisons)
