"""`agora.testing` and the real engine come to the same: the same scripted agents go through both."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import text

from agora.agents import Child, Failures, Repeat, Retry, Snooze, Spawn, WaitFor
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.jobs import service
from agora.jobs.leases import heartbeat
from agora.outcomes import Cancel, Done, Draining, Permanent, Transient
from agora.testing import FailOnce, FailStep, LoseWorker, RequestCancel, run_action
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")

QUICKLY = {"retry": Retry(attempts=3, first=timedelta(0))}
PAST = timedelta(seconds=-1)


class WorkerGone(BaseException):
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


class Calls:
    """What the steps were given, and which notes they computed."""

    def __init__(self, agent):
        self.seen = []
        for step in agent.actions[("case", 1)].steps:
            step.function = self._watched(step.function)

    def _watched(self, function):
        def watched(ctx):
            key = ctx.idempotency_key.removeprefix(ctx.root_job_id)
            self.seen.append((ctx.step_name, ctx.attempt, ctx.iteration, key, ctx.carry))
            return function(ctx)

        watched.__annotations__, watched.__name__ = function.__annotations__, function.__name__
        return watched


def faulty(function, faults, rig):
    """The step with its faults, for the real engine."""
    left = list(faults)

    def wrapped(ctx):
        here = [one for one in left if (one.step_name, one.attempt, one.item) == (ctx.step_name, ctx.attempt, ctx.item)]
        for one in here:
            left.remove(one)
        for one in here:
            if isinstance(one, RequestCancel):
                rig.sql("UPDATE jobs SET cancel_requested_at = now() WHERE id = :id", id=ctx.job_id)
                ctx.runtime._lease.cancelled = True  # as the heartbeat would
            if isinstance(one, FailStep) and not one.after:
                raise one.error
            if isinstance(one, FailOnce | LoseWorker) and hasattr(ctx, "once"):
                break_once(ctx, one)
        value = function(ctx)
        for one in here:
            if isinstance(one, FailStep):
                raise one.error
            if isinstance(one, LoseWorker):
                raise WorkerGone
        return value

    wrapped.__annotations__, wrapped.__name__ = function.__annotations__, function.__name__
    return wrapped


def break_once(ctx, fault):
    once = ctx.runtime.once

    def broken(key, compute):
        if isinstance(fault, FailOnce) and fault.key == key:
            raise fault.error
        if isinstance(fault, LoseWorker) and fault.in_once == key:
            compute()
            raise WorkerGone
        return once(key, compute)

    ctx.runtime.once = broken


def really(case, monkeypatch):
    """The case on Postgres, with a worker in this process."""
    agent = case.agent()
    calls = Calls(agent)
    rig = Rig(monkeypatch, agent)
    for step in agent.actions[("case", 1)].steps:
        step.function = faulty(step.function, case.faults, rig)
    job = rig.submit("case", case.input)
    answers = list(case.answers)
    for _ in range(20):
        try:
            rig.run()
        except WorkerGone:
            heartbeat()._held.clear()  # its process is gone, and renews nothing
            rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'")
            assert duties.return_lost_leases() == 1
            continue
        if answers and rig.job(job).status == "waiting":
            service.give_input(job.id, team_id=rig.team_id, value=answers.pop(0))
        duties.wake_suspended()
        duties.finish_cancels()
        if rig.job(job).ended:
            break
    ended = rig.job(job)
    steps = [
        (
            one.name, one.iteration, one.status, one.attempt, one.lost_leases,
            [(t.number, t.outcome, (t.error or {}).get("code")) for t in one.tries],
            (one.error or {}).get("code"), one.result,
        )
        for one in ended.steps
        if not one.item
    ]  # fmt: skip
    error = (ended.error or {}).get("code"), (ended.error or {}).get("message")
    usage = {name: ended.usage.get(name, 0) for name in ("tokens_in", "tokens_out", "tokens", "cost_usd")}
    shown = ({name: str(value) for name, value in usage.items()}, ended.partial_output)
    return (ended.status, ended.output, error, steps, rig.events(job), calls.seen, shown)


def in_memory(case):
    """The case in agora.testing."""
    agent = case.agent()
    calls = Calls(agent)
    action = agent.actions[("case", 1)]
    with transaction() as session:
        result = run_action(
            action, case.input, answers=case.answers, faults=case.faults, session=session, children=kid_job
        )
    steps = [
        (
            one.name, one.iteration, one.status, one.attempt, one.lost_leases,
            [(t.number, t.outcome, t.error.code if t.error else None) for t in one.tries],
            one.error.code if one.error else None, one.result,
        )
        for one in result.steps
        if not one.item
    ]  # fmt: skip
    output = result.output.model_dump() if result.output else None
    error = (result.error.code, result.error.message) if result.error else (None, None)
    usage = {name: str(getattr(result.usage, name)) for name in ("tokens_in", "tokens_out", "tokens", "cost_usd")}
    shown = (usage, result.partial_output)
    return (result.status, output, error, steps, result.event_types, calls.seen, shown)


@pytest.fixture
def ledger(db):
    with transaction() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS ledger (key text NOT NULL)"))
        session.execute(text("ALTER TABLE ledger ALTER key SET NOT NULL"))
        session.execute(text("TRUNCATE ledger"))

    def take():
        with transaction() as session:
            found = Counter(session.scalars(text("SELECT key FROM ledger")).all())
            session.execute(text("TRUNCATE ledger"))
            return found

    return take


@pytest.mark.parametrize("name", CASES)
def test_the_same_agent_comes_to_the_same_in_both(name, monkeypatch, ledger):
    case = CASES[name]
    real, real_effects = really(case, monkeypatch), ledger()
    fake, fake_effects = in_memory(case), ledger()
    assert real[0] == case.status
    if case.map_over:  # whose items run in any order
        real[5].sort(key=str)
        fake[5].sort(key=str)
    parts = ("status", "output", "error", "steps", "events", "calls", "usage and partial output")
    for told, one, other in zip(parts, real, fake, strict=True):
        assert without_times(one) == without_times(other), told
    assert real_effects == fake_effects


def without_times(value):
    """Without moments and the ids of child jobs."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in {"answered_at", "at", "job_id"}}
    if isinstance(value, str):
        return re.sub(r"job_[0-9a-z]{26}", "JOB", value)
    if isinstance(value, list | tuple):
        return [without_times(one) for one in value]
    return value
