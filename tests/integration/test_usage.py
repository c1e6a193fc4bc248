"""What steps spend and what they show of their output: counted once, under the fence, and kept whatever happens."""

from datetime import timedelta

import pytest

from agora.agents import Child, Retry, Spawn, StepContext, Transient
from agora.db import session as db_session
from agora.dispatcher import duties
from agora.jobs import context, lineage, service
from agora.outcomes import Permanent
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
AT_ONCE = Retry(attempts=3, first=timedelta(0), jitter=0.0)


def test_usage_is_summed_exactly_over_steps_tries_and_models(monkeypatch):
    def ask(ctx: StepContext[Number]) -> int:
        ctx.use(tokens_in=100, tokens_out=10, cost_usd="0.1", model="small")
        ctx.use(tokens_in=50, cost_usd=0.2, model="large")
        if ctx.attempt == 1:
            raise Transient("the call was paid all the same")
        return 1

    def tell(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_out=5, cost_usd="0.0000001")
        return Number()

    rig = Rig(monkeypatch, agent_with(ask=[(ask, {"retry": AT_ONCE}), tell]))
    job = rig.submit("ask")
    rig.run()
    ended = rig.job(job)
    assert ended.status == "succeeded"
    sums = {name: value for name, value in ended.usage.items() if name != "run_seconds"}
    assert sums == {"tokens_in": 300, "tokens_out": 25, "tokens": 325, "cost_usd": "0.6000001"}
    spent = [(one.attempt, one.model, one.calls, one.tokens_in, one.cost_usd) for one in ended.steps[0].usage]
    assert spent == [
        (1, "large", 1, 50, "0.2"),
        (1, "small", 1, 100, "0.1"),
        (2, "large", 1, 50, "0.2"),
        (2, "small", 1, 100, "0.1"),
    ]
    (listed,) = service.list_jobs(service.JobFilter(), team_id=rig.team_id).items
    assert listed.usage["cost_usd"] == "0.6000001"


def test_the_usage_of_a_memoised_call_counts_once_over_all_tries(monkeypatch):
    def ask(ctx: StepContext[Number]) -> Number:
        answer = ctx.once("answer", lambda: {"tokens": 7})
        ctx.use(tokens_in=answer["tokens"], key="answer")
        if ctx.attempt < 3:
            raise Transient("again")
        return Number()

    rig = Rig(monkeypatch, agent_with(ask=[(ask, {"retry": AT_ONCE})]))
    job = rig.submit("ask")
    rig.run()
    assert (rig.job(job).steps[0].attempt, rig.job(job).usage["tokens"]) == (3, 7)


def test_usage_whose_commit_was_not_heard_of_counts_once(monkeypatch):
    """The connection breaks after the commit: the write is sent again, and counts nothing."""
    cut = []

    def ask(ctx: StepContext[Number]) -> Number:
        real = context.transaction

        def breaking():
            @db_session.contextmanager
            def managed():
                with real() as session:
                    yield session
                if not cut:
                    cut.append(1)
                    raise db_session.DBAPIError.instance(
                        None, None, db_session.psycopg.OperationalError("cut"), db_session.psycopg.Error,
                        dialect=db_session._DIALECT,
                    )  # fmt: skip

            return managed()

        monkeypatch.setattr(context, "transaction", breaking)
        ctx.use(tokens_in=3)
        return Number()

    rig = Rig(monkeypatch, agent_with(ask=[ask]))
    job = rig.submit("ask")
    assert rig.run() == ["succeeded"]
    assert cut, "the first write was cut"
    assert rig.job(job).usage["tokens"] == 3


def test_a_zombie_counts_nothing_and_what_a_lost_try_spent_stays(monkeypatch):
    rig = None
    second_ran = []

    def ask(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_in=1)
        if ctx.attempt == 1:
            rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=ctx.job_id)
            duties.return_lost_leases()
            second_ran.append(rig.worker().run(rig.rung.pop().step_id))
            ctx.use(tokens_in=1000)
        return Number()

    rig = Rig(monkeypatch, agent_with(ask=[ask]))
    job = rig.submit("ask")
    assert rig.run() == ["lost"]
    assert second_ran == ["succeeded"]
    ended = rig.job(job)
    assert ended.usage["tokens"] == 2
    assert [(one.attempt, one.tokens_in) for one in ended.steps[0].usage] == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tokens_in": -1}, "tokens_in"),
        ({"tokens_out": 1.5}, "tokens_out"),
        ({"cost_usd": "a lot"}, "cost_usd"),
        ({"cost_usd": float("nan")}, "cost_usd"),
        ({"cost_usd": -1}, "cost_usd"),
        ({"model": "m" * 201}, "model"),
    ],
)
def test_a_wrong_figure_fails_where_it_is_given(monkeypatch, wrong, named):
    def ask(ctx: StepContext[Number]) -> Number:
        ctx.use(**wrong)
        return Number()

    rig = Rig(monkeypatch, agent_with(ask=[(ask, {"retry": Retry(attempts=1)})]))
    job = rig.submit("ask")
    rig.run()
    ended = rig.job(job)
    assert (ended.status, ended.error["type"]) == ("failed", "ValueError")
    assert named in ended.error["message"]
    assert "tokens" not in ended.usage


def test_run_seconds_are_those_of_all_tries(monkeypatch):
    rig = None

    def work(ctx: StepContext[Number]) -> int:
        rig.sql("UPDATE steps SET started_at = started_at - interval '10 s' WHERE job_id = :id", id=ctx.job_id)
        if ctx.attempt == 1:
            raise Transient("again")
        return 1

    def last(ctx: StepContext[Number]) -> Number:
        rig.sql(
            "UPDATE steps SET started_at = started_at - interval '5 s' WHERE job_id = :id AND name = 'last'",
            id=ctx.job_id,
        )
        assert rig.job(job).usage["run_seconds"] == pytest.approx(25, abs=2), "the running try counts too"
        return Number()

    rig = Rig(monkeypatch, agent_with(work=[(work, {"retry": AT_ONCE}), last]))
    job = rig.submit("work")
    rig.run()
    assert rig.job(job).usage["run_seconds"] == pytest.approx(25, abs=2)


def test_a_job_that_waits_spends_no_run_time(monkeypatch):
    def nap(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(nap=[nap]))
    job = rig.submit("nap")
    rig.sql("UPDATE steps SET started_at = now() - interval '1 hour' WHERE job_id = :id", id=job.id)
    assert rig.job(job).usage["run_seconds"] == 0
    service.cancel_job(job.id, team_id=rig.team_id)
    assert rig.job(job).usage["run_seconds"] == 0


def show(ctx, count):
    for n in range(1, count + 1):
        ctx.partial({"lines": list(range(n))})
        ctx.use(tokens_out=1)


def test_partial_output_is_readable_while_the_step_runs_and_its_last_value_is_kept(monkeypatch):
    rig, seen = None, []

    def write(ctx: StepContext[Number]) -> Number:
        show(ctx, 3)
        seen.append(rig.job(job).partial_output)
        return Number()

    rig = Rig(monkeypatch, agent_with(write=[write]))
    job = rig.submit("write")
    rig.run()
    assert seen == [{"lines": [0]}], "throttled: the first value is written at once"
    assert rig.job(job).partial_output == {"lines": [0, 1, 2]}, "the last one when the step ends"
    assert rig.events(job).count("job.partial") == 2


def test_large_partial_output_is_kept_in_the_file_store(monkeypatch):
    def write(ctx: StepContext[Number]) -> Number:
        ctx.partial("x" * 200_000)
        raise Permanent("and then it failed")

    rig = Rig(monkeypatch, agent_with(write=[write]))
    job = rig.submit("write")
    rig.run()
    (row,) = rig.sql("SELECT partial_output FROM jobs WHERE id = :id", id=job.id)
    assert set(row["partial_output"]) == {"ref", "size"}
    assert rig.job(job).partial_output == "x" * 200_000


def test_cancel_in_the_middle_keeps_results_partial_output_and_usage(monkeypatch):
    rig = None

    def first(ctx: StepContext[Number]) -> int:
        ctx.use(tokens_in=1)
        return 11

    def second(ctx: StepContext[Number]) -> Number:
        show(ctx, 4)
        service.cancel_job(ctx.job_id, team_id=ctx.team_id)
        ctx.runtime._lease.cancelled = True  # as the next heartbeat would tell it
        ctx.check()
        return Number()

    rig = Rig(monkeypatch, agent_with(two=[first, second]))
    job = rig.submit("two")
    rig.run()
    ended = rig.job(job)
    assert ended.status == "cancelled"
    assert [(step.status, step.result) for step in ended.steps] == [("succeeded", 11), ("cancelled", None)]
    assert ended.partial_output == {"lines": [0, 1, 2, 3]}
    assert ended.usage["tokens"] == 5


def test_failure_at_the_third_step_keeps_what_was_there(monkeypatch):
    def first(_: StepContext[Number]) -> int:
        return 11

    def second(ctx: StepContext[Number]) -> int:
        show(ctx, 2)
        return 22

    def third(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_in=40)
        raise Permanent("no", code="no")

    rig = Rig(monkeypatch, agent_with(three=[first, second, third]))
    job = rig.submit("three")
    rig.run()
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "no")
    assert [(step.status, step.result) for step in ended.steps] == [
        ("succeeded", 11),
        ("succeeded", 22),
        ("failed", None),
    ]
    assert [len(step.tries) for step in ended.steps] == [1, 1, 1]
    assert (ended.partial_output, ended.usage["tokens"]) == ({"lines": [0, 1]}, 42)


def test_a_passed_deadline_keeps_what_was_there(monkeypatch):
    rig = None

    def first(_: StepContext[Number]) -> int:
        return 11

    def second(ctx: StepContext[Number]) -> Number:
        show(ctx, 1)
        rig.sql("UPDATE jobs SET deadline = now() - interval '1 s' WHERE id = :id", id=ctx.job_id)
        duties.fail_late_jobs()
        ctx.partial("written by a step whose fence is gone")
        return Number()

    rig = Rig(monkeypatch, agent_with(two=[first, second]))
    job = rig.submit("two")
    assert rig.run()[-1] == "lost"
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "deadline-exceeded")
    assert ended.steps[0].result == 11
    assert (ended.partial_output, ended.usage["tokens"]) == ({"lines": [0]}, 1)


def test_a_retry_of_the_job_does_not_count_again_what_the_old_one_paid(monkeypatch):
    fails = [True]

    def ask(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_in=ctx.once("answer", lambda: 7), key="answer")
        if fails.pop():
            raise Permanent("after the call")
        ctx.use(tokens_in=1)
        return Number()

    rig = Rig(monkeypatch, agent_with(ask=[ask]))
    old = rig.submit("ask")
    rig.run()
    fails[:] = [False]
    new = lineage.go_on(old.id, lineage.Wish(), team_id=rig.team_id).job
    rig.run()
    assert (rig.job(old).usage["tokens"], rig.job(new).usage["tokens"]) == (7, 1)
    assert [one.tokens_in for one in rig.job(new).steps[0].usage] == [1]


def test_what_children_spent_is_summed_beside_their_parents_own(monkeypatch):
    def parent_of(child):
        def spawn(ctx: StepContext[Number]) -> Spawn:
            ctx.use(tokens_in=1)
            return Spawn([Child(agent="probe", action=child, input={}) for _ in range(2)])

        return spawn

    def pay(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_out=5, cost_usd="0.1")
        return Number()

    def end(_: StepContext[Number]) -> Number:
        return Number()

    rig = Rig(monkeypatch, agent_with(top=[parent_of("middle"), end], middle=[parent_of("leaf"), end], leaf=[pay]))
    job = rig.submit("top")
    for _ in range(10):
        duties.refill_rings()
        rig.run()
    ended = rig.job(job)
    assert (ended.status, ended.usage["tokens"]) == ("succeeded", 1)
    sums = {"jobs": 6, "tokens_in": 2, "tokens_out": 20, "tokens": 22, "cost_usd": "0.4"}
    assert ended.usage["children"] == sums
