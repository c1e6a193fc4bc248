"""Events about webhooks themselves: warnings, disabling, recovery, deliveries given up."""

import json

import pytest

from agora.webhooks import service
from tests.support.webhooks import Team, run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
DEAD = "http://127.0.0.1:1/closed"


def told(receiver, path="/told"):
    return [json.loads(body) for _, body, *_ in receiver.got[path]]


def types_of(receiver):
    return [one["type"] for one in told(receiver)]


def failing_for(days, warned=0):
    sql(
        "UPDATE webhook_endpoints SET failing_since = now() - make_interval(secs => :s), warned = :warned,"
        " open_until = NULL, next_due_at = now(), consecutive_failures = 0 WHERE url LIKE '%closed'",
        s=days * 86_400,
        warned=warned,
    )


def test_a_delivery_that_is_given_up_is_told_to_the_others_and_recorded(team, receiver, engines):
    dead = team.endpoint(DEAD, uid="dead", schedule=(0.0,)).endpoint
    team.endpoint(receiver.url("/told"), event_types=("webhook.*",))
    [event] = team.happen()
    engine = engines()
    run_until_ended(engine, team)
    engine.run_once()
    [notice] = told(receiver)
    [delivery] = team.deliveries(event_type="job.succeeded")
    assert notice["type"] == "webhook.delivery.exhausted"
    assert notice["data"] | {"last_error": ""} == {
        "delivery_id": delivery.id, "endpoint_id": dead.id, "uid": "dead", "event_id": event.id,
        "event_type": "job.succeeded", "job_id": None, "attempts": 1, "last_status_code": None, "last_error": "",
        "links": {"self": f"/api/v1/webhook-deliveries/{delivery.id}"},
    }  # fmt: skip
    assert sql("SELECT type FROM events WHERE job_id IS NULL") == [{"type": "webhook.delivery.exhausted"}]


def test_two_dead_endpoints_do_not_tell_each_other_for_ever(team, engines):
    for n in range(2):
        team.endpoint(f"{DEAD}{n}", schedule=(0.0,))
    team.happen()
    run_until_ended(engines(), team)
    assert sorted(one.event_type for one in team.deliveries()) == [
        "job.succeeded", "job.succeeded", "webhook.delivery.exhausted", "webhook.delivery.exhausted",
    ]  # fmt: skip


def test_a_failing_endpoint_is_warned_of_three_times_and_then_disabled(team, receiver, engines):
    dead = team.endpoint(DEAD, schedule=(0.0, 3600.0)).endpoint
    team.endpoint(receiver.url("/told"), event_types=("webhook.endpoint.*",))
    engine = engines()
    for days, warned in ((1.0, 0), (2.6, 0), (3.8, 50), (4.6, 75), (5.1, 90)):
        failing_for(days, warned)
        team.happen()
        engine.run_once()
        engine.run_once()
    assert types_of(receiver) == ["webhook.endpoint.failing"] * 3 + ["webhook.endpoint.disabled"]
    assert [one["data"].get("share") for one in told(receiver)] == [0.5, 0.75, 0.9, None]
    last = told(receiver)[-1]["data"]
    assert (last["endpoint_id"], last["reason"]) == (dead.id, "failing")
    assert "5 days" in last["detail"]
    found = service.get_endpoint(dead.id, team_id=team.id)
    assert (found.status, found.status_reason) == ("disabled", "no delivery succeeded for 5 days")
    assert set(team.statuses(endpoint=dead.id)) == {"held"}
    team.happen()
    assert set(team.statuses(endpoint=dead.id)) == {"held"}


def test_warnings_are_given_once(team, receiver, engines):
    team.endpoint(DEAD, schedule=(0.0, 3600.0))
    team.endpoint(receiver.url("/told"), event_types=("webhook.endpoint.*",))
    engine = engines()
    failing_for(2.6)
    for _ in range(3):
        team.happen()
        sql("UPDATE webhook_endpoints SET open_until = NULL, next_due_at = now()")
        engine.run_once()
        engine.run_once()
    assert types_of(receiver) == ["webhook.endpoint.failing"]


def test_410_is_told_and_so_is_the_recovery_after_it_was_resumed(team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", 410, 204), event_types=("job.*",)).endpoint
    team.endpoint(receiver.url("/told"), event_types=("webhook.*",))
    team.happen()
    engine = engines()
    engine.run_once()
    engine.run_once()
    service.resume_endpoint(made.id, team_id=team.id)
    sql("UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'")
    engine.run_once()
    engine.run_once()
    assert types_of(receiver) == ["webhook.endpoint.disabled", "webhook.endpoint.recovered"]
    assert told(receiver)[0]["data"]["reason"] == "gone"
    team.happen()
    engine.run_once()
    engine.run_once()
    assert len(told(receiver)) == 2  # well is well: it is not told again


def test_an_endpoint_is_not_told_about_itself(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0,))
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    assert [one.event_type for one in team.deliveries()] == ["job.succeeded"]


def test_another_teams_endpoints_hear_nothing(team, receiver, engines):
    other = Team()
    other.endpoint(receiver.url("/told"))
    team.endpoint(DEAD, schedule=(0.0,))
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    engine.run_once()
    assert told(receiver) == []
