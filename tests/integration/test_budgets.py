"""Budgets: over them a job fails or asks, what was paid for is kept, and an approval counts once."""

from datetime import timedelta
from decimal import Decimal

import pytest

from agora.agents import Retry, StepContext, TransactionContext, Transient, WaitFor
from agora.clock import now
from agora.dispatcher import duties
from agora.errors import Conflict, Invalid, NotFound
from agora.jobs import approval, budgets, lineage, service
from agora.jobs.types import Budget
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
AT_ONCE = Retry(attempts=3, first=timedelta(0), jitter=0.0)
TOKENS = Budget(max_tokens=100)
ASKING = Budget(max_tokens=100, on_exceeded="ask")


def pay(ctx: StepContext[Number]) -> int:
    ctx.use(tokens_in=60 * ctx.input.n, cost_usd="0.6", model="m")
    return ctx.input.n


def pay_again(ctx: StepContext[Number]) -> int:
    ctx.use(tokens_in=60 * ctx.input.n, cost_usd="0.6", model="m")
    return ctx.input.n


def end(_: StepContext[Number]) -> Number:
    return Number()


def chain(monkeypatch, *steps):
    return Rig(monkeypatch, agent_with(chain=list(steps or (pay, pay_again, end))))


def test_a_job_within_its_budget_knows_nothing_of_it(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=Budget(max_tokens=120, max_cost_usd=Decimal("1.2"), max_run_seconds=60))
    rig.run()
    ended = rig.job(job)
    assert ended.status == "succeeded", "a limit may be used up"
    assert ended.budget == {
        "max_tokens": 120,
        "max_cost_usd": "1.2",
        "max_run_seconds": 60,
        "on_exceeded": "fail",
    }


@pytest.mark.parametrize(
    ("budget", "limit", "used"),
    [(Budget(max_tokens=100), "max_tokens", 120), (Budget(max_cost_usd=Decimal("1.19")), "max_cost_usd", "1.2")],
)
def test_over_its_budget_a_job_fails_and_keeps_what_was_paid_for(monkeypatch, budget, limit, used):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=budget)
    rig.run()
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "budget-exceeded")
    assert ended.error["budget"] == {"limit": limit, "allowed": rig.job(job).budget[limit], "used": used}
    assert [(step.name, step.status, step.result, step.error) for step in ended.steps] == [
        ("pay", "succeeded", 1, None),
        ("pay_again", "succeeded", 1, None),
    ]
    assert rig.events(job)[-2:] == ["step.succeeded", "job.failed"]
    (failed,) = [event for event in service.list_events(job.id, team_id=rig.team_id) if event.type == "job.failed"]
    assert failed.data["error"]["budget"]["limit"] == limit


def test_the_last_step_may_go_over_there_is_nothing_left_to_save(monkeypatch):
    def all_at_once(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_in=1000)
        return Number()

    rig = chain(monkeypatch, all_at_once)
    job = rig.submit("chain", budget=TOKENS)
    rig.run()
    assert rig.job(job).status == "succeeded"


def test_asked_for_approval_a_job_waits_before_its_next_step_and_goes_on(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=ASKING)
    rig.run()
    waiting = rig.job(job)
    assert waiting.status == "waiting"
    assert [(step.name, step.status) for step in waiting.steps] == [
        ("pay", "succeeded"),
        ("pay_again", "succeeded"),
        ("end", "suspended"),
    ]
    assert (waiting.waits["reason"], waiting.waits["step"]) == ("approval", "end")
    assert waiting.waits["budget"] == {"limit": "max_tokens", "allowed": 100, "used": 120}
    (told,) = [event for event in service.list_events(job.id, team_id=rig.team_id) if event.type == "job.waiting"]
    assert (told.data["waits_for"], told.data["approval"]) == ("approval", waiting.waits["approval"])
    assert not rig.rung, "nobody is told of a step that waits for approval"
    duties.refill_rings()
    duties.wake_suspended()
    assert not rig.rung
    approval.approve_job(job.id, team_id=rig.team_id)
    rig.run()
    ended = rig.job(job)
    assert (ended.status, ended.waits) == ("succeeded", None)
    assert (ended.budget["max_tokens"], ended.budget["initial"]) == (220, {"max_tokens": 100})
    assert rig.events(job)[-4:] == ["job.waiting", "job.resumed", "step.succeeded", "job.succeeded"]


def test_an_approval_with_limits_sets_them_and_refuses_too_low_ones(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=ASKING)
    rig.run()
    with pytest.raises(Invalid, match="max_tokens must be at least 120"):
        approval.approve_job(job.id, team_id=rig.team_id, limits={"max_tokens": 119})
    assert rig.job(job).status == "waiting", "nothing was done"
    approval.approve_job(job.id, team_id=rig.team_id, limits={"max_tokens": 500})
    assert (rig.job(job).status, rig.job(job).budget["max_tokens"]) == ("running", 500)


def test_a_limit_that_an_approval_added_grants_once_more_what_it_was_set_to(monkeypatch):
    rig = chain(monkeypatch, pay, named(pay, "pay2"), named(pay, "pay3"), end)
    job = rig.submit("chain", budget=Budget(max_cost_usd=Decimal("0.5"), on_exceeded="ask"))
    rig.run()
    approval.approve_job(job.id, team_id=rig.team_id, limits={"max_cost_usd": "5", "max_tokens": 100})
    rig.run()
    assert rig.job(job).waits["budget"] == {"limit": "max_tokens", "allowed": 100, "used": 120}
    approval.approve_job(job.id, team_id=rig.team_id)
    assert (rig.job(job).budget["max_tokens"], rig.job(job).budget["max_cost_usd"]) == (220, "5")
    rig.run()
    ended = rig.job(job)
    assert (ended.status, ended.budget["initial"]) == ("succeeded", {"max_cost_usd": "0.5", "max_tokens": 100})


def test_a_limit_that_was_added_before_this_was_known_is_learnt_by_the_next_approval():
    budget = {"max_cost_usd": "5", "max_tokens": 100, "on_exceeded": "ask", "initial": {"max_cost_usd": "0.5"}}
    made = budgets.raised(budget, {}, {"tokens": 120, "cost_usd": "1"}, 0.0)
    assert (made["max_tokens"], made["initial"]) == (220, {"max_cost_usd": "0.5", "max_tokens": 100})


def test_an_approval_that_is_sent_twice_approves_nothing_else(monkeypatch):
    steps = [named(pay, f"pay{n}") for n in range(5)]
    rig = chain(monkeypatch, *steps, end)
    job = rig.submit("chain", {"n": 2}, budget=ASKING)
    rig.run()
    first = rig.job(job).waits["approval"]
    for _ in range(2):
        approval.approve_job(job.id, team_id=rig.team_id, approval=first)
    assert rig.job(job).budget["max_tokens"] == 220
    approval.approve_job(job.id, team_id=rig.team_id)
    assert rig.job(job).budget["max_tokens"] == 220, "without an id, one that comes too late changes nothing either"
    rig.run()
    second = rig.job(job).waits["approval"]
    assert second != first, "it is over its budget again"
    approval.approve_job(job.id, team_id=rig.team_id, approval=first)
    assert (rig.job(job).status, rig.job(job).budget["max_tokens"]) == ("waiting", 220)
    with pytest.raises(Conflict, match=second):
        approval.approve_job(job.id, team_id=rig.team_id, approval="apr_another")


def named(function, name):
    """The same step under another name."""

    def step(ctx: StepContext[Number]) -> int:
        return function(ctx)

    step.__name__ = name
    return step


def test_only_a_job_that_asks_can_be_approved_and_only_by_its_team(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=ASKING)
    with pytest.raises(Conflict, match="asks for no approval"):
        approval.approve_job(job.id, team_id=rig.team_id)
    rig.run()
    with pytest.raises(NotFound):
        approval.approve_job(job.id, team_id="team_other")
    service.cancel_job(job.id, team_id=rig.team_id)
    assert rig.job(job).status == "cancelled", "cancel is how an approval is refused"
    with pytest.raises(Conflict, match="is cancelled"):
        approval.approve_job(job.id, team_id=rig.team_id)


def test_a_deadline_ends_a_job_that_waits_for_approval(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=ASKING, deadline=now() + timedelta(hours=1))
    rig.run()
    rig.sql("UPDATE jobs SET deadline = now() - interval '1 s' WHERE id = :id", id=job.id)
    duties.fail_late_jobs()
    assert (rig.job(job).status, rig.job(job).error["code"]) == ("failed", "deadline-exceeded")


@pytest.mark.parametrize("on_exceeded", ["fail", "ask"])
def test_a_failed_try_over_the_budget_is_not_tried_again(monkeypatch, on_exceeded):
    def flaky(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_in=150)
        raise Transient("not yet", code="busy")

    rig = chain(monkeypatch, (flaky, {"retry": AT_ONCE}))
    job = rig.submit("chain", budget=Budget(max_tokens=100, on_exceeded=on_exceeded))
    rig.run()
    found = rig.job(job)
    assert [one.error["code"] for one in found.steps[0].tries] == ["busy"], "the try keeps its own error"
    if on_exceeded == "fail":
        assert (found.status, found.error["code"]) == ("failed", "budget-exceeded")
        assert (found.steps[0].status, found.steps[0].error["code"]) == ("failed", "busy")
        return
    assert (found.status, found.steps[0].status) == ("waiting", "suspended")
    approval.approve_job(job.id, team_id=rig.team_id)
    rig.run()
    assert (rig.job(job).status, len(rig.job(job).steps[0].tries)) == ("waiting", 2)


def test_a_step_that_looks_is_interrupted_and_one_that_pays_on_is_stopped(monkeypatch):
    calls = []

    def loop(ctx: StepContext[Number]) -> Number:
        for _ in range(10):
            if ctx.input.n == 1:
                ctx.check()
            calls.append(1)
            ctx.use(tokens_in=60)
        return Number()

    rig = chain(monkeypatch, loop, end)
    looking = rig.submit("chain", budget=ASKING)
    rig.run()
    assert len(calls) == 2, "the call that went over was let through, the next look ended the step"
    found = rig.job(looking)
    assert (found.status, found.steps[0].status, found.steps[0].attempt) == ("waiting", "suspended", 0)
    assert [one.outcome for one in found.steps[0].tries] == ["interrupted"]
    calls.clear()
    paying = rig.submit("chain", {"n": 2}, budget=TOKENS)
    rig.run()
    assert len(calls) == 3
    assert rig.job(paying).error["code"] == "budget-exceeded"
    assert rig.job(paying).usage["tokens"] == 180


def test_a_memoised_call_is_noted_before_the_step_is_stopped_and_not_begun_when_it_is_over(monkeypatch):
    made = []

    def call(ctx: StepContext[Number]) -> Number:
        for key in ("a", "b", "c"):

            def compute(key=key):
                made.append(key)
                ctx.use(tokens_in=60, key=key)
                ctx.use(tokens_in=1, key=f"{key} again")
                return key

            ctx.once(key, compute)
        return Number()

    rig = chain(monkeypatch, call)
    job = rig.submit("chain", budget=ASKING)
    rig.run()
    assert made == ["a", "b"], "b went over and was noted, c was not begun"
    approval.approve_job(job.id, team_id=rig.team_id)
    rig.run()
    assert (rig.job(job).status, made) == ("succeeded", ["a", "b", "c"])
    assert rig.job(job).usage["tokens"] == 183


def test_run_time_counts_all_tries_and_stops_a_step_that_looks(monkeypatch):
    rig = None

    def slow(ctx: StepContext[Number]) -> Number:
        rig.sql("UPDATE steps SET started_at = started_at - interval '30 s' WHERE job_id = :id", id=ctx.job_id)
        if ctx.attempt == 1:
            raise Transient("once more")
        ctx.check()
        return Number()

    rig = chain(monkeypatch, (slow, {"retry": AT_ONCE}))
    job = rig.submit("chain", budget=Budget(max_run_seconds=50))
    rig.run()
    ended = rig.job(job)
    assert ended.error["budget"]["limit"] == "max_run_seconds"
    assert ended.error["budget"]["used"] == pytest.approx(60, abs=3)
    assert [one.outcome for one in ended.steps[0].tries] == ["failed", "interrupted"]


def test_a_job_that_does_not_begin_in_time_fails(monkeypatch):
    rig = chain(monkeypatch)
    late, early, begun = (rig.submit("chain", budget=Budget(queue_timeout=30)) for _ in range(3))
    later = rig.submit("chain", budget=Budget(queue_timeout=30), run_at=now() + timedelta(hours=1))
    rig.engine.run(next(ring.step_id for ring in rig.rung if ring.job_id == begun.id))
    rig.sql("UPDATE jobs SET start_by = start_by - interval '31 s' WHERE id <> :id", id=early.id)
    assert duties.fail_unstarted_jobs() == 1
    assert (rig.job(late).status, rig.job(late).error["code"]) == ("failed", "queue-timeout")
    assert "30 s" in rig.job(late).error["message"]
    assert (rig.job(early).status, rig.job(later).status) == ("queued", "scheduled")
    assert rig.job(begun).status in {"running", "succeeded"}
    assert rig.events(late)[-1] == "job.failed"


def test_a_step_that_begins_just_now_wins_against_the_queue_timeout(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=Budget(queue_timeout=30))
    rig.sql("UPDATE jobs SET start_by = now() - interval '1 s' WHERE id = :id", id=job.id)
    find = duties.queries.find_unstarted

    def find_and_let_it_begin(session, **options):
        found = find(session, **options)
        rig.engine.run(rig.rung.popleft().step_id)
        return found

    monkeypatch.setattr(duties.queries, "find_unstarted", find_and_let_it_begin)
    assert duties.fail_unstarted_jobs() == 0
    assert rig.job(job).status != "failed"


def test_an_answered_job_that_is_over_its_budget_waits_for_approval(monkeypatch):
    def ask(ctx: StepContext[Number]) -> WaitFor:
        ctx.use(tokens_in=150)
        return WaitFor({"type": "integer"}, "How many?")

    rig = chain(monkeypatch, ask, end)
    job = rig.submit("chain", budget=ASKING)
    rig.run()
    assert rig.job(job).steps[0].suspension["kind"] == "input"
    service.give_input(job.id, team_id=rig.team_id, value=3)
    assert (rig.job(job).status, rig.job(job).waits["reason"]) == ("waiting", "approval")
    approval.approve_job(job.id, team_id=rig.team_id)
    rig.run()
    assert rig.job(job).status == "succeeded"


def test_a_lost_worker_of_a_job_over_its_budget_is_not_replaced(monkeypatch):
    rig = None

    def dies(ctx: StepContext[Number]) -> Number:
        ctx.use(tokens_in=150)
        rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id", id=ctx.job_id)
        duties.return_lost_leases()
        return Number()

    rig = chain(monkeypatch, dies)
    job = rig.submit("chain", budget=ASKING)
    assert rig.run() == ["lost"]
    assert (rig.job(job).status, rig.job(job).waits["reason"]) == ("waiting", "approval")


def test_a_transactional_step_is_looked_at_as_well(monkeypatch):
    def write(_: TransactionContext[Number]) -> int:
        return 7

    rig = chain(monkeypatch, pay, (write, {"transactional": True}), end)
    job = rig.submit("chain", {"n": 2}, budget=ASKING)
    rig.run()
    assert [step.status for step in rig.job(job).steps] == ["succeeded", "suspended"]
    approval.approve_job(job.id, team_id=rig.team_id)
    rig.sql("UPDATE jobs SET budget = jsonb_set(budget, '{max_tokens}', '1') WHERE id = :id", id=job.id)
    rig.run()
    found = rig.job(job)
    assert [(step.status, step.result) for step in found.steps[1:]] == [("succeeded", 7), ("suspended", None)]


def test_a_retry_has_the_budget_that_the_old_job_began_with(monkeypatch):
    rig = chain(monkeypatch)
    job = rig.submit("chain", budget=ASKING)
    rig.run()
    approval.approve_job(job.id, team_id=rig.team_id)
    service.cancel_job(job.id, team_id=rig.team_id)
    new = lineage.go_on(job.id, lineage.Wish(), team_id=rig.team_id).job
    assert new.budget == {"max_tokens": 100, "on_exceeded": "ask"}


@pytest.mark.parametrize(
    ("budget", "pointer"),
    [
        (Budget(), "/budget"),
        (Budget(max_tokens=0), "/budget/max_tokens"),
        (Budget(max_cost_usd=Decimal(-1)), "/budget/max_cost_usd"),
        (Budget(max_run_seconds=10**12), "/budget/max_run_seconds"),
        (Budget(queue_timeout=0), "/budget/queue_timeout"),
        (Budget(max_tokens=1, on_exceeded="shrug"), "/budget/on_exceeded"),
    ],
)
def test_a_budget_that_is_none_is_refused(monkeypatch, budget, pointer):
    rig = chain(monkeypatch)
    with pytest.raises(Invalid) as refused:
        rig.submit("chain", budget=budget)
    assert refused.value.errors[0].pointer == pointer
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 0
