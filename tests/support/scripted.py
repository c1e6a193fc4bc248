"""Scripted agents, and what is done to them: each goes through the real engine and through `agora.testing`."""

from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import text

from agora.agents import Child, Failures, Repeat, Retry, Snooze, Spawn, WaitFor
from agora.jobs.conclude import WorkerDied
from agora.outcomes import Cancel, Done, Draining, Permanent, Transient
from agora.testing import FailOnce, FailStep, LoseWorker, RequestCancel, run_action
from tests.support.probes import Number, agent_with

QUICKLY = {"retry": Retry(attempts=3, first=timedelta(0))}
PAST = timedelta(seconds=-1)


class WorkerGone(WorkerDied):
    """Tears the step out of the real engine: nothing is recorded, as if its process had been killed."""


def add(ctx):
    return ctx.input.n + 1


def double(ctx) -> Number:
    return Number(n=(ctx.carry or ctx.input.n) * 2)


def progress(ctx) -> Number:
    ctx.progress(0.5, "half")
    ctx.emit("seen", {"attempt": ctx.attempt})
    return Number(n=1)


def pay(ctx) -> Number:
    paid = ctx.once("pay", lambda: 7)
    if ctx.attempt == 1:
        raise Transient("after paying", code="late")
    return Number(n=paid)


def spend(ctx) -> Number:
    ctx.use(tokens_in=3, cost_usd="0.1", model="small")
    ctx.use(tokens_out=4, cost_usd=0.2, key="paid once")
    ctx.partial({"attempt": ctx.attempt})
    if ctx.attempt == 1:
        raise Transient("paid all the same")
    return Number()


def flaky(ctx) -> Number:
    if ctx.attempt < 3:
        raise ValueError("not yet")
    return Number(n=ctx.attempt)


def fails(ctx) -> Number:
    raise Permanent("never", code="never")


def always(ctx) -> Number:
    raise Transient("again")


def wrong_type(ctx) -> Number:
    return "no number"


def nul(ctx):
    return "nul \x00 inside"


def nan(ctx):
    return float("nan")


def ask(ctx) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?")


def ask_briefly(ctx) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?", until=ctx.clock() + PAST)


def ask_in_vain(ctx) -> WaitFor:
    return WaitFor({"type": "whole number"}, "How many?")


def ask_elsewhere(ctx) -> WaitFor:
    return WaitFor({"$ref": "#/$defs/missing"}, "How many?")


def nap(ctx) -> Snooze:
    return Snooze(ctx.clock() + PAST)


def naive(ctx) -> Snooze:
    return Snooze(ctx.clock().replace(tzinfo=None))


def loop(ctx) -> Number | Repeat:
    seen = ctx.carry or 0
    return Number(n=seen) if ctx.iteration == 2 else Repeat("nap", seen + 5)


def forever(ctx) -> Repeat:
    return Repeat("forever")


def nowhere(ctx) -> Repeat:
    return Repeat("nowhere")


def give_up(ctx) -> Cancel:
    return Cancel("not worth it")


def done(ctx) -> Done[Number]:
    return Done(Number(n=3))


def looks(ctx) -> Number:
    ctx.check()
    return Number()


def note(ctx) -> Number:
    ctx.session.execute(text("INSERT INTO ledger VALUES (:key)"), {"key": f"{ctx.attempt}"})
    if ctx.attempt == 1:
        raise Transient("undone")
    return Number()


def break_constraint(ctx) -> Number:
    ctx.session.execute(text("INSERT INTO ledger VALUES (NULL)"))
    return Number()


def kid(ctx) -> Number:
    if ctx.input.n == 13:
        raise Permanent("unlucky", code="unlucky")
    return Number(n=ctx.input.n * 10)


def kid_job(child):
    """What stands for the action ``kid`` in memory."""
    return run_action(agent_with(kid=[kid]).actions[("kid", 1)], child.input).output or fail_unlucky()


def fail_unlucky():
    raise Permanent("unlucky", code="unlucky")


def spawn(ctx) -> Spawn:
    numbers = range(ctx.input.n, ctx.input.n + 3)
    return Spawn([Child(agent="probe", action="kid", input={"n": n}) for n in numbers])


def spawn_tolerantly(ctx) -> Spawn:
    return Spawn(spawn(ctx).children, Failures(count=1))


def spawn_nothing(ctx) -> Spawn:
    return Spawn([])


def count(ctx) -> list[int]:
    return list(range(ctx.input.n))


def no_list(ctx) -> int:
    return 7


def square(ctx) -> int:
    ctx.once("squared", lambda: ctx.value)
    return ctx.value**2


def odd_fails(ctx) -> int:
    if ctx.value == 2:
        raise Permanent("even the last", code="two")
    return ctx.value


def item_asks(ctx) -> WaitFor:
    return WaitFor({}, "May it?")


@dataclass
class Case:
    """Steps of an action, and what happens to a job of it."""

    steps: list
    input: dict = field(default_factory=dict)
    answers: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    status: str = "succeeded"
    map_over: tuple = ()
    """The function and the options of a map step over the first of the steps; it comes second."""

    def agent(self):
        """An agent with this action, and one whose jobs it may spawn."""
        if not self.map_over:
            return agent_with(case=self.steps, kid=[kid])
        agent = agent_with(kid=[kid])
        action = agent.action("case", input=Number, output=Number, max_iterations=4)
        first = action.step(self.steps[0])
        function, options = self.map_over
        action.map(over=first, **options)(function)
        for step in self.steps[1:]:
            action.step(step)
        return agent


MAP = {"retry": Retry(attempts=2, first=timedelta(0))}
TOLERANT = MAP | {"failures": Failures.collect()}

CASES = {
    "children": Case([spawn, double], {"n": 1}),
    "a child fails": Case([spawn, double], {"n": 11}, status="failed"),
    "a child that may fail": Case([spawn_tolerantly, double], {"n": 11}),
    "no children": Case([spawn_nothing, double]),
    "a map": Case([count, double], {"n": 3}, map_over=(square, MAP)),
    "a map of nothing": Case([count, double], {"n": 0}, map_over=(square, MAP)),
    "a map of no list": Case([no_list, double], map_over=(square, MAP), status="failed"),
    "an item is tried again": Case(
        [count, double], {"n": 2}, map_over=(square, MAP), faults=[FailStep(step="square", item=1)]
    ),
    "an item loses its worker": Case(
        [count, double], {"n": 2}, map_over=(square, MAP), faults=[LoseWorker(step="square", item=0)]
    ),
    "an item fails": Case([count, double], {"n": 3}, map_over=(odd_fails, MAP), status="failed"),
    "an item that may fail": Case([count, double], {"n": 3}, map_over=(odd_fails, TOLERANT)),
    "an item must not wait": Case([count, double], {"n": 1}, map_over=(item_asks, MAP), status="failed"),
    "a map is cancelled": Case(
        [count, double], {"n": 1}, map_over=(square, MAP), faults=[RequestCancel(step="square")], status="cancelled"
    ),
    "a chain": Case([add, double], {"n": 4}),
    "progress and own events": Case([progress]),
    "a paid call": Case([(pay, QUICKLY)]),
    "usage and partial output": Case([(spend, QUICKLY)]),
    "an unknown error until it works": Case([(flaky, QUICKLY)]),
    "permanent": Case([add, fails, double], status="failed"),
    "attempts run out": Case([(always, QUICKLY)], status="failed"),
    "a value of the wrong type": Case([(wrong_type, {"retry": Retry(attempts=1)})], status="failed"),
    "nul": Case([(nul, {"retry": Retry(attempts=1)}), double], status="failed"),
    "nan": Case([(nan, {"retry": Retry(attempts=1)}), double], status="failed"),
    "an answer": Case([ask, double], answers=[3]),
    "no answer in time": Case([ask_briefly, double]),
    "a question with a schema that is none": Case([ask_in_vain, double], status="failed"),
    "a question with a schema that is elsewhere": Case([ask_elsewhere, double], status="failed"),
    "a nap": Case([nap, double]),
    "a naive time": Case([naive, double], status="failed"),
    "a loop with a carry": Case([nap, loop]),
    "too many iterations": Case([forever, double], status="failed"),
    "a repeat of nothing": Case([nowhere, double], status="failed"),
    "a step that cancels": Case([give_up, double], status="cancelled"),
    "done": Case([done]),
    "a transactional step": Case([(note, {"transactional": True, **QUICKLY})]),
    "a refused write": Case(
        [(break_constraint, {"transactional": True, "retry": Retry(attempts=1)})], status="failed"
    ),
    "a lost worker": Case([add, double], faults=[LoseWorker(step="add"), LoseWorker(step="add", attempt=2)]),
    "poison": Case(
        [(add, {"retry": Retry(attempts=2)}), double],
        faults=[LoseWorker(step="add", attempt=n) for n in range(1, 6)],
        status="failed",
    ),
    "lost and failed": Case(
        [(double, QUICKLY)], faults=[LoseWorker(step="double"), FailStep(step="double", attempt=2)]
    ),
    "lost in a paid call": Case([(pay, QUICKLY)], faults=[LoseWorker(step="pay", in_once="pay")]),
    "a paid call fails": Case([(pay, QUICKLY)], faults=[FailOnce(step="pay", key="pay")]),
    "a failure after the effect": Case([(double, QUICKLY)], faults=[FailStep(step="double", after=True)]),
    "draining": Case([add, double], faults=[FailStep(step="add", error=Draining())]),
    "cancelled while it runs": Case([add, double], faults=[RequestCancel(step="add")], status="cancelled"),
    "cancelled and it looks": Case([looks, double], faults=[RequestCancel(step="looks")], status="cancelled"),
    "a transactional step that is lost": Case(
        [(note, {"transactional": True, **QUICKLY})], faults=[LoseWorker(step="note", attempt=2)]
    ),
    "cancelled in a transaction": Case(
        [(note, {"transactional": True, **QUICKLY})], faults=[RequestCancel(step="note", attempt=2)],
        status="cancelled",
    ),
}  # fmt: skip
