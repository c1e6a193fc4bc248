"""Full payloads: the job's input and output beside ids, status and links, as long as they fit."""

import json

import pytest

from agora.clock import now
from agora.db.session import transaction
from agora.events.types import NewEvent
from agora.webhooks.fan_out_queries import fan_out
from agora.webhooks.full import MAX_BYTES, full_body
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig
from tests.support.webhooks import Team, run_until_ended

pytestmark = pytest.mark.usefixtures("db", "quiet")


@pytest.fixture
def rig(monkeypatch):
    return Rig(monkeypatch, agent_with(double=[lambda ctx: Number(n=ctx.input.n * 2)]))


def of(rig):
    team = Team()
    team.id = rig.team_id
    return team


def bodies(receiver, path):
    return [json.loads(body) for _, body, *_ in receiver.got[path]]


def test_a_full_payload_holds_input_and_output_and_is_the_same_at_each_try(rig, receiver, engines):
    team = of(rig)
    url = receiver.behave("/full", 500, 204)
    team.endpoint(url, payload="full", event_types=("job.succeeded",), schedule=(0.0, 0.0))
    team.endpoint(receiver.url("/thin"), event_types=("job.succeeded",))
    job = rig.submit("double", {"n": 21})
    rig.run()
    run_until_ended(engines(), team)
    first, second = receiver.got["/full"]
    assert first[1] == second[1]
    full, [thin] = json.loads(first[1]), bodies(receiver, "/thin")
    assert full == thin | {"data": thin["data"] | {"input": {"n": 21}, "output": {"n": 42}}}
    assert thin["data"]["job_id"] == job.id


def test_before_its_end_a_job_has_no_output(rig, receiver, engines):
    team = of(rig)
    team.endpoint(receiver.url("/full"), payload="full", event_types=("job.created", "step.succeeded"))
    rig.submit("double", {"n": 21})
    run_until_ended(engines(), team)
    [created] = bodies(receiver, "/full")
    assert (created["data"]["input"], "output" in created["data"]) == ({"n": 21}, False)
    rig.run()
    run_until_ended(engines(), team)
    assert "input" not in bodies(receiver, "/full")[-1]["data"]  # an event about a step is complete as it is


def test_a_job_that_is_gone_and_an_event_without_a_job_leave_the_thin_body(team, receiver, engines):
    team.endpoint(receiver.url("/full"), payload="full")
    team.happen("job.succeeded", job_id="job_gone", data={"job_id": "x"})
    team.happen("schedule.failed", data={"schedule_id": "x"})
    run_until_ended(engines(), team)
    assert [one["data"] for one in bodies(receiver, "/full")] == [{"job_id": "x"}, {"schedule_id": "x"}]


def test_another_teams_job_adds_nothing(rig, team, receiver, engines):
    job = rig.submit("double", {"n": 4711})
    team.endpoint(receiver.url("/full"), payload="full")
    event = NewEvent(type="job.succeeded", data={"job_id": job.id})
    with transaction() as session:
        fan_out(session, team_id=team.id, job_id=job.id, agent="a", events=[event], occurred_at=now())
    run_until_ended(engines(), team)
    assert [one["data"] for one in bodies(receiver, "/full")] == [{"job_id": job.id}]


THIN = json.dumps({"type": "job.succeeded", "timestamp": "t", "data": {"job_id": "j", "links": {"self": "/j"}}})


@pytest.mark.parametrize(
    ("values", "kept", "truncated"),
    [
        ({"input": {"v": 1}, "output": {"v": None}}, {"input": 1, "output": None}, None),
        ({"input": {"v": "x" * MAX_BYTES}, "output": {"v": 2}}, {"output": 2}, ["input"]),
        ({"input": {"v": "é" * 4000}, "output": {"v": 2}}, {"output": 2}, ["input"]),
        ({"input": {"v": "x" * 12_000}, "output": {"v": "y" * 15_000}}, {"input": "x" * 12_000}, ["output"]),
        ({"input": {"ref": "f", "size": 99_999}, "output": {"v": 2}}, {"output": 2}, ["input"]),
        ({"input": {"v": "x" * 30_000}, "output": {"v": "y" * 30_000}}, {}, ["output", "input"]),
        ({}, {}, None),
    ],
)
def test_what_does_not_fit_is_left_out_and_named(values, kept, truncated):
    body = full_body(THIN, values)
    data = json.loads(body)["data"]
    assert len(body) <= MAX_BYTES
    assert {name: data[name] for name in ("input", "output") if name in data} == kept
    assert sorted(data.get("truncated") or []) == sorted(truncated or [])
    assert data["links"] == {"self": "/j"}
