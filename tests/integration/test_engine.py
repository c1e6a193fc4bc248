"""The engine on a real database: what is written, and what a worker that lost its step cannot write."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from agora.agents import Repeat, Retry, Snooze, StepContext, TransactionContext, Transient, WaitFor
from agora.clock import now
from agora.dispatcher import duties
from agora.errors import Conflict, Invalid
from agora.jobs import service
from agora.outcomes import Permanent
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


def test_a_chain_runs_in_order_with_its_results_events_and_tries(monkeypatch):
    def first(ctx: StepContext[Number]) -> int:
        ctx.progress(0.5, "half way")
        return ctx.input.n + 1

    def second(ctx: StepContext[Number]) -> Number:
        return Number(n=ctx.result(action.steps[0]) * 10)

    agent = agent_with(chain=[first, (second, {"queue": "io"})])
    action = agent.actions[("chain", 1)]
    rig = Rig(monkeypatch, agent)
    job = rig.submit("chain", {"n": 4})
    assert [ring.label for ring in rig.rung] == ["probe.chain.first"]
    assert rig.run() == ["succeeded", "succeeded"]
    ended = rig.job(job)
    assert (ended.status, ended.output, ended.progress) == ("succeeded", {"n": 50}, 1.0)
    assert [(s.name, s.status, s.queue, s.attempt, len(s.tries)) for s in ended.steps] == [
        ("first", "succeeded", "cpu", 1, 1),
        ("second", "succeeded", "io", 1, 1),
    ]
    assert rig.events(job) == [
        "job.created",
        "job.started",
        "job.progressed",
        "step.succeeded",
        "step.succeeded",
        "job.succeeded",
    ]


def test_a_transient_failure_is_tried_again_and_each_try_is_readable(monkeypatch):
    calls = []

    def flaky(_: StepContext[Number]) -> Number:
        calls.append(1)
        if len(calls) < 3:
            raise Transient("not yet", code="busy")
        return Number()

    rig = Rig(monkeypatch, agent_with(flaky=[(flaky, {"retry": Retry(attempts=3, first=timedelta(0))})]))
    job = rig.submit("flaky")
    assert rig.run() == ["failed", "failed", "succeeded"]
    step = rig.job(job).steps[0]
    assert [(one.number, one.outcome) for one in step.tries] == [(1, "failed"), (2, "failed"), (3, "succeeded")]
    assert step.tries[0].error["code"] == "busy"
    assert "flaky" in step.tries[0].error["traceback"]


def test_back_off_is_kept_in_postgres_and_no_claim_comes_before_it(monkeypatch):
    def fails(_: StepContext[Number]) -> Number:
        raise Transient("later")

    rig = Rig(
        monkeypatch,
        agent_with(fails=[(fails, {"retry": Retry(attempts=2, first=timedelta(hours=1), cap=timedelta(hours=1))})]),
    )
    job = rig.submit("fails")
    step_id = rig.rung[0].step_id
    assert rig.run() == ["failed"]
    assert rig.engine.run(step_id) is None
    step = rig.job(job).steps[0]
    assert timedelta(minutes=45) < step.run_at - now() < timedelta(minutes=75)
    assert rig.job(job).status == "running"


def test_permanent_ends_the_job_and_its_error_says_why(monkeypatch):
    def fails(_: StepContext[Number]) -> Number:
        raise Permanent("the document is empty", code="document-empty")

    rig = Rig(monkeypatch, agent_with(fails=[fails]))
    job = rig.submit("fails")
    assert rig.run() == ["failed"]
    ended = rig.job(job)
    assert ended.status == "failed"
    assert (ended.error["code"], ended.error["message"]) == ("document-empty", "the document is empty")
    assert "traceback" not in ended.error


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (object(), "step-failed"),
        (float("nan"), "step-failed"),
        ("x" * 20_000_000, "value-too-large"),
        (b"\xff\xfe", "step-failed"),
        ("nul \x00 inside", "invalid"),
    ],
)
def test_a_result_that_cannot_be_stored_fails_the_step_with_a_reason(monkeypatch, value, code):
    def odd(_: StepContext[Number]):
        return value

    def after(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(odd=[(odd, {"retry": Retry(attempts=1)}), after]))
    job = rig.submit("odd")
    assert rig.run() == ["failed"]
    assert (rig.job(job).status, rig.job(job).error["code"]) == ("failed", code)


def test_a_large_result_goes_to_the_file_store_and_comes_back_whole(monkeypatch):
    large = "é" * 200_000

    def produce(_: StepContext[Number]) -> str:
        return large

    def measure(ctx: StepContext[Number]) -> Number:
        return Number(n=len(ctx.result(action.steps[0])))

    agent = agent_with(large=[produce, measure])
    action = agent.actions[("large", 1)]
    rig = Rig(monkeypatch, agent)
    job = rig.submit("large")
    rig.run()
    ended = rig.job(job)
    assert ended.output == {"n": len(large)}
    assert set(ended.steps[0].result) == {"ref", "size"}


def test_a_zombie_writes_nothing(monkeypatch):
    rig = None

    def slow(ctx: StepContext[Number]) -> Number:
        if ctx.attempt == 1:
            # While this worker is frozen, the dispatcher takes the step back and another worker finishes it.
            rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=ctx.job_id)
            assert duties.return_lost_leases() == 1
            assert rig.worker().run(rig.rung.pop().step_id) == "succeeded"
            return Number(n=666)
        return Number(n=7)

    rig = Rig(monkeypatch, agent_with(slow=[slow]))
    job = rig.submit("slow")
    assert rig.run() == ["lost"]
    ended = rig.job(job)
    assert ended.output == {"n": 7}
    assert [one.outcome for one in ended.steps[0].tries] == ["lost", "succeeded"]
    assert rig.events(job)[-1] == "job.succeeded"


def test_a_transactional_step_writes_once_or_not_at_all(monkeypatch):
    calls = []

    def note(ctx: TransactionContext[Number]) -> Number:
        calls.append(1)
        ctx.session.execute(text("INSERT INTO ledger VALUES (:key)"), {"key": ctx.idempotency_key})
        if len(calls) == 1:
            raise Transient("after the write")
        return Number()

    options = {"transactional": True, "retry": Retry(attempts=2, first=timedelta(0))}
    rig = Rig(monkeypatch, agent_with(note=[(note, options)]))
    rig.sql("CREATE TABLE IF NOT EXISTS ledger (key text)")
    rig.sql("TRUNCATE ledger")
    job = rig.submit("note")
    assert rig.run() == ["failed", "succeeded"]
    assert [row["key"] for row in rig.sql("SELECT key FROM ledger")] == [f"{job.id}:note:0:0"]


def test_once_is_computed_once_over_all_tries(monkeypatch):
    paid = []

    def call(ctx: StepContext[Number]) -> Number:
        answer = ctx.once("model", lambda: paid.append(1) or 42)
        if ctx.attempt == 1:
            raise Transient("after the call")
        return Number(n=answer)

    rig = Rig(monkeypatch, agent_with(call=[(call, {"retry": Retry(attempts=2, first=timedelta(0))})]))
    job = rig.submit("call")
    assert rig.run() == ["failed", "succeeded"]
    assert (rig.job(job).output, len(paid)) == ({"n": 42}, 1)


def test_a_question_waits_without_a_worker_and_the_first_valid_answer_wins(monkeypatch):
    def ask(_: StepContext[Number]) -> WaitFor:
        return WaitFor({"type": "integer", "minimum": 1}, "How many?")

    def use(ctx: StepContext[Number]) -> Number:
        return Number(n=ctx.result(action.steps[0]).value)

    agent = agent_with(ask=[ask, use])
    action = agent.actions[("ask", 1)]
    rig = Rig(monkeypatch, agent)
    job = rig.submit("ask")
    rig.run()
    waiting = rig.job(job)
    assert waiting.status == "waiting"
    assert waiting.steps[0].suspension["prompt"] == "How many?"
    with pytest.raises(Invalid) as wrong:
        service.give_input(job.id, team_id=rig.team_id, value=0)
    assert wrong.value.errors[0].pointer == "/value"
    service.give_input(job.id, team_id=rig.team_id, value=3)
    with pytest.raises(Conflict):
        service.give_input(job.id, team_id=rig.team_id, value=4)
    rig.run()
    assert rig.job(job).output == {"n": 3}


def end(ctx: StepContext[Number]) -> Number:
    return ctx.input


@pytest.mark.parametrize(
    "schema", [{"type": "whole number"}, {"$ref": "#/$defs/missing"}, {"$ref": "http://127.0.0.1/"}]
)
def test_a_question_that_nobody_could_answer_fails_its_step(monkeypatch, schema):
    def ask(_: StepContext[Number]) -> WaitFor:
        return WaitFor(schema, "How many?")

    rig = Rig(monkeypatch, agent_with(ask=[ask, end]))
    job = rig.submit("ask")
    assert rig.run() == ["failed"]
    assert (rig.job(job).status, rig.job(job).error["code"]) == ("failed", "invalid-schema")


def test_an_answer_to_a_question_with_a_schema_that_is_none_is_a_conflict(monkeypatch):
    def ask(_: StepContext[Number]) -> WaitFor:
        return WaitFor({}, "How many?")

    rig = Rig(monkeypatch, agent_with(ask=[ask, end]))
    job = rig.submit("ask")
    rig.run()
    rig.sql(
        "UPDATE steps SET suspension = jsonb_set(suspension, '{schema}', '{\"type\": \"whole number\"}')"
        " WHERE job_id = :id",
        id=job.id,
    )
    with pytest.raises(Conflict, match="schema cannot be used"):
        service.give_input(job.id, team_id=rig.team_id, value=3)
    assert service.cancel_job(job.id, team_id=rig.team_id).status == "cancelled"


def test_an_unanswered_question_times_out_as_a_value(monkeypatch):
    def ask(_: StepContext[Number]) -> WaitFor:
        return WaitFor({"type": "integer"}, "How many?", until=now() - timedelta(seconds=1))

    def use(ctx: StepContext[Number]) -> Number:
        return Number(n=0 if ctx.result(action.steps[0]).kind == "timed-out" else 1)

    agent = agent_with(ask=[ask, use])
    action = agent.actions[("ask", 1)]
    rig = Rig(monkeypatch, agent)
    job = rig.submit("ask")
    rig.run()
    assert duties.wake_suspended() == 1
    rig.run()
    assert rig.job(job).output == {"n": 0}


def test_snooze_and_repeat_loop_with_their_carry(monkeypatch):
    def nap(_: StepContext[Number]) -> Snooze:
        return Snooze(now() - timedelta(seconds=1))

    def again(ctx: StepContext[Number]) -> Number | Repeat:
        seen = (ctx.carry or {"n": 0})["n"]
        return Number(n=seen) if ctx.iteration == 2 else Repeat("nap", {"n": seen + 5})

    rig = Rig(monkeypatch, agent_with(loop=[nap, again]))
    job = rig.submit("loop")
    for _ in range(3):
        rig.run()
        duties.wake_suspended()
    rig.run()
    ended = rig.job(job)
    assert ended.output == {"n": 10}
    assert [(step.name, step.iteration) for step in ended.steps] == [
        ("nap", 0), ("again", 0), ("nap", 1), ("again", 1), ("nap", 2), ("again", 2),
    ]  # fmt: skip
