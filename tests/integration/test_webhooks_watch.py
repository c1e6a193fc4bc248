"""What operators watch of webhooks."""

import re

import pytest

from agora.webhooks import service
from api.app import create_app
from tests.support.webhooks import run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
DEAD = "http://127.0.0.1:1/closed"


def metrics():
    page = create_app().test_client().get("/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(agora_webhook_\S+) (\S+)$", page, re.MULTILINE)}


def test_states_of_endpoints_and_outcomes_of_tries_are_told(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), event_types=("job.*",), schedule=(0.0, 0.0))
    team.endpoint(DEAD, event_types=("job.*",), schedule=(0.0, 3600.0))
    paused = team.endpoint(receiver.url("/paused")).endpoint
    service.pause_endpoint(paused.id, team_id=team.id)
    team.happen(count=8)
    engine = engines()
    for _ in range(8):
        engine.run_once()
    found = metrics()
    assert found['agora_webhook_endpoints{state="well"}'] == 1
    assert found['agora_webhook_endpoints{state="resting"}'] == 1
    assert found['agora_webhook_endpoints{state="paused"}'] == 1
    assert found['agora_webhook_endpoints{state="disabled"}'] == 0
    assert found['agora_webhook_recent_tries{outcome="delivered"}'] == 8
    assert found['agora_webhook_recent_tries{outcome="status"}'] == 1
    assert found['agora_webhook_recent_tries{outcome="connect"}'] >= 5
    assert 0 < found['agora_webhook_recent_try_seconds{outcome="delivered",quantile="0.99"}'] < 5


def test_the_lag_is_that_of_what_may_be_served(team, receiver, engines):
    team.endpoint(receiver.url("/hook"))
    assert metrics()["agora_webhook_lag_seconds"] == 0
    team.happen()
    sql("UPDATE webhook_endpoints SET next_due_at = now() - interval '90 s'")
    assert 90 <= metrics()["agora_webhook_lag_seconds"] < 120
    sql("UPDATE webhook_endpoints SET open_until = now() + interval '1 minute'")
    assert metrics()["agora_webhook_lag_seconds"] == 0
    sql("UPDATE webhook_endpoints SET open_until = NULL")
    run_until_ended(engines(), team)
    assert metrics()["agora_webhook_lag_seconds"] < 5
