"""Queues that are paused, what they say of themselves, and why a job waits."""

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest

from agora.agents import Retry, StepContext, Transient
from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import duties, queries
from agora.errors import NotFound
from agora.jobs import limits, manned, queues, ring_queries
from agora.jobs.concurrency import Concurrency
from api.app import create_app
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")

SCALED_BY = ("age_seconds", "work_seconds")
"""What autoscalers look at."""


def plain(ctx: StepContext[Number]) -> Number:
    return ctx.input


def begin(ctx: StepContext[Number]) -> int:
    if ctx.input.n == 2:
        queues.pause("cpu", reason="deploy")
    return 1


def flaky(ctx: StepContext[Number]) -> Number:
    raise Transient("not yet")


@pytest.fixture
def rig(monkeypatch):
    retry = {"retry": Retry(attempts=3, first=timedelta(minutes=5))}
    return Rig(monkeypatch, agent_with(plain=[plain], two=[begin, plain], flaky=[(flaky, retry)]))


def test_a_paused_queue_begins_nothing_and_goes_on_when_it_is_resumed(rig):
    before = rig.submit("plain")
    queues.pause("cpu", reason="deploy")
    assert rig.run() == [None], "a ring from before is not answered"
    during = rig.submit("plain")
    assert not rig.rung
    assert rig.engine.claimer.some(queue="cpu", quick=["probe.plain.plain"], count=5).claims == []
    duties.refill_rings()
    assert not rig.rung
    queues.resume("cpu")
    rig.run()
    assert [rig.job(job).status for job in (before, during)] == ["succeeded"] * 2


def test_a_turn_does_not_go_on_with_the_next_step_in_a_queue_that_was_paused_meanwhile(rig):
    job = rig.submit("two", {"n": 2})
    rig.run()
    steps = rig.job(job).steps
    assert [(step.name, step.status) for step in steps] == [("begin", "succeeded"), ("plain", "ready")]
    queues.resume("cpu")
    rig.run()
    assert rig.job(job).status == "succeeded"


def test_a_pause_makes_nobody_deaf_and_nobody_busy(rig):
    rig.submit("plain")
    queues.pause("cpu")
    rig.sql("UPDATE steps SET run_at = run_at - interval '1 h', rung_at = now() - interval '1 h'")
    with transaction() as session:
        assert not ring_queries.has_unheard(session, queues=["cpu"], seconds=30)
    rig.rung.clear()
    duties.rering_unheard()
    assert not rig.rung
    with transaction() as session:
        assert queries.next_due(session)[0] is None, "the dispatcher sleeps"


def test_the_other_queue_is_not_touched_and_an_unknown_one_is_refused(rig):
    queues.pause("io")
    rig.submit("plain")
    assert rig.run() == ["succeeded"]
    with pytest.raises(NotFound, match="only cpu, io"):
        queues.pause("gpu")


def test_a_queue_says_how_much_work_it_holds(rig):
    rig.submit("plain")
    rig.run()
    rig.sql("UPDATE steps SET started_at = ended_at - interval '2 s'")
    rig.submit("plain", run_at=now() + timedelta(hours=1))
    limits.put_limit("probe.two", team_id=rig.team_id, max_running=1)
    for _ in range(2):
        rig.submit("two")
    for _ in range(3):
        rig.submit("plain")
    rig.sql("UPDATE steps SET run_at = now() - interval '10 s' WHERE status = 'ready' AND held IS NULL")
    found = queues.get_queue("cpu")
    assert found.due + found.rung == 4
    assert dict(found.held) == {"time": 1, "limit": 1, "worker": 0}
    assert 10 <= found.age_seconds < 60
    assert found.step_seconds == pytest.approx(2, abs=0.1)
    assert found.work_seconds == pytest.approx(8, abs=0.5)
    page = create_app().test_client().get("/metrics").text
    assert 'agora_queue_held_steps{queue="cpu",reason="limit"} 1.0' in page
    assert 'agora_queue_ready_steps{queue="cpu"} 4.0' in page
    told = {name: float(re.search(rf'agora_queue_{name}{{queue="cpu"}} (\S+)', page)[1]) for name in SCALED_BY}
    assert 10 <= told["age_seconds"] < 60
    assert told["work_seconds"] == pytest.approx(8, abs=0.5)


def waits(rig, job):
    found = rig.job(job).waits
    return found and SimpleNamespace(**found)


def test_a_job_says_why_it_waits(rig):
    later = rig.submit("plain", run_at=now() + timedelta(hours=1))
    assert (waits(rig, later).reason, waits(rig, later).until) == ("scheduled", later.run_at)
    failing = rig.submit("flaky")
    rig.run()
    found = waits(rig, failing)
    assert found.reason == "retry"
    assert found.until > now() + timedelta(minutes=2)
    holder, second, third = (rig.submit("plain", concurrency=Concurrency(key="k")) for _ in range(3))
    found = waits(rig, third)
    assert (found.reason, found.ahead, found.more) == ("concurrency", 1, False)
    assert (found.limit["key"], found.limit["max_running"], found.limit["holders"]) == ("k", 1, [holder.id])
    assert waits(rig, holder).reason == "queue"
    rig.run()
    assert [waits(rig, job) for job in (holder, second, third)] == [None] * 3


def test_a_due_job_says_how_many_of_its_team_are_ahead(rig):
    jobs = [rig.submit("plain") for _ in range(3)]
    rig.sql("UPDATE steps SET rung_at = NULL")
    assert [waits(rig, job).ahead for job in jobs] == [0, 1, 2]
    queues.pause("cpu", reason="deploy")
    found = waits(rig, jobs[0])
    assert (found.reason, found.detail) == ("paused", "deploy")


def test_a_job_at_a_rate_limit_says_until_when(rig):
    limits.put_limit("probe", team_id=rig.team_id, rate=0.01)
    rig.submit("plain")
    found = waits(rig, rig.submit("plain"))
    assert (found.reason, found.limit["target"]) == ("rate", "probe")
    assert timedelta(seconds=60) < found.until - now() <= timedelta(seconds=100)


def test_a_job_that_nobody_can_run_says_so(rig):
    rig.sql("UPDATE workers SET seen_at = now() - interval '1 h'")
    manned.forget()
    job = rig.submit("plain")
    duties.refill_rings()
    assert rig.sql("SELECT held FROM steps WHERE job_id = :id", id=job.id)[0]["held"] == "worker"
    assert waits(rig, job).reason == "no-worker"


def test_limits_by_the_api(rig):
    caller = Caller(create_app())
    rig.team_id = caller.team_id
    made = caller.put("/api/v1/limits/probe.plain", json={"max_running": 1, "rate": 5})
    assert made.status_code == 200
    assert (made.json["target"], made.json["owner"], made.json["burst"]) == ("probe.plain", "team", 5)
    jobs = [rig.submit("plain") for _ in range(2)]
    (listed,) = caller.get("/api/v1/limits").json["items"]
    assert (listed["running"], listed["waiting"]) == (1, 1)
    shown = caller.get(f"/api/v1/jobs/{jobs[1].id}").json["waits"]
    assert (shown["reason"], shown["limit"]["target"], shown["ahead"]) == ("concurrency", "probe.plain", 0)
    assert caller.delete("/api/v1/limits/probe.plain").status_code == 204
    assert caller.get("/api/v1/limits/probe.plain").status_code == 404
    refused = caller.put("/api/v1/limits/probe", json={})
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/max_running")


def test_a_team_sees_the_operators_limits_and_cannot_lift_them(rig):
    caller = Caller(create_app())
    limits.put_limit("probe", team_id=None, max_running=7)
    (listed,) = caller.get("/api/v1/limits").json["items"]
    assert (listed["owner"], listed["max_running"]) == ("operator", 7)
    assert caller.delete("/api/v1/limits/probe").status_code == 404
    limits.delete_limit("probe", team_id=None)
    assert caller.get("/api/v1/limits").json["items"] == []


def test_a_queue_is_paused_only_with_a_scope_that_was_named(rig):
    app = create_app()
    refused = Caller(app).post("/api/v1/queues/cpu/pause")
    assert (refused.status_code, refused.json["needed"]) == (403, "queues:write")
    operator = Caller(app, team="ops", scopes=("jobs:read", "queues:write"))
    assert operator.post("/api/v1/queues/cpu/pause", json={"reason": "deploy"}).json["reason"] == "deploy"
    assert [one["name"] for one in operator.get("/api/v1/queues").json["items"] if one["paused_at"]] == ["cpu"]
    assert operator.post("/api/v1/queues/cpu/resume").json["paused_at"] is None
    assert operator.post("/api/v1/queues/gpu/resume").status_code == 404


def test_a_submit_with_a_key_by_the_api(rig):
    caller = Caller(create_app())
    body = {"agent": "probe", "action": "plain", "input": {}, "concurrency_key": "k", "concurrency_policy": "reject"}
    assert caller.post("/api/v1/jobs", json=body).status_code == 202
    refused = caller.post("/api/v1/jobs", json=body)
    assert (refused.status_code, refused.json["code"], refused.json["limit"]) == (409, "concurrency-limit", 1)
    wrong = caller.post("/api/v1/jobs", json=body | {"concurrency_policy": "maybe"})
    assert wrong.json["errors"][0]["pointer"] == "/concurrency_policy"
