"""A job knows the request that made it, whichever way it came, and so do the log lines of its steps."""

import logging

import pytest
import structlog

from agora.agents import Child, Permanent, Retry, Spawn, StepContext
from agora.bulk import duties as bulk_duties
from agora.client import Agora
from agora.jobs import engine, settle
from agora.schedules import firing
from agora.telemetry import get_logger
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig
from tests.support.server import served

JOBS = "/api/v1/jobs"


def tell(ctx: StepContext[Number]) -> Number:
    ctx.log.info("working", n=ctx.input.n)
    return ctx.input


def fail(ctx: StepContext[Number]) -> Number:
    ctx.log.info("working", n=ctx.input.n)
    raise Permanent("no", code="no")


def spawn(_: StepContext[Number]) -> Spawn:
    return Spawn([Child(agent="probe", action="plain", input={"n": n}) for n in (1, 2)])


def gather(_: StepContext[Number]) -> Number:
    return Number()


@pytest.fixture
def rig(db, monkeypatch, caller):
    once = {"retry": Retry(attempts=1)}
    made = Rig(monkeypatch, agent_with(plain=[tell], failing=[(fail, once)], parent=[(spawn, once), gather]))
    made.team_id = caller.team_id
    return made


def submit(caller, request_id, action="plain", *, path=JOBS, headers=None, **more):
    body = {"agent": "probe", "action": action, "input": {}, **more}
    return caller.post(path, json=body, headers={"X-Request-Id": request_id} | (headers or {}))


def shown(caller, job_id):
    return caller.get(f"{JOBS}/{job_id}").json["request_id"]


def stored(rig, where="true"):
    return [row["request_id"] for row in rig.sql(f"SELECT request_id FROM jobs WHERE {where} ORDER BY id")]


def test_a_job_shows_the_request_that_made_it(caller, rig):
    made = submit(caller, "r-1")
    assert (made.status_code, made.json["request_id"]) == (202, "r-1")
    assert shown(caller, made.json["id"]) == "r-1"
    assert [one["request_id"] for one in caller.get(f"{JOBS}?fields=request_id").json["items"]] == ["r-1"]
    own = caller.post(JOBS, json={"agent": "probe", "action": "plain", "input": {}})
    assert own.headers["X-Request-Id"].startswith("req_")
    assert shown(caller, own.json["id"]) == own.headers["X-Request-Id"]


@pytest.mark.parametrize("request_id", ["r", "r" * 100])
def test_the_shortest_and_the_longest_id_are_kept_whole(caller, rig, request_id):
    assert shown(caller, submit(caller, request_id).json["id"]) == request_id


def test_an_id_that_is_none_is_not_kept(caller, rig):
    for given in ("r" * 101, "a b", "ü"):
        made = submit(caller, given.encode().decode("latin-1"))
        assert shown(caller, made.json["id"]) == made.headers["X-Request-Id"] != given


@pytest.mark.parametrize(
    "more", [{"concurrency_key": "k"}, {"unique": {"key": "k"}}, {"webhook": {"url": "http://127.0.0.1:9/hook"}}]
)
def test_also_one_that_takes_a_transaction_of_its_own(caller, rig, more):
    made = submit(caller, "r-1", **more)
    assert (made.status_code, shown(caller, made.json["id"])) == (202, "r-1")


def test_a_repeat_and_a_twin_show_the_first_request(caller, rig):
    first, again = (submit(caller, f"r-{n}", headers={"Idempotency-Key": "once"}) for n in (1, 2))
    assert (again.headers["Idempotent-Replayed"], again.json["id"]) == ("true", first.json["id"])
    assert (again.headers["X-Request-Id"], again.json["request_id"]) == ("r-2", "r-1")
    twins = [submit(caller, f"r-{n}", unique={"key": "k"}).json for n in (3, 4)]
    assert [one["request_id"] for one in twins] == ["r-3", "r-3"]


def test_jobs_of_a_batch_have_its_request(caller, rig):
    jobs = [{"agent": "probe", "action": "plain", "input": {"n": n}} for n in range(3)]
    made = caller.post("/api/v1/batches", json={"jobs": jobs}, headers={"X-Request-Id": "r-1"}).json
    assert [shown(caller, job_id) for job_id in made["job_ids"]] == ["r-1"] * 3
    jobs[1]["request_id"] = "mine"
    refused = caller.post("/api/v1/batches", json={"jobs": jobs})
    assert refused.json["errors"][0]["pointer"] == "/jobs/1/request_id"


def test_a_retry_and_a_fork_have_their_own_request(caller, rig):
    old = submit(caller, "r-1", "failing").json["id"]
    rig.run()
    retried = caller.post(f"{JOBS}/{old}/retry", json={}, headers={"X-Request-Id": "r-2"})
    forked = caller.post(f"{JOBS}/{old}/fork", json={"from_step": "fail"}, headers={"X-Request-Id": "r-3"})
    assert [shown(caller, one.json["id"]) for one in (retried, forked)] == ["r-2", "r-3"]
    assert shown(caller, old) == "r-1"


def test_children_have_that_of_their_parent(caller, rig):
    parent = submit(caller, "r-1", "parent").json["id"]
    rig.run()
    assert caller.get(f"{JOBS}/{parent}").json["status"] == "succeeded"
    assert stored(rig, f"parent_id = '{parent}'") == ["r-1", "r-1"]


def test_a_schedule_that_is_run_has_the_request_and_one_that_fires_has_none(caller, rig):
    body = {"name": "s", "agent": "probe", "action": "plain", "every": 60}
    ref = caller.post("/api/v1/schedules", json=body, headers={"X-Request-Id": "r-1"}).json["id"]
    run = caller.post(f"/api/v1/schedules/{ref}/run", headers={"X-Request-Id": "r-2"}).json
    assert shown(caller, run["id"]) == "r-2"
    rig.sql("UPDATE schedules SET next_fire_at = now() - interval '1 second'")
    assert firing.fire_schedules() == 1
    assert stored(rig, f"id <> '{run['id']}'") == [None]


def test_a_bulk_retry_is_the_dispatcher_s_and_has_none(caller, rig):
    old = submit(caller, "r-1", "failing").json["id"]
    rig.run()
    asked = {"action": "retry", "filter": {"agent": "probe"}}
    assert caller.post("/api/v1/bulk", json=asked, headers={"X-Request-Id": "r-2"}).status_code == 202
    while bulk_duties.work_off():
        pass
    assert stored(rig, f"retry_of = '{old}'") == [None]


@pytest.fixture
def lines(rig, monkeypatch):
    """What the engine and its steps log from now on."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    for module in (engine, settle):
        monkeypatch.setattr(module, "log", get_logger(module.__name__))  # the one of before may have kept its level
    with structlog.testing.capture_logs() as found:
        yield found
    structlog.configure(**before)


def test_the_lines_of_its_steps_have_it(caller, rig, lines):
    made = submit(caller, "r-1").json["id"]
    failing = submit(caller, "r-2", "failing").json["id"]
    rig.run()
    told = {(one["event"], one["job_id"], one["request_id"]) for one in lines if "job_id" in one}
    assert told == {(event, *of) for event in ("working", "step ended") for of in ((made, "r-1"), (failing, "r-2"))}


def test_the_lines_of_a_job_that_no_request_made_say_nothing_of_one(rig, lines):
    job = rig.submit("plain")
    rig.run()
    assert rig.job(job).request_id is None
    assert {"job_id", "request_id"} & set().union(*lines) == {"job_id"}


def test_it_is_in_the_job_and_not_in_what_webhooks_tell(app, caller, rig):
    made = submit(caller, "r-secret").json["id"]
    rig.run()
    assert "r-secret" not in caller.get(f"{JOBS}/{made}/events").text
    with served(app) as url, Agora(url, caller.key) as api:
        assert api.get_job(made)["request_id"] == "r-secret"
    assert Caller(app, team="other").get(f"{JOBS}/{made}").status_code == 404
