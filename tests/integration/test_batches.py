"""Batches: all or nothing, one key, watched and cancelled as one, completed once."""

import json
import threading
from datetime import timedelta

import marshmallow as ma
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.agents import StepContext, WaitFor
from agora.batches import duties, service
from agora.batches.duties import CompleteBatches
from agora.clock import now
from agora.dispatcher.duties import finish_cancels, refill_rings, release_due
from agora.errors import IllegalTransition, Invalid
from agora.idempotency.keys import IdempotencyKey
from agora.jobs import service as jobs
from agora.jobs.types import JobFilter, Submission
from agora.settings import get_settings
from agora.webhooks.service import create_endpoint, list_deliveries
from agora.webhooks.types import DeliveryFilter, InlineWebhook, NewEndpoint
from api.app import create_app
from api.schemas.batches import load, plain
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig


def first(ctx: StepContext[Number]) -> int:
    return ctx.input.n


def second(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n * 2)


def ask(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?")


def answered(_: StepContext[Number]) -> Number:
    return Number()


@pytest.fixture
def rig(db, monkeypatch):
    return Rig(monkeypatch, agent_with(double=[first, second], asking=[ask, answered]))


def some(rig, count, action="double", **options):
    return [Submission(agent=rig.agent.name, action=action, input={"n": n}, **options) for n in range(count)]


def submit(rig, submissions, **options):
    return service.submit_batch(submissions, team_id=rig.team_id, **options)


def run_all(rig):
    while rig.run(at_most=10_000) or refill_rings():
        pass


def test_a_thousand_jobs_are_accepted_run_and_completed(rig):
    made = submit(rig, some(rig, 1000), metadata={"order": 7})
    assert (made.batch.size, made.batch.counts, made.batch.status) == (1000, {"queued": 1000}, "running")
    assert len(rig.rung) == get_settings().ring_window, "only what has room is rung"
    run_all(rig)
    assert CompleteBatches()() == 1
    batch = service.get_batch(made.batch.id, team_id=rig.team_id)
    assert (batch.status, batch.counts, batch.progress) == ("completed", {"succeeded": 1000}, 1.0)
    outputs = [jobs.get_job(job_id, team_id=rig.team_id).output["n"] for job_id in made.job_ids[::100]]
    assert outputs == [n * 2 for n in range(0, 1000, 100)]


def test_each_job_has_its_first_event_and_its_batch(rig):
    made = submit(rig, some(rig, 3, priority=8, metadata={"a": 1}))
    job = jobs.get_job(made.job_ids[1], team_id=rig.team_id)
    assert (job.batch_id, job.priority, job.metadata, job.input) == (made.batch.id, 8, {"a": 1}, {"n": 1})
    (created,) = jobs.list_events(job.id, team_id=rig.team_id)
    assert (created.type, created.data["batch_id"]) == ("job.created", made.batch.id)
    listed = jobs.list_jobs(JobFilter(batch_id=made.batch.id), team_id=rig.team_id).items
    assert [one.id for one in listed] == list(reversed(made.job_ids))


def test_one_fault_refuses_all_and_each_is_named(rig):
    submissions = some(rig, 5)
    submissions[2] = Submission(agent=rig.agent.name, action="double", input={"n": "x"})
    submissions[4] = Submission(agent="nobody", action="double", input={})
    with pytest.raises(Invalid) as refused:
        submit(rig, submissions)
    assert [error.pointer for error in refused.value.errors] == ["/jobs/2/input/n", "/jobs/4/agent"]
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 0
    assert rig.sql("SELECT count(*) AS n FROM batches")[0]["n"] == 0


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_one_to_a_thousand_jobs(rig, count):
    with pytest.raises(Invalid) as refused:
        submit(rig, some(rig, count))
    assert refused.value.errors[0].pointer == "/jobs"


def test_a_job_of_a_batch_has_no_webhook_of_its_own(rig):
    with pytest.raises(Invalid) as refused:
        submit(rig, some(rig, 1, webhook=InlineWebhook(url="https://example.com/")))
    assert refused.value.errors[0].pointer == "/jobs/0/webhook"


def test_one_key_makes_one_batch_however_many_send_it_at_once(rig):
    key = IdempotencyKey(key="k", route="POST /batches", fingerprint="f")
    made, start = [], threading.Barrier(8)

    def send():
        start.wait(10)
        made.append(submit(rig, some(rig, 20), idempotency=key))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({one.batch.id for one in made}) == 1
    assert sorted(one.replayed for one in made) == [False] + [True] * 7
    assert len({tuple(one.job_ids) for one in made}) == 1, "a repeat names the jobs in the same order"
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 20


def test_scheduled_jobs_of_a_batch_wait_for_their_time(rig):
    made = submit(rig, [*some(rig, 2), *some(rig, 2, run_at=now() + timedelta(hours=1))])
    assert made.batch.counts == {"queued": 2, "scheduled": 2}
    run_all(rig)
    assert service.get_batch(made.batch.id, team_id=rig.team_id).counts == {"succeeded": 2, "scheduled": 2}
    assert CompleteBatches()() == 0
    rig.sql("UPDATE steps SET run_at = now() WHERE status = 'ready'")
    assert release_due() == 2
    run_all(rig)
    assert CompleteBatches()() == 1


def test_a_cancelled_batch_ends_in_slices_and_spares_what_has_ended(rig, monkeypatch):
    monkeypatch.setattr(duties, "SLICE", 4)
    asking = submit(rig, [*some(rig, 2), *some(rig, 3, "asking")]).batch.id
    run_all(rig)
    more = submit(rig, some(rig, 6)).batch.id
    for batch_id in (asking, more):
        cancelling = service.cancel_batch(batch_id, team_id=rig.team_id, reason="enough")
        assert cancelling.status == "cancelling"
    done = [duties.cancel_batches() for _ in range(4)]
    assert done == [4, 4, 1, 0]
    assert CompleteBatches()() == 2
    assert service.get_batch(asking, team_id=rig.team_id).counts == {"succeeded": 2, "cancelled": 3}
    assert service.get_batch(more, team_id=rig.team_id).counts == {"cancelled": 6}
    job = jobs.list_jobs(JobFilter(batch_id=more), team_id=rig.team_id).items[0]
    assert jobs.list_events(job.id, team_id=rig.team_id)[-1].data["reason"] == "enough"
    with pytest.raises(IllegalTransition):
        service.cancel_batch(more, team_id=rig.team_id)


def test_a_running_job_of_a_cancelled_batch_is_asked_once(rig):
    made = submit(rig, some(rig, 1))
    claims = rig.engine.claimer.one(rig.rung.popleft().step_id).claims
    service.cancel_batch(made.batch.id, team_id=rig.team_id)
    assert [duties.cancel_batches(), duties.cancel_batches()] == [1, 0]
    assert CompleteBatches()() == 0, "its step still runs"
    rig.sql("UPDATE steps SET status = 'ready', fence = NULL WHERE id = :id", id=claims[0].step_id)
    assert finish_cancels() == 1
    assert CompleteBatches()() == 1


def test_completion_is_told_once_though_two_dispatchers_look(rig):
    created = create_endpoint(
        NewEndpoint(url="https://example.com/", event_types=("batch.completed", "job.created")), team_id=rig.team_id
    )
    made = submit(rig, some(rig, 3), metadata={"order": 7})
    run_all(rig)
    ended, start = [], threading.Barrier(4)

    def look():
        start.wait(10)
        ended.append(CompleteBatches()())

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ended) == [0, 0, 0, 1]
    (event,) = rig.sql("SELECT data FROM events WHERE type = 'batch.completed'")
    assert event["data"]["counts"] == {"succeeded": 3}
    deliveries = list_deliveries(DeliveryFilter(endpoint=created.endpoint.id), team_id=rig.team_id).items
    assert sorted(one.event_type for one in deliveries) == ["batch.completed"] + ["job.created"] * 3
    bodies = [json.loads(one.body) for one in deliveries if one.event_type == "job.created"]
    assert {body["data"]["job_id"] for body in bodies} == set(made.job_ids)
    assert {one.job_id for one in deliveries if one.event_type == "job.created"} == set(made.job_ids)


def test_open_batches_are_looked_at_in_turn(rig, monkeypatch):
    monkeypatch.setattr(duties, "LOOKED_AT", 2)
    waiting = [submit(rig, some(rig, 1, "asking")) for _ in range(3)]
    quick = submit(rig, some(rig, 1))
    run_all(rig)
    look = CompleteBatches()
    assert [look(), look()] == [0, 1], "two that wait for ever do not hide the others"
    assert service.get_batch(quick.batch.id, team_id=rig.team_id).status == "completed"
    assert service.get_batch(waiting[0].batch.id, team_id=rig.team_id).status == "running"


def test_over_http(rig):
    caller = Caller(create_app())
    job = {"agent": rig.agent.name, "action": "double", "input": {"n": 3}}
    sent = {"jobs": [job, {**job, "run_at": "2100-01-01T00:00:00Z"}], "metadata": {"a": 1}}
    headers = {"Idempotency-Key": "once"}
    answer = caller.post("/api/v1/batches", json=sent, headers=headers)
    assert (answer.status_code, answer.json["counts"]) == (202, {"queued": 1, "scheduled": 1})
    again = caller.post("/api/v1/batches", json=sent, headers=headers)
    assert (again.headers["Idempotent-Replayed"], again.json["job_ids"]) == ("true", answer.json["job_ids"])
    assert (
        caller.post("/api/v1/batches", json={"jobs": [job]}, headers=headers).json["code"] == "idempotency-key-reused"
    )
    shown = caller.get(answer.headers["Location"]).json
    assert (shown["size"], shown["metadata"], shown["status"]) == (2, {"a": 1}, "running")
    assert len(caller.get(shown["links"]["jobs"]).json["items"]) == 2
    assert [one["id"] for one in caller.get("/api/v1/batches").json["items"]] == [shown["id"]]
    assert caller.post(f"{answer.headers['Location']}/cancel").json["status"] == "cancelling"
    assert Caller(create_app(), team="other").get(answer.headers["Location"]).status_code == 404


@pytest.mark.parametrize(
    ("job", "pointer"),
    [
        ({"action": "double", "input": {}}, "/jobs/1/agent"),
        ({"agent": "probe", "action": "double", "input": {"n": "x"}}, "/jobs/1/input/n"),
        ({"agent": "probe", "action": "double", "input": {}, "priority": 10}, "/jobs/1/priority"),
        ({"agent": "probe", "action": "double", "input": {}, "webhook": {"url": "https://x/"}}, "/jobs/1/webhook"),
        ({"agent": "probe", "action": "double", "input": {}, "surprise": 1}, "/jobs/1/surprise"),
        ({"agent": "probe", "action": "double", "input": {}, "metadata": {"x": "y" * 20_000}}, "/jobs/1/metadata"),
        ("no job", "/jobs/1"),
    ],
)
def test_bad_jobs_of_a_batch_name_the_field(rig, job, pointer):
    good = {"agent": "probe", "action": "double", "input": {}}
    refused = Caller(create_app()).post("/api/v1/batches", json={"jobs": [good, job]})
    assert refused.status_code == 422
    assert refused.json["errors"][0]["pointer"].startswith(pointer)
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 0


def mostly(usual, *others):
    return st.one_of(*[usual] * 5, *others)


NAMES = mostly(st.text(min_size=1, max_size=3), st.just(""), st.just("n" * 101), st.none(), st.integers())
JOBS = st.fixed_dictionaries(
    {
        "agent": NAMES,
        "action": NAMES,
        "input": mostly(st.dictionaries(st.text(max_size=2), st.integers()), st.none(), st.text(max_size=1)),
    },
    optional={
        "version": mostly(st.integers(1, 9), st.sampled_from([-1, 0, 1_000_001, True, None, 1.0])),
        "priority": mostly(st.integers(0, 9), st.sampled_from([-1, 10, True, None, "1", 1.5])),
        "metadata": mostly(
            st.dictionaries(st.text(min_size=1, max_size=2), st.integers()), st.just({"": 1}), st.none()
        ),
    },
)


@settings(max_examples=500, deadline=None)
@given(JOBS)
def test_what_is_looked_through_by_hand_is_what_the_schema_loads(job):
    found = plain(job)
    try:
        loaded = load(job)
    except ma.ValidationError:
        loaded = None
    assert found in (None, loaded)
    ordinary = job.get("version", 1) is not None
    assert found is not None or loaded is None or not ordinary, "an ordinary job goes the quick way"


def test_a_batch_may_be_longer_than_a_single_request_and_has_a_limit_of_its_own(rig):
    caller = Caller(create_app())
    job = {"agent": rig.agent.name, "action": "double", "input": {"n": 1, "rest": "x" * 20_000}}
    assert get_settings().max_body_bytes < 100 * 20_000 < get_settings().max_batch_bytes
    assert caller.post("/api/v1/batches", json={"jobs": [job] * 100}).status_code == 202
    job["input"]["rest"] = "x" * (get_settings().max_batch_bytes // 10)
    refused = caller.post("/api/v1/batches", json={"jobs": [job] * 11})
    assert (refused.status_code, refused.json["code"]) == (413, "too-large")
