"""Retry and fork: what is taken over, where it begins, which keys the outside sees, and what is refused."""

import threading
from collections import Counter

import pytest
from pydantic import BaseModel

from agora.agents import Agent, Repeat, StepContext, TransactionContext
from agora.errors import IllegalTransition, Invalid, NotFound
from agora.idempotency.keys import IdempotencyKey
from agora.ids import new_id
from agora.jobs import lineage, service
from agora.jobs.lineage import Wish
from agora.outcomes import Cancel, Permanent
from agora.settings import get_settings
from api.app import create_app
from tests.support.caller import Caller
from tests.support.rig import Rig


class Work(BaseModel):
    n: int = 1
    size: int = 1


class Sum(BaseModel):
    total: int


agent = Agent("probe")
chain = agent.action("chain", input=Work, output=Sum)
ran, keys, computed = Counter(), [], Counter()
broken = set()


def note(ctx):
    ran[ctx.step_name] += 1
    keys.append(ctx.idempotency_key)
    if ctx.step_name in broken:
        raise Permanent("broken", code="broken")


@chain.step
def first(ctx: StepContext[Work]) -> str:
    note(ctx)
    return "x" * ctx.input.size


@chain.step
def second(ctx: StepContext[Work]) -> int:
    paid = ctx.once("paid", lambda: computed.update(["paid"]) or ctx.input.n * 10)
    note(ctx)
    return paid + len(ctx.result(first))


@chain.step
def third(ctx: StepContext[Work]) -> Sum:
    note(ctx)
    return Sum(total=ctx.result(second) + len(ctx.result(first)))


loop = agent.action("loop", input=Work, output=Sum)


@loop.step
def begin(ctx: StepContext[Work]) -> int:
    note(ctx)
    return (ctx.carry or 0) + 1


@loop.step
def again(ctx: StepContext[Work]) -> int | Repeat:
    count = ctx.result(begin)
    if count < 3:
        return Repeat(begin, carry=count)
    return count


@loop.step
def end(ctx: StepContext[Work]) -> Sum:
    note(ctx)
    return Sum(total=ctx.result(again))


single = agent.action("single", input=Work, output=Sum)


@single.step
def gives_up(ctx: StepContext[Work]) -> int | Cancel:
    return Cancel("no use") if "gives_up" in broken else 1


@single.step(transactional=True)
def ends(ctx: TransactionContext[Work]) -> Sum:
    return Sum(total=ctx.result(gives_up))


other = agent.action("chain", input=Work, output=Sum, version=2)
other.step(first.function)
other.step(second.function)


@other.step
def fourth(ctx: StepContext[Work]) -> Sum:
    return Sum(total=ctx.result(second) + 1000)


@pytest.fixture
def rig(db, monkeypatch):
    for one in (ran, keys, computed, broken):
        one.clear()
    return Rig(monkeypatch, agent)


def failed(rig, *steps, action="chain", version=1, value=None):
    """A job that was run until it failed in one of these steps, which are whole again."""
    broken.update(steps)
    job = rig.submit(action, value, version=version)
    rig.run()
    broken.clear()
    return rig.job(job)


def go_on(rig, job, **wish):
    return lineage.go_on(job.id, Wish(**wish), team_id=rig.team_id).job


def run(rig, job):
    rig.run()
    return rig.job(job)


def states(job):
    return [(step.name, step.iteration, step.status) for step in job.steps]


def test_a_retry_goes_on_at_the_step_that_failed_with_the_results_before_it(rig):
    old = failed(rig, "second")
    new = go_on(rig, old)
    assert (new.retry_of, new.root_id, new.forked_from) == (old.id, old.id, None)
    assert new.progress == pytest.approx(1 / 3)
    done = run(rig, new)
    assert (done.status, done.output) == ("succeeded", {"total": 12})
    assert states(done) == [("first", 0, "copied"), ("second", 0, "succeeded"), ("third", 0, "succeeded")]
    assert (done.steps[0].copied_from, list(done.steps[0].tries)) == (old.steps[0].id, [])
    assert ran == {"first": 1, "second": 2, "third": 1}
    assert rig.job(old) == old, "the old job stays what it was"


def test_the_outside_sees_the_same_keys_from_a_retry_and_new_ones_from_a_fork(rig):
    old = failed(rig, "second")
    run(rig, go_on(rig, old))
    fork = run(rig, go_on(rig, old, fork=True, from_step="second"))
    of = [key.split(":")[0] for key in keys if ":second:" in key]
    assert of == [old.id, old.id, fork.id]
    assert fork.root_id == fork.id


def test_what_the_failed_step_paid_for_is_kept_by_a_retry_and_not_by_a_fork(rig):
    old = failed(rig, "second")
    run(rig, go_on(rig, old))
    assert computed["paid"] == 1
    run(rig, go_on(rig, old, fork=True, from_step="second"))
    assert computed["paid"] == 2


def test_a_step_that_was_done_is_computed_anew_when_a_retry_begins_there(rig):
    old = failed(rig, "third")
    done = run(rig, go_on(rig, old, from_step="second"))
    assert (done.status, computed["paid"], ran["first"]) == ("succeeded", 2, 1)


def test_a_retry_of_a_retry_keeps_the_root_and_names_who_computed(rig):
    old = failed(rig, "second")
    broken.add("third")
    middle = run(rig, go_on(rig, old))
    broken.clear()
    new = run(rig, go_on(rig, middle))
    assert (new.retry_of, new.root_id, new.status) == (middle.id, old.id, "succeeded")
    assert [step.copied_from for step in new.steps] == [old.steps[0].id, middle.steps[1].id, None]


def test_a_large_result_is_taken_over_as_its_reference(rig):
    size = get_settings().inline_value_bytes + 1
    old = failed(rig, "second", value={"size": size})
    done = run(rig, go_on(rig, old))
    assert done.output["total"] == 10 + 2 * size
    assert done.steps[0].result == old.steps[0].result
    assert "ref" in done.steps[0].result


def test_a_fork_takes_another_input_and_metadata(rig):
    old = run(rig, rig.submit("chain", {"n": 1}, version=1, metadata={"a": 1}, priority=7))
    fork = go_on(rig, old, fork=True, from_step="second", input={"n": 5}, metadata={"b": 2})
    assert (fork.forked_from, fork.retry_of, fork.metadata, fork.priority) == (old.id, None, {"b": 2}, 7)
    assert run(rig, fork).output == {"total": 52}
    same = go_on(rig, old, fork=True, from_step="third")
    assert (same.metadata, run(rig, same).output) == ({"a": 1}, old.output)


def test_a_fork_may_begin_at_the_step_after_the_last_one_done_and_while_the_job_runs(rig):
    job = rig.submit("chain", version=1)
    assert rig.engine.claimer.one(rig.rung.popleft().step_id).claims
    with pytest.raises(Invalid) as refused:
        go_on(rig, job, fork=True, from_step="second")
    assert refused.value.errors[0].rule == "has-results"
    assert run(rig, go_on(rig, job, fork=True, from_step="first", input={"n": 2})).output == {"total": 22}
    old = failed(rig, "second")
    with pytest.raises(Invalid):
        go_on(rig, old, fork=True, from_step="third")


def test_iterations_and_their_carry_are_taken_over(rig):
    old = failed(rig, "end", action="loop")
    assert [state for state in states(old) if state[0] == "end"] == [("end", 2, "failed")]
    done = run(rig, go_on(rig, old))
    assert (done.output, ran["begin"]) == ({"total": 3}, 3)
    assert states(done)[-1] == ("end", 2, "succeeded")
    earlier = run(rig, go_on(rig, old, from_step="begin"))
    assert (earlier.output, ran["begin"]) == ({"total": 3}, 4), "the last iteration began with a carry of 2"


def test_a_job_cancelled_before_it_ran_begins_at_the_first_step(rig):
    job = rig.submit("chain", version=1)
    service.cancel_job(job.id, team_id=rig.team_id)
    rig.rung.clear()
    done = run(rig, go_on(rig, job))
    assert (done.status, states(done)[0]) == ("succeeded", ("first", 0, "succeeded"))


def test_a_job_cancelled_while_a_step_ended_goes_on_after_it(rig):
    job = rig.submit("chain", version=1)
    original = first.function

    def cancelled_meanwhile(ctx):
        service.cancel_job(ctx.job_id, team_id=ctx.team_id)
        return original(ctx)

    first.function = cancelled_meanwhile
    try:
        rig.run()
    finally:
        first.function = original
    old = rig.job(job)
    assert (old.status, states(old)) == ("cancelled", [("first", 0, "succeeded")])
    done = run(rig, go_on(rig, old))
    assert (done.status, ran["first"], states(done)[0]) == ("succeeded", 1, ("first", 0, "copied"))


def test_a_step_that_gave_its_job_up_runs_again(rig):
    old = failed(rig, "gives_up", action="single")
    assert (old.status, old.steps[0].status) == ("cancelled", "succeeded")
    done = run(rig, go_on(rig, old))
    assert (done.status, states(done)[0]) == ("succeeded", ("gives_up", 0, "succeeded"))


def test_another_version_is_taken_when_its_steps_begin_alike(rig):
    old = failed(rig, "second")
    assert go_on(rig, old).version == 1, "the version that the job ran on, though there is a newer one"
    rig.rung.clear()
    done = run(rig, go_on(rig, old, version=2))
    assert (done.version, done.output, states(done)[0]) == (2, {"total": 1011}, ("first", 0, "copied"))
    late = failed(rig, "third")
    with pytest.raises(Invalid) as refused:
        go_on(rig, late, version=2)
    assert (refused.value.errors[0].pointer, refused.value.errors[0].rule) == ("/version", "same-steps")


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        ({"from_step": "nothing"}, "/from_step"),
        ({"from_step": "third"}, "/from_step"),
        ({"version": 9}, "/version"),
        ({"fork": True, "from_step": "second", "input": {"n": "x"}}, "/input/n"),
        ({"metadata": {"x": "y" * 20_000}}, "/metadata"),
    ],
)
def test_bad_wishes_name_the_field_and_make_nothing(rig, wish, pointer):
    old = failed(rig, "second")
    with pytest.raises(Invalid) as refused:
        go_on(rig, old, **wish)
    assert refused.value.errors[0].pointer == pointer
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 1
    assert not rig.rung


def test_only_failed_and_cancelled_jobs_of_the_team_are_retried(rig):
    job = rig.submit("chain", version=1)
    with pytest.raises(IllegalTransition):
        go_on(rig, job)
    done = run(rig, job)
    with pytest.raises(IllegalTransition):
        go_on(rig, done)
    old = failed(rig, "second")
    for team_id, job_id in ((new_id("team"), old.id), (rig.team_id, new_id("job")), (rig.team_id, "no id")):
        with pytest.raises(NotFound):
            lineage.go_on(job_id, Wish(), team_id=team_id)


def test_the_events_name_where_a_job_comes_from_and_the_old_ones_do_not_change(rig):
    old = failed(rig, "second")
    before = service.list_events(old.id, team_id=rig.team_id)
    new, fork = go_on(rig, old), go_on(rig, old, fork=True, from_step="first")
    created = [service.list_events(one.id, team_id=rig.team_id)[0].data for one in (new, fork)]
    assert (created[0]["retry_of"], created[0]["from_step"]) == (old.id, "second")
    assert (created[1]["forked_from"], created[1]["from_step"]) == (old.id, "first")
    assert service.list_events(old.id, team_id=rig.team_id) == before


def test_one_key_makes_one_retry_however_many_send_it(rig):
    old = failed(rig, "second")
    key = IdempotencyKey(key="k", route="retry", fingerprint="f")
    made, start = [], threading.Barrier(6)

    def send():
        start.wait(10)
        made.append(lineage.go_on(old.id, Wish(), team_id=rig.team_id, idempotency=key))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({one.job.id for one in made}) == 1
    assert sorted(one.replayed for one in made) == [False] + [True] * 5


def test_over_http(rig):
    caller = Caller(create_app())
    rig.team_id = caller.team_id
    old = failed(rig, "second")
    made = caller.post(f"/api/v1/jobs/{old.id}/retry", headers={"Idempotency-Key": "once"})
    assert (made.status_code, made.json["retry_of"]) == (202, old.id)
    again = caller.post(f"/api/v1/jobs/{old.id}/retry", headers={"Idempotency-Key": "once"})
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (made.json["id"], "true")
    fork = caller.post(f"/api/v1/jobs/{old.id}/fork", json={"from_step": "second", "input": {"n": 4}})
    assert (fork.status_code, fork.json["forked_from"]) == (202, old.id)
    rig.run()
    assert caller.get(fork.headers["Location"]).json["output"] == {"total": 42}
    assert caller.get(made.headers["Location"]).json["steps"][0]["copied_from"] == old.steps[0].id
    assert caller.post(f"/api/v1/jobs/{old.id}/fork", json={}).json["errors"][0]["pointer"] == "/from_step"
    assert caller.post(fork.headers["Location"] + "/retry").status_code == 409
    assert caller.post(f"/api/v1/jobs/{new_id('job')}/retry").status_code == 404
