"""Legal holds over HTTP, and what retention tells about itself."""

import pytest

from agora.db.session import transaction
from agora.retention import duties, removal_queries
from api.app import create_app
from tests.support.aging import aged, begin_anew, sweep
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig
from tests.support.webhooks import Team


@pytest.fixture
def caller(db):
    return Caller(create_app())


def test_a_hold_is_made_once_listed_released_and_says_who_and_when(caller):
    body = {"name": "case 7", "metadata": {"case": 7}}
    made = caller.post("/api/v1/holds", json=body, headers={"Idempotency-Key": "once"})
    again = caller.post("/api/v1/holds", json=body, headers={"Idempotency-Key": "once"})
    assert (made.status_code, again.status_code) == (201, 201)
    assert made.json == again.json
    assert again.headers["Idempotent-Replayed"] == "true"
    key_id = caller.get("/api/v1/keys").json["items"][0]["id"]
    assert (made.json["created_by"], made.json["released_at"]) == (key_id, None)
    assert caller.get(made.headers["Location"]).json == made.json
    assert caller.get("/api/v1/holds").json["items"] == [made.json]
    released = caller.delete(made.headers["Location"])
    assert (released.status_code, released.json["released_by"]) == (200, key_id)
    assert caller.delete(made.headers["Location"]).json == released.json
    assert caller.get("/api/v1/holds").json["items"] == []
    assert caller.get("/api/v1/holds?released=true").json["items"] == [released.json]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "all", "metadata": {}}, "/metadata"),
        ({"name": "", "metadata": {"a": 1}}, "/name"),
        ({"metadata": {"a": 1}}, "/name"),
        ({"name": "x", "metadata": {"a": "y" * 20_000}}, "/metadata"),
        ({"name": "x", "metadata": 7}, "/metadata"),
        ({"name": "x", "metadata": {"a": 1}, "until": 1}, "/until"),
    ],
)
def test_a_hold_that_is_not_acceptable_names_the_field(caller, body, pointer):
    refused = caller.post("/api/v1/holds", json=body)
    assert refused.status_code == 422
    assert pointer in {error["pointer"] for error in refused.json["errors"]}
    assert caller.get("/api/v1/holds").json["items"] == []


def test_another_team_sees_no_hold_and_a_key_needs_the_scope(caller):
    made = caller.post("/api/v1/holds", json={"name": "mine", "metadata": {"a": 1}}).headers["Location"]
    other = Caller(create_app(), team="other")
    assert other.get(made).status_code == 404
    assert other.delete(made).status_code == 404
    assert Caller(create_app(), scopes=("jobs:read", "jobs:write")).delete(made).status_code == 403
    assert Caller(create_app(), scopes=("holds:manage",)).get(made).status_code == 200
    assert caller.get(made).json["released_at"] is None


def test_a_removed_job_answers_404_and_the_metrics_count_it(caller, monkeypatch):
    def plain(ctx) -> Number:
        return Number(n=1)

    rig = Rig(monkeypatch, agent_with(plain=[plain]))
    rig.team_id = caller.team_id
    job = rig.submit("plain")
    rig.run()
    old = aged(rig, job, 31)
    assert caller.get(f"/api/v1/jobs/{old}").status_code == 200
    sweep()
    for path in ("", "/events"):
        gone = caller.get(f"/api/v1/jobs/{old}{path}")
        assert (gone.status_code, gone.json["code"]) == (404, "not-found")
    assert 'agora_retention_removed{kind="jobs"} 1.0' in caller.get("/metrics").text


def test_old_deliveries_go_and_those_that_are_not_made_stay(db):
    team = Team()
    team.endpoint("https://127.0.0.1/x")
    team.happen(count=3)
    with transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE webhook_deliveries SET id = 'whd_00000000000000000000000' || right(id, 3)"
        )
        session.connection().exec_driver_sql(
            "UPDATE webhook_deliveries SET status = 'succeeded', ended_at = now() - interval '31 days'"
            " WHERE id IN (SELECT id FROM webhook_deliveries ORDER BY id LIMIT 2)"
        )
    begin_anew()
    duties.remove_old_deliveries()
    assert team.statuses() == ["pending"]
    with transaction() as session:
        assert removal_queries.list_removed(session) == {"deliveries": 2}
