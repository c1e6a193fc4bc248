"""What a database clock that was set back, or a time before all clocks, does to deliveries: nothing."""

import pytest

from agora.db.session import transaction
from agora.ids import new_id
from agora.webhooks import backstop_queries, delivery_queries
from tests.support.replays import some_ended
from tests.support.webhooks import sql

pytestmark = pytest.mark.usefixtures("db", "quiet")


def claim():
    with transaction() as session:
        return delivery_queries.claim(session, room=100, slice_=50, token=new_id("evt"), lease=30.0)


def set_clock_back(endpoint_id):
    """As if an hour had been noted that has not come yet."""
    sql(
        "UPDATE webhook_endpoints SET tokens = 0.5, tokens_at = now() + interval '1 h', next_due_at = now() "
        "WHERE id = :id",
        id=endpoint_id,
    )


def test_a_clock_that_was_set_back_stops_no_claim_and_no_rate(team, receiver):
    metered = team.endpoint(receiver.url("/metered"), rate_limit=5).endpoint
    free = team.endpoint(receiver.url("/free")).endpoint
    team.happen()
    set_clock_back(metered.id)
    assert [row["endpoint_id"] for row in claim()] == [free.id]
    [noted] = sql("SELECT tokens, tokens_at <= now() AS past FROM webhook_endpoints WHERE id = :id", id=metered.id)
    assert (noted["tokens"], noted["past"]) == (0.5, True)
    sql("UPDATE webhook_endpoints SET tokens_at = tokens_at - interval '1 s', next_due_at = now()")
    assert [row["endpoint_id"] for row in claim()] == [metered.id]


def test_an_endpoint_does_not_wait_until_the_clock_has_caught_up(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"), rate_limit=5).endpoint
    team.happen(count=3)
    set_clock_back(made.id)
    sql("UPDATE webhook_endpoints SET next_due_at = tokens_at")
    with transaction() as session:
        assert backstop_queries.mark_due(session, most=10, lease=30.0)[0] == 1
        assert backstop_queries.next_due(session) < 1
    sql("UPDATE webhook_endpoints SET tokens = 1, tokens_at = now(), next_due_at = now()")
    [taken] = claim()
    set_clock_back(made.id)
    with transaction() as session:
        delivery_queries.lock_endpoints(session, ids=[made.id])
        delivery_queries.note_endpoints(session, notes=[note(made.id)])
        assert backstop_queries.next_due(session) < 1
    assert taken["endpoint_id"] == made.id


def note(endpoint_id):
    return {
        "id": endpoint_id, "failures": 0, "allowance": 4, "tries": 1, "failed": 0, "since": "2031-01-01T00:00:00Z",
        "rest": None, "delivered": True, "healthy": True, "warn": 0, "disabled": None,
    }  # fmt: skip


@pytest.mark.parametrize("since", ["1970-01-01T00:00:00Z", "1970-01-01T00:04:59Z", "0001-01-01T00:00:00+00:00"])
def test_a_replay_may_begin_before_all_deliveries(caller, team, since):
    team.id = caller.team_id
    ids = some_ended(team, team.endpoint("https://127.0.0.1/hook").endpoint, 3)
    answer = caller.post("/api/v1/webhook-replays", json={"since": since})
    assert (answer.status_code, answer.json["matched"]) == (202, len(ids)), answer.text
