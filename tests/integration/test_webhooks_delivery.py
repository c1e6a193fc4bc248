"""Deliveries from a fan-out to real receivers on loopback, through a real Postgres."""

import io
import json
import time
from pathlib import Path

import pytest
import structlog
from standardwebhooks import Webhook

from agora.ids import is_id
from agora.webhooks import service
from tests.support.receiver import cut, drip, flood, hang, nul
from tests.support.webhooks import run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")

QUICK = (0.0, 0.05, 0.05)
ROOT = Path(__file__).parents[2]


def test_a_delivery_is_signed_as_the_public_package_wants_it(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"), headers={"X-Own": "topsecret-header"})
    [event] = team.happen(data={"job_id": "job_1", "metadata": {"name": "Zoë ☃"}})
    assert engines().run_once() == 1
    [(headers, body, _, _)] = receiver.got["/hook"]
    payload = Webhook(made.secret).verify(body, headers)
    assert payload["type"] == "job.succeeded"
    assert payload["data"] == {"job_id": "job_1", "metadata": {"name": "Zoë ☃"}}
    assert payload["timestamp"].endswith("Z")
    assert headers["webhook-id"] == event.id
    assert headers["X-Own"] == "topsecret-header"
    assert headers["user-agent"].startswith("Agora-Webhooks/")
    [delivery] = team.deliveries()
    assert is_id(delivery.id, "whd")
    assert (delivery.status, delivery.attempt, delivery.body) == ("succeeded", 1, body.decode())
    [attempt] = delivery.attempts
    assert (attempt.status_code, attempt.delivered, attempt.number) == (204, True, 1)
    assert attempt.peer_address == f"127.0.0.1:{receiver.port}"
    assert attempt.timings["connect"] <= attempt.timings["first_byte"]


def test_a_failure_is_tried_again_with_the_same_id_and_a_new_signature(team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", 500, 204), schedule=QUICK)
    team.happen()
    run_until_ended(engines(), team)
    first, second = receiver.got["/hook"]
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]
    Webhook(made.secret).verify(second[1], second[0])
    [delivery] = team.deliveries()
    assert [(one.number, one.status_code, one.error_class) for one in delivery.attempts] == [
        (1, 500, "status"),
        (2, 204, None),
    ]
    assert delivery.attempts[0].response_body == "said 500"


def test_a_spent_schedule_ends_in_exhausted(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500), schedule=QUICK)
    team.happen()
    run_until_ended(engines(), team)
    [delivery] = team.deliveries()
    assert (delivery.status, delivery.attempt, len(delivery.attempts)) == ("exhausted", 3, 3)
    assert delivery.last_error == "the receiver answered 500"
    assert delivery.ended_at is not None


def test_410_disables_the_endpoint_and_what_comes_is_held_until_it_is_resumed(team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", 410, 204), schedule=QUICK).endpoint
    team.happen()
    engine = engines()
    engine.run_once()
    found = service.get_endpoint(made.id, team_id=team.id)
    assert (found.status, found.status_reason) == ("disabled", "the receiver answered 410 Gone")
    team.happen(count=2)
    assert engine.run_once() == 0
    assert team.statuses() == ["held"] * 3
    service.resume_endpoint(made.id, team_id=team.id)
    run_until_ended(engine, team)
    assert team.statuses() == ["succeeded"] * 3


def test_410_on_the_last_try_loses_nothing_and_leaves_one_more(team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", 500, 500, 410, 500, 204), schedule=QUICK).endpoint
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    [held] = team.deliveries()
    assert (held.status, held.attempt, held.ended_at) == ("held", 3, None)
    assert service.get_endpoint(made.id, team_id=team.id).status == "disabled"
    service.resume_endpoint(made.id, team_id=team.id)
    run_until_ended(engine, team)
    [spent] = team.deliveries()
    assert (spent.status, spent.attempt) == ("exhausted", 4)
    assert [one.status_code for one in spent.attempts] == [500, 500, 410, 500]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_failure_and_is_never_followed(team, receiver, engines, status):
    target = receiver.behave("/target", 204)
    team.endpoint(receiver.behave("/hook", (status, {"Location": target})), schedule=(0.0,))
    team.happen()
    engines().run_once()
    [delivery] = team.deliveries()
    assert (delivery.status, delivery.last_status_code) == ("exhausted", status)
    assert not receiver.got["/target"]


@pytest.mark.parametrize(("behaviour", "stage"), [(drip, "body"), (hang, "answer")])
def test_the_deadline_covers_the_whole_try(team, receiver, engines, behaviour, stage):
    team.endpoint(receiver.behave("/hook", behaviour), schedule=(0.0,))
    team.happen()
    start = time.monotonic()
    engines(timeout=0.5).run_once()
    assert 0.5 <= time.monotonic() - start < 3
    [attempt] = team.deliveries()[0].attempts
    assert (attempt.error_class, attempt.status_code) == ("timeout", None)
    assert stage in attempt.error


def test_a_body_without_end_is_cut_and_kept_to_64_kib(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", flood))
    team.happen()
    engines().run_once()
    [attempt] = team.deliveries()[0].attempts
    assert attempt.delivered
    assert len(attempt.response_body) == 64 * 1024


def test_odd_bytes_and_cookies_of_an_answer_are_kept_safely(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", nul))
    team.happen()
    engines().run_once()
    [attempt] = team.deliveries()[0].attempts
    assert attempt.response_body == "\ufffd\ufffd\ufffd ok"
    assert attempt.response_headers["set-cookie"] == "[redacted]"
    assert attempt.response_headers["x-info"] == "fine"


def test_a_cut_connection_and_a_closed_port_are_told_apart(team, receiver, engines):
    team.endpoint(receiver.behave("/cut", cut), schedule=(0.0,))
    team.endpoint("http://127.0.0.1:1/closed", schedule=(0.0,))
    team.happen()
    engines().run_once()
    classes = {one.attempts[0].error_class for one in team.deliveries(event_type="job.succeeded")}
    assert classes == {"disconnected", "connect"}


def test_retry_after_is_respected(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", (503, {"Retry-After": "1"}), 204), schedule=(0.0, 0.01))
    team.happen()
    run_until_ended(engines(), team)
    first, second = (got[2] for got in receiver.got["/hook"])
    assert second - first >= 1.0


def test_the_guard_is_asked_at_each_try(team, receiver, engines):
    async def look_up(host, port):
        return ["10.0.0.1"]

    team.endpoint(f"http://receiver.test:{receiver.port}/hook", schedule=(0.0,))
    team.happen()
    engines(look_up=look_up).run_once()
    [attempt] = team.deliveries()[0].attempts
    assert attempt.error_class == "egress-refused"
    assert "10.0.0.0/8" in attempt.error
    assert not receiver.got


def test_no_secret_is_in_the_database_in_logs_or_in_answers(team, receiver, engines):
    lines = io.StringIO()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=lines))
    try:
        made = team.endpoint(
            receiver.behave("/hook", 500, 204), headers={"Authorization": "Bearer topsecret-header"}, schedule=QUICK
        )
        team.happen()
        run_until_ended(engines(), team)
    finally:
        structlog.reset_defaults()
    dump = ""
    for table in ("webhook_endpoints", "webhook_deliveries", "webhook_attempts", "events"):
        dump += json.dumps([dict(row) for row in sql(f"SELECT * FROM {table}")], default=str)
    shown = repr(service.get_endpoint(made.endpoint.id, team_id=team.id)) + repr(team.deliveries()) + lines.getvalue()
    bare = made.secret.removeprefix("whsec_")
    for secret in (bare, "topsecret-header"):
        assert secret not in dump
        assert secret not in shown
    assert receiver.got["/hook"][0][0]["Authorization"] == "Bearer topsecret-header"
