"""Budgets over HTTP: given with a job, shown with it, approved by those who may."""

import pytest

from agora.agents import StepContext
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


def pay(ctx: StepContext[Number]) -> int:
    ctx.use(tokens_in=60, cost_usd="0.25", model="m")
    ctx.partial({"paid": ctx.input.n})
    return 1


def end(_: StepContext[Number]) -> Number:
    return Number()


@pytest.fixture
def rig(monkeypatch, caller):
    made = Rig(monkeypatch, agent_with(chain=[pay, end]))
    made.team_id = caller.team_id
    return made


def submit(caller, budget):
    body = {"agent": "probe", "action": "chain", "input": {}, "budget": budget}
    return caller.post("/api/v1/jobs", json=body)


def test_a_job_over_its_budget_is_shown_and_approved(rig, caller):
    made = submit(caller, {"max_cost_usd": "0.2", "on_exceeded": "ask"})
    assert (made.status_code, made.json["budget"]) == (202, {"max_cost_usd": "0.2", "on_exceeded": "ask"})
    rig.run()
    path = f"/api/v1/jobs/{made.json['id']}"
    waiting = caller.get(path).json
    assert waiting["status"] == "waiting"
    assert {"reason", "since", "step", "approval", "budget"} == set(waiting["waits"])
    assert waiting["waits"]["budget"] == {"limit": "max_cost_usd", "allowed": "0.2", "used": "0.25"}
    assert waiting["usage"]["cost_usd"] == "0.25"
    assert waiting["steps"][0]["usage"][0]["model"] == "m"
    assert waiting["partial_output"] == {"paid": 1}
    low = caller.post(f"{path}/approve", json={"budget": {"max_cost_usd": "0.24"}})
    assert (low.status_code, low.json["errors"][0]["pointer"]) == (422, "/budget/max_cost_usd")
    body = {"budget": {"max_cost_usd": "0.3"}, "approval": waiting["waits"]["approval"]}
    for _ in range(2):
        approved = caller.post(f"{path}/approve", json=body)
        assert (approved.status_code, approved.json["budget"]["max_cost_usd"]) == (200, "0.3")
    rig.run()
    assert caller.get(path).json["status"] == "succeeded"


def test_an_approval_takes_a_scope_of_its_own(rig, app, caller):
    job_id = submit(caller, {"max_tokens": 1, "on_exceeded": "ask"}).json["id"]
    rig.run()
    agent = Caller(app, scopes=("jobs:read", "jobs:write"))
    assert agent.post(f"/api/v1/jobs/{job_id}/approve", json={}).status_code == 403
    other = Caller(app, team="other")
    assert other.post(f"/api/v1/jobs/{job_id}/approve", json={}).status_code == 404
    assert caller.post(f"/api/v1/jobs/{job_id}/approve").status_code == 200
    running = submit(caller, {"max_tokens": 1000}).json["id"]
    refused = caller.post(f"/api/v1/jobs/{running}/approve")
    assert (refused.status_code, refused.json["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("budget", "pointer"),
    [
        ({}, "/budget"),
        ({"max_tokens": 0}, "/budget/max_tokens"),
        ({"max_tokens": 1.5}, "/budget/max_tokens"),
        ({"max_cost_usd": "free"}, "/budget/max_cost_usd"),
        ({"max_cost_usd": "NaN"}, "/budget/max_cost_usd"),
        ({"max_cost_usd": 0.1}, "/budget/max_cost_usd"),
        ({"max_cost_usd": "0"}, "/budget/max_cost_usd"),
        ({"max_run_seconds": -1}, "/budget/max_run_seconds"),
        ({"queue_timeout": 0}, "/budget/queue_timeout"),
        ({"max_tokens": 1, "on_exceeded": "maybe"}, "/budget/on_exceeded"),
        ({"max_token": 1}, "/budget/max_token"),
    ],
)
def test_a_wrong_budget_is_refused_by_name(rig, caller, budget, pointer):
    refused = submit(caller, budget)
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, pointer)


def test_a_batch_of_jobs_has_budgets_too(rig, caller):
    job = {"agent": "probe", "action": "chain", "input": {}, "budget": {"max_tokens": 10, "queue_timeout": 5}}
    made = caller.post("/api/v1/batches", json={"jobs": [job, {**job, "budget": {"max_tokens": 1000}}]}).json
    rig.run()
    first, second = (caller.get(f"/api/v1/jobs/{job_id}").json for job_id in made["job_ids"])
    assert (first["status"], first["error"]["code"]) == ("failed", "budget-exceeded")
    assert second["status"] == "succeeded"
    (row,) = rig.sql("SELECT extract(epoch FROM start_by - run_at) AS s FROM jobs WHERE start_by IS NOT NULL")
    assert row["s"] == 5
