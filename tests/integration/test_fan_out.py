"""Fan-outs: a map step over an earlier step's list, memoised per item, joined in input order."""

import threading
from datetime import timedelta

import pytest
from pydantic import BaseModel

from agora.agents import Agent, Failures, Gathered, ItemContext, ItemFailed, Permanent, Retry, StepContext, Transient
from agora.agents import WaitFor as Ask
from agora.dispatcher import duties
from agora.jobs import fan_out, service
from agora.jobs.lineage import Wish, go_on
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
AT_ONCE = Retry(attempts=3, first=timedelta(0), jitter=0.0)
FAIL_FAST = Failures.fail_fast()


class Count(BaseModel):
    """How many items."""

    n: int = 3


class Total(BaseModel):
    """What they came to."""

    values: list[int] = []
    failures: list[int] = []


class Page(BaseModel):
    """An item."""

    number: int


def agent_of(work, *, failures=FAIL_FAST, retry=AT_ONCE, queue="cpu"):
    """An agent that lists n pages, does ``work`` for each, and joins what they came to."""
    agent = Agent("probe")
    action = agent.action("crunch", input=Count, output=Total)

    @action.step
    def pages(ctx: StepContext[Count]) -> list[Page]:
        return [Page(number=n) for n in range(ctx.input.n)]

    @action.map(over=pages, failures=failures, retry=retry, queue=queue)
    def read(ctx: ItemContext[Count, Page]) -> int:
        return work(ctx)

    @action.step
    def join(ctx: StepContext[Count]) -> Total:
        gathered = ctx.result(read)
        assert isinstance(gathered, Gathered)
        failed = [one.index for one in gathered.failures()]
        assert (gathered.count, gathered.failed) == (ctx.input.n, len(failed))
        return Total(values=list(gathered), failures=failed)

    return agent


def square(ctx):
    assert isinstance(ctx.value, Page)
    assert ctx.item == ctx.value.number
    return ctx.value.number**2


def test_items_run_once_each_and_are_joined_in_input_order(monkeypatch):
    seen = []

    def work(ctx):
        seen.append(ctx.idempotency_key)
        return square(ctx)

    rig = Rig(monkeypatch, agent_of(work))
    job = rig.submit("crunch", {"n": 100})
    rig.run(at_most=300)
    ended = rig.job(job)
    assert ended.status == "succeeded", ended.error
    assert ended.output["values"] == [n**2 for n in range(100)]
    assert len(seen) == len(set(seen)) == 100
    assert rig.events(job) == ["job.created", "job.started", *["step.succeeded"] * 3, "job.succeeded"]


def test_no_items_are_joined_at_once(monkeypatch):
    rig = Rig(monkeypatch, agent_of(square))
    job = rig.submit("crunch", {"n": 0})
    rig.run()
    assert rig.job(job).output == {"values": [], "failures": []}


def test_a_retry_runs_only_the_item_that_failed(monkeypatch):
    tries = []

    def work(ctx):
        tries.append((ctx.item, ctx.attempt))
        if ctx.item == 1 and ctx.attempt == 1:
            raise Transient("not yet")
        return ctx.item

    rig = Rig(monkeypatch, agent_of(work))
    job = rig.submit("crunch")
    for _ in range(3):
        rig.run()
        duties.refill_rings()
    assert rig.job(job).output["values"] == [0, 1, 2]
    assert sorted(tries) == [(0, 1), (1, 1), (1, 2), (2, 1)]


def failing(*numbers):
    def work(ctx):
        if ctx.item in numbers:
            raise Permanent(f"page {ctx.item} is torn", code="torn")
        return ctx.item

    return work


def test_fail_fast_cancels_what_is_open_and_says_which_item_failed(monkeypatch):
    rig = Rig(monkeypatch, agent_of(failing(0)))
    job = rig.submit("crunch", {"n": 200})
    rig.run(at_most=5)
    ended = rig.job(job)
    assert (ended.status, ended.error["code"]) == ("failed", "items-failed")
    assert "item 0: page 0 is torn" in ended.error["message"]
    assert rig.events(job)[-2:] == ["step.failed", "job.failed"]
    left = rig.sql("SELECT status, count(*) AS n FROM steps WHERE job_id = :id AND item > 0 GROUP BY 1", id=job.id)
    counts = {row["status"]: row["n"] for row in left}
    assert counts["failed"] == 1
    assert counts["cancelled"] > 100
    rig.run(at_most=300)
    assert rig.job(job).ended_at == ended.ended_at


def test_collect_hands_failures_to_the_next_step(monkeypatch):
    rig = Rig(monkeypatch, agent_of(failing(0, 3), failures=Failures.collect()))
    job = rig.submit("crunch", {"n": 5})
    rig.run()
    assert rig.job(job).output == {"values": [1, 2, 4], "failures": [0, 3]}


@pytest.mark.parametrize(("failures", "broken", "status"), [
    (Failures(count=1), (2,), "succeeded"),
    (Failures(count=1), (1, 2), "failed"),
    (Failures(share=0.5), (0, 1), "succeeded"),
    (Failures(share=0.5), (0, 1, 2), "failed"),
])  # fmt: skip
def test_a_threshold_tolerates_so_many_and_no_more(monkeypatch, failures, broken, status):
    rig = Rig(monkeypatch, agent_of(failing(*broken), failures=failures))
    job = rig.submit("crunch", {"n": 5})
    rig.run()
    assert rig.job(job).status == status


def test_an_item_that_lost_its_worker_is_run_again_and_its_zombie_writes_nothing(monkeypatch):
    rig = None

    def work(ctx):
        if ctx.item == 1 and ctx.attempt == 1:
            rig.sql("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE job_id = :id AND item = 2",
                    id=ctx.job_id)  # fmt: skip
            duties.return_lost_leases()
            return -1
        return ctx.item

    rig = Rig(monkeypatch, agent_of(work))
    job = rig.submit("crunch")
    for _ in range(3):
        rig.run()
        duties.refill_rings()
        duties.settle_parts()
    assert rig.job(job).output["values"] == [0, 1, 2]


def test_a_worker_that_dies_before_it_settles_leaves_that_to_the_dispatcher(monkeypatch):
    rig = Rig(monkeypatch, agent_of(square))
    job = rig.submit("crunch")
    with monkeypatch.context() as dead:
        dead.setattr(fan_out, "settle_items", lambda _: None)
        rig.run()
    assert rig.job(job).status == "running"
    assert duties.settle_parts() == 1
    assert duties.settle_parts() == 0
    rig.run()
    assert rig.job(job).status == "succeeded"


def test_a_map_that_cannot_be_settled_takes_nothing_from_its_items_turn_nor_from_other_maps(monkeypatch):
    rig = Rig(monkeypatch, agent_of(square))
    broken, fine = rig.submit("crunch", {"n": 1}), rig.submit("crunch", {"n": 1})
    settle_head, is_back = fan_out.settle_head, []

    def away(head):
        if head["job_id"] == broken.id or not is_back:
            raise OSError("the file store is away")
        return settle_head(head)

    monkeypatch.setattr(fan_out, "settle_head", away)
    assert "succeeded" in rig.run()
    duties.refill_rings()
    rig.run()
    assert (rig.job(broken).status, rig.job(fine).status) == ("running", "running")
    is_back.append(True)
    assert duties.settle_parts() == 1
    rig.run()
    assert (rig.job(broken).status, rig.job(fine).status) == ("running", "succeeded")


def test_a_process_remembers_the_progress_of_so_many_maps_and_no_more(monkeypatch):
    monkeypatch.setattr(fan_out, "MOST_REPORTED", 3)
    rig = Rig(monkeypatch, agent_of(square))
    for _ in range(5):
        job = rig.submit("crunch", {"n": 1})
        rig.run()
        assert rig.job(job).status == "succeeded"
        assert len(fan_out._reported) <= 3


def test_two_last_items_on_two_workers_join_once(monkeypatch):
    meet = threading.Barrier(2, timeout=20)

    def work(ctx):
        meet.wait()
        return ctx.item

    rig = Rig(monkeypatch, agent_of(work))
    for _ in range(5):
        job = rig.submit("crunch", {"n": 2})
        rig.run(at_most=1)
        while len(rig.rung) < 2:
            rig.run(at_most=1)
        steps = [rig.rung.popleft().step_id, rig.rung.popleft().step_id]
        workers = [rig.worker(), rig.worker()]
        threads = [threading.Thread(target=w.run, args=(s,)) for w, s in zip(workers, steps, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rig.run()
        assert rig.job(job).output["values"] == [0, 1]
        heads = rig.sql("SELECT count(*) AS n FROM steps WHERE job_id = :id AND name = 'join'", id=job.id)
        assert heads[0]["n"] == 1


def test_cancel_reaches_the_items(monkeypatch):
    rig = None

    def work(ctx):
        if ctx.item == 1:
            service.cancel_job(ctx.job_id, team_id=ctx.team_id, reason="enough")
        return ctx.item

    rig = Rig(monkeypatch, agent_of(work))
    job = rig.submit("crunch", {"n": 50})
    rig.run(at_most=100)
    duties.finish_cancels()
    assert rig.job(job).status == "cancelled"
    open_items = rig.sql("SELECT count(*) AS n FROM steps WHERE job_id = :id AND status IN ('ready', 'running')",
                         id=job.id)  # fmt: skip
    assert open_items[0]["n"] == 0


def test_an_item_may_not_suspend(monkeypatch):
    rig = Rig(monkeypatch, agent_of(lambda _: Ask({"type": "integer"}, "how many?")))
    job = rig.submit("crunch")
    rig.run()
    ended = rig.job(job)
    assert ended.status == "failed"
    assert "an item of a map step returns a value, not WaitFor" in ended.error["message"]


def test_more_items_than_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(fan_out, "MOST_ITEMS", 10)
    rig = Rig(monkeypatch, agent_of(square))
    job = rig.submit("crunch", {"n": 11})
    rig.run()
    assert (rig.job(job).status, rig.job(job).error["code"]) == ("failed", "too-many-items")


@pytest.mark.no_cover  # tracing would take most of its time
def test_ten_thousand_items(monkeypatch):
    rig = Rig(monkeypatch, agent_of(lambda ctx: ctx.item))
    job = rig.submit("crunch", {"n": 10_000})
    for _ in range(2_000):
        rig.run(at_most=1_000)
        if rig.job(job).ended:
            break
        duties.refill_rings()
    assert rig.job(job).output["values"] == list(range(10_000))


def test_a_map_over_the_results_of_a_map(monkeypatch):
    agent = Agent("probe")
    action = agent.action("twice", input=Count, output=Total)

    @action.step
    def numbers(ctx: StepContext[Count]) -> list[int]:
        return list(range(ctx.input.n))

    @action.map(over=numbers, failures=Failures.collect(), retry=Retry(attempts=1))
    def double(ctx: ItemContext[Count, int]) -> int:
        if ctx.value == 1:
            raise Permanent("odd one")
        return 2 * ctx.value

    @action.map(over=double)
    def add(ctx: ItemContext[Count, int]) -> int:
        return ctx.value + 1

    @action.step
    def join(ctx: StepContext[Count]) -> Total:
        outcomes = list(ctx.result(double).outcomes())
        assert outcomes[1] == ItemFailed(index=1, code="permanent", message="odd one")
        return Total(values=list(ctx.result(add)))

    rig = Rig(monkeypatch, agent)
    job = rig.submit("twice", {"n": 4})
    rig.run()
    assert rig.job(job).output["values"] == [1, 5, 7]


def test_a_map_is_declared_over_an_earlier_step_and_never_last():
    agent = Agent("probe")
    action, other = agent.action("a", input=Count, output=Total), agent.action("b", input=Count, output=Total)

    @action.step
    def numbers(ctx: StepContext[Count]) -> list[int]:
        return list(range(ctx.input.n))

    with pytest.raises(ValueError, match=r"earlier step of probe\.b"):
        other.map(over=numbers)(lambda ctx: ctx.value)

    @action.map(over=numbers)
    def double(ctx: ItemContext[Count, int]) -> int:
        return 2 * ctx.value

    with pytest.raises(ValueError, match="a step must follow the map step double"):
        _ = action.spec


def test_what_is_no_list_cannot_be_mapped_over(monkeypatch):
    agent = Agent("probe")
    action = agent.action("crunch", input=Count, output=Total)

    @action.step
    def one(ctx: StepContext[Count]) -> int:
        return ctx.input.n

    @action.map(over=one)
    def each(ctx):
        return 1

    @action.step
    def join(ctx: StepContext[Count]) -> Total:
        return Total(values=list(ctx.result(each)))

    rig = Rig(monkeypatch, agent)
    job = rig.submit("crunch")
    rig.run()
    assert (rig.job(job).error["code"], rig.job(job).status) == ("map-over", "failed")


def test_a_retry_of_the_job_runs_only_the_items_that_have_not_succeeded(monkeypatch):
    seen, mended = [], []

    def work(ctx):
        seen.append(ctx.idempotency_key)
        if ctx.item == 2 and not mended:
            raise Permanent("torn")
        return ctx.item

    rig = Rig(monkeypatch, agent_of(work))
    job = rig.submit("crunch", {"n": 4})
    rig.run()
    assert rig.job(job).status == "failed"
    done, mended[:] = len(seen), [True]
    retry = go_on(job.id, Wish(), team_id=rig.team_id).job
    rig.run()
    assert rig.job(retry).output["values"] == [0, 1, 2, 3]
    again = seen[done:]
    assert seen[2] in again
    assert len(set(seen)) == 4
    assert len(seen) == len(set(seen)) + 1


def test_a_fork_behind_a_fan_out_takes_its_items_over_with_the_failed_ones(monkeypatch):
    rig = Rig(monkeypatch, agent_of(failing(3), failures=Failures.collect()))
    job = rig.submit("crunch", {"n": 4})
    rig.run()
    fork = go_on(job.id, Wish(fork=True, from_step="join"), team_id=rig.team_id).job
    assert len(rig.rung) == 1
    rig.run()
    assert rig.job(fork).output == {"values": [0, 1, 2], "failures": [3]}
