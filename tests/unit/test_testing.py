"""`agora.testing`, as people who write agents use it."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from agora.agents import (
    Agent,
    Answer,
    Child,
    Failures,
    ItemContext,
    Repeat,
    Retry,
    Snooze,
    Spawn,
    StepContext,
    TimedOut,
    WaitFor,
)
from agora.errors import Conflict, Invalid, NotFound
from agora.outcomes import Cancelled, Permanent, Transient
from agora.testing import (
    UNANSWERED,
    ActionRun,
    FailOnce,
    FailStep,
    FakeClock,
    LoseWorker,
    MemoryFiles,
    RequestCancel,
    run_action,
    step_context,
)

HOUR = timedelta(hours=1)


class Order(BaseModel):
    amount: int


class Receipt(BaseModel):
    text: str


class Bank:
    """Takes money once per idempotency key, as good ones do."""

    def __init__(self):
        self.calls = []
        self.taken = {}

    def take(self, amount, key):
        self.calls.append(key)
        self.taken[key] = amount
        return f"receipt for {amount}"


agent = Agent("billing")
bill = agent.action("bill", input=Order, output=Receipt)


@bill.step(retry=Retry(attempts=3, first=timedelta(seconds=10), jitter=0.5))
def charge(ctx: StepContext[Order]) -> str:
    return ctx.once("charge", lambda: ctx.port(Bank).take(ctx.input.amount, ctx.idempotency_key))


@bill.step
def approve(ctx: StepContext[Order]) -> WaitFor:
    return WaitFor({"type": "boolean"}, "Send it?", until=ctx.clock() + HOUR)


@bill.step
def conclude(ctx: StepContext[Order]) -> Receipt:
    answer = ctx.result(approve)
    sent = isinstance(answer, Answer) and answer.value
    return Receipt(text=ctx.result(charge) if sent else "not sent")


@pytest.fixture
def bank():
    return Bank()


def run(bank, **options):
    return run_action(bill, Order(amount=5), ports={Bank: bank}, **options)


def test_an_action_runs_to_its_typed_output(bank):
    result = run(bank, answers=[True])
    assert (result.status, result.output) == ("succeeded", Receipt(text="receipt for 5"))
    assert [step.name for step in result.steps] == ["charge", "approve", "conclude"]
    assert result.event_types[0] == "job.created"
    assert [event.seq for event in result.events] == list(range(1, len(result.events) + 1))
    assert result.step(charge).idempotency_key == f"{result.job_id}:charge:0:0"


def test_time_is_skipped_to_a_time_out(bank):
    clock = FakeClock()
    result = run(bank, clock=clock)
    assert result.output == Receipt(text="not sent")
    assert clock() == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert run(Bank(), answers=[UNANSWERED]).output == Receipt(text="not sent")
    assert run(Bank(), answers=lambda question: question.prompt == "Send it?").output.text == "receipt for 5"


def test_a_lost_worker_pays_twice_under_one_key_unless_the_call_is_noted(bank):
    result = run(bank, answers=[True], faults=[LoseWorker(step=charge)])
    assert len(bank.calls) == 1
    unlucky = Bank()
    result = run(unlucky, answers=[True], faults=[LoseWorker(step=charge, in_once="charge")])
    assert len(unlucky.calls) == 2
    assert set(unlucky.taken) == {result.step(charge).idempotency_key}
    assert [one.outcome for one in result.step(charge).tries] == ["lost", "succeeded"]


def test_back_off_happens_on_the_fake_clock_without_jitter(bank):
    clock = FakeClock()
    run_ = ActionRun(bill, {"amount": 5}, clock=clock, ports={Bank: bank}, faults=[FailStep(step=charge)])
    run_.advance()
    assert (run_.status, bank.calls) == ("running", [])
    assert run_.next_due == clock() + timedelta(seconds=10)
    run_.skip(timedelta(seconds=9))
    assert not bank.calls
    run_.skip(timedelta(seconds=1))
    assert len(bank.calls) == 1
    assert run_.question.prompt == "Send it?"
    with pytest.raises(Invalid) as wrong:
        run_.answer("perhaps")
    assert wrong.value.errors[0].pointer == "/value"
    run_.answer(False)
    run_.advance()
    assert run_.result().output == Receipt(text="not sent")
    with pytest.raises(Conflict):
        run_.answer(True)


def test_a_call_that_fails_three_times_fails_the_job(bank):
    faults = [FailOnce(step=charge, key="charge", attempt=n, error=Transient("down", code="down")) for n in (1, 2, 3)]
    result = run(bank, faults=faults)
    assert (result.status, result.error.code, result.output) == ("failed", "down", None)
    assert not bank.calls


def test_the_deadline_and_cancel_end_a_job(bank):
    clock = FakeClock()
    late = run(bank, clock=clock, deadline=clock() + timedelta(minutes=5))
    assert (late.status, late.error.code, late.step(approve).status) == ("failed", "deadline-exceeded", "cancelled")
    assert late.event_types[-1] == "job.failed"
    run_ = ActionRun(bill, {"amount": 5}, ports={Bank: Bank()})
    run_.advance()
    run_.cancel("enough")
    assert (run_.status, run_.result().reason) == ("cancelled", "enough")
    assert not run_.skip_to_next()
    assert run(Bank(), faults=[RequestCancel(step=charge, reason="stop")]).reason == "stop"


def test_a_step_that_overruns_its_time_out_on_the_fake_clock_is_tried_again():
    slow = Agent("slow").action("go", input=Order, output=Receipt)

    @slow.step(timeout=timedelta(seconds=30), retry=Retry(attempts=2))
    def work(ctx: StepContext[Order]) -> Receipt:
        if ctx.attempt == 1:
            ctx.clock.skip(HOUR)
        return Receipt(text=f"try {ctx.attempt}")

    result = run_action(slow, Order(amount=1))
    assert result.output.text == "try 2"
    assert result.step(work).tries[0].error.code == "step-timeout"


def test_naps_and_loops_end():
    poll = Agent("poll").action("poll", input=Order, output=Receipt)

    @poll.step
    def wait(ctx: StepContext[Order]) -> Snooze:
        return Snooze(ctx.clock() + HOUR)

    @poll.step
    def look(ctx: StepContext[Order]) -> Receipt | Repeat:
        return Receipt(text=ctx.carry) if ctx.iteration == 3 else Repeat(wait, f"seen {ctx.iteration}")

    clock = FakeClock()
    assert run_action(poll, Order(amount=1), clock=clock).output.text == "seen 2"
    assert clock() - FakeClock()() == 4 * HOUR


def test_what_was_prepared_and_did_not_happen_is_an_error(bank):
    with pytest.raises(AssertionError, match="2 of the answers were not asked for"):
        run(bank, answers=[True, 1, 2])
    with pytest.raises(AssertionError, match="faults did not happen"):
        run(bank, answers=[True], faults=[FailStep(step=charge, attempt=2)])
    with pytest.raises(LookupError, match="no step chrage"):
        run(bank, faults=[FailStep(step="chrage")])
    with pytest.raises(Invalid, match="/input/amount"):
        run_action(bill, {"amount": "many"})


def test_a_loop_without_end_is_stopped():
    endless = Agent("endless").action("go", input=Order, output=Receipt, max_iterations=10_000)

    @endless.step
    def go(_: StepContext[Order]) -> Receipt | Repeat:
        return Repeat("go")

    with pytest.raises(AssertionError, match="1,000 tries"):
        run_action(endless, Order(amount=1))


def test_a_transactional_step_asks_for_its_session():
    books = Agent("books").action("write", input=Order, output=Receipt)

    @books.step(transactional=True)
    def write(ctx) -> Receipt:
        return Receipt(text="")

    with pytest.raises(ValueError, match="step write is transactional"):
        run_action(books, Order(amount=1))


def test_one_step_is_called_with_a_context(bank):
    answer = TimedOut(at=datetime(2026, 1, 1, tzinfo=UTC))
    given = step_context(Order(amount=1), results={charge: "r", approve: answer})
    assert conclude.run(given).text == "not sent"
    with pytest.raises(LookupError, match="charge has no result"):
        conclude.run(step_context(Order(amount=1), results={approve: Answer(value=True, answered_at=answer.at)}))
    context = step_context(Order(amount=2), ports={Bank: bank}, attempt=2, step_name="charge")
    assert charge.run(context) == "receipt for 2"
    assert bank.calls == [f"{context.job_id}:charge:0:0"]
    context.progress(0.5, "half")
    context.emit("seen", {"n": 1})
    assert (context.runtime.reported, context.runtime.emitted) == ([(0.5, "half")], [("seen", {"n": 1})])
    context.runtime.interrupt = Cancelled()
    with pytest.raises(Cancelled):
        context.check()


def test_files_keep_what_steps_make():
    files = MemoryFiles()
    first = files.create("a.txt", "text/plain", b"x")
    assert files.create("a.txt", "text/plain", b"x") == first
    assert (files.read(first), files.open(first).read(), files.name_of(first)) == (b"x", b"x", ("a.txt", "text/plain"))
    with pytest.raises(NotFound):
        files.read("fil_nothing")
    with pytest.raises(ValueError, match="time does not go back"):
        FakeClock().skip(-HOUR)


class Numbers(BaseModel):
    numbers: list[int]


class Sum(BaseModel):
    total: int


crunch = Agent("crunch").action("crunch", input=Numbers, output=Sum)


@crunch.step
def listed(ctx: StepContext[Numbers]) -> list[int]:
    return ctx.input.numbers


@crunch.map(over=listed, failures=Failures(count=1), retry=Retry(attempts=2))
def square(ctx: ItemContext[Numbers, int]) -> int:
    if ctx.value < 0:
        raise Permanent("negative", code="negative")
    return ctx.value**2


@crunch.step
def spawned(ctx: StepContext[Numbers]) -> Spawn:
    return Spawn([Child(agent="other", action="halve", input={"n": sum(ctx.result(square))})])


@crunch.step
def joined(ctx: StepContext[Numbers]) -> Sum:
    return Sum(total=sum(one.output["n"] for one in ctx.result(spawned)))


def halve(child):
    assert (child.agent, child.action) == ("other", "halve")
    return {"n": child.input["n"] // 2}


def test_a_fan_out_and_child_jobs_run_in_memory():
    result = run_action(crunch, {"numbers": [1, 2, 3]}, children=halve, faults=[LoseWorker(step=square, item=1)])
    assert result.output == Sum(total=7)
    assert [one.outcome for one in result.step(square, item=2).tries] == ["lost", "succeeded"]
    assert result.step(square, item=2).idempotency_key == f"{result.job_id}:square:0:1"
    assert run_action(crunch, {"numbers": [1, -2, 3]}, children=halve).output == Sum(total=5)
    failed = run_action(crunch, {"numbers": [-1, -2]}, children=halve)
    assert (failed.status, failed.error.code) == ("failed", "items-failed")
    with pytest.raises(LookupError, match="spawns child jobs: give `children`"):
        run_action(crunch, {"numbers": [1]})

    def refuses(_child):
        raise Permanent("no", code="no")

    assert run_action(crunch, {"numbers": [1]}, children=refuses).error.code == "children-failed"


def test_one_step_reads_the_given_items():
    context = step_context(Numbers(numbers=[]), results={square: [4, Permanent("x", code="y"), 9]})
    gathered = context.result(square)
    assert (list(gathered), gathered.failed) == ([4, 9], 1)
    assert [(one.index, one.code) for one in gathered.failures()] == [(1, "y")]
    assert spawned.run(context).children[0].input == {"n": 13}
