"""What becomes of a large backlog whose endpoint is deleted: nobody waits for it, and none of it stays open."""

import pytest
from sqlalchemy import text

from agora.db.session import transaction
from agora.dispatcher import deliveries as duty
from agora.dispatcher.loop import all_duties
from agora.ids import new_id
from agora.webhooks import delivery_queries, queries, service
from tests.support.webhooks import sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
URL = "https://127.0.0.1/hook"


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch):
    monkeypatch.setattr(duty, "reached", duty.Reached())


def counted(endpoint_id):
    rows = sql(
        "SELECT status, count(*) AS n FROM webhook_deliveries WHERE endpoint_id = :id GROUP BY status", id=endpoint_id
    )
    return {row["status"]: row["n"] for row in rows}


def claim():
    with transaction() as session:
        return delivery_queries.claim(session, room=100, slice_=50, token=new_id("evt"), lease=30.0)


def test_a_deletion_cancels_what_is_being_sent_and_leaves_most_of_the_rest_to_the_dispatcher(team, monkeypatch):
    monkeypatch.setattr(queries, "MOST_CANCELLED", 10)
    monkeypatch.setattr(duty, "SLICE", 7)
    made, other = team.endpoint(URL).endpoint, team.endpoint(URL).endpoint
    team.happen(count=60)
    sql("UPDATE webhook_endpoints SET next_due_at = NULL WHERE id = :id", id=other.id)
    leased = len(claim())
    sql("""
        UPDATE webhook_deliveries SET status = 'held' WHERE id IN (
            SELECT id FROM webhook_deliveries WHERE endpoint_id = :id AND status = 'pending' LIMIT 20)
    """, id=made.id)  # fmt: skip
    service.delete_endpoint(made.id, team_id=team.id)
    assert counted(made.id) == {"cancelled": leased + 20, "pending": 60 - 20 - leased - 10, "held": 10}
    assert claim() == []
    assert duty.cancel_orphans() == 60 - leased - 20
    assert counted(made.id) == {"cancelled": 60}
    assert counted(other.id) == {"pending": 60}
    reasons = sql("SELECT DISTINCT last_error FROM webhook_deliveries WHERE status = 'cancelled'")
    assert [row["last_error"] for row in reasons] == ["the endpoint was deleted"]
    assert duty.cancel_orphans() == 0


def test_the_dispatcher_goes_on_behind_endpoints_that_are_well_and_begins_anew(team, monkeypatch):
    monkeypatch.setattr(duty, "ORPHANS_MOST", 2)
    made = [team.endpoint(URL).endpoint for _ in range(5)]
    team.happen(count=2)
    sql("DELETE FROM webhook_endpoints WHERE id = ANY(:ids)", ids=[made[0].id, made[4].id])
    assert [duty.cancel_orphans() for _ in range(4)] == [2, 0, 2, 0]
    assert [counted(one.id) for one in made] == [{"cancelled": 2}, *[{"pending": 2}] * 3, {"cancelled": 2}]
    [found] = [one for one in all_duties() if one.do is duty.cancel_orphans]
    assert found.every <= 1.0


def test_a_tick_does_not_wait_for_all_of_a_large_backlog(team, monkeypatch):
    monkeypatch.setattr(duty, "LONGEST_WORK", 0.0)
    monkeypatch.setattr(duty, "SLICE", 7)
    made = team.endpoint(URL).endpoint
    team.happen(count=20)
    sql("DELETE FROM webhook_endpoints WHERE id = :id", id=made.id)
    assert [duty.cancel_orphans() for _ in range(4)] == [7, 7, 6, 0]


def test_senders_wait_for_no_more_than_some_thousand_of_a_large_backlog(team):
    """They wait for the endpoint's lock, so that must not be held for as long as it takes to cancel all."""
    made = team.endpoint(URL).endpoint
    team.happen()
    with transaction() as session:
        session.execute(text("""
            INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, event_type, body, status)
            SELECT 'whd_' || n, :team, :id, 'evt_' || n, 'job.failed', '{}', 'pending'
            FROM generate_series(1, 30000) n
        """), {"team": team.id, "id": made.id})  # fmt: skip
    service.delete_endpoint(made.id, team_id=team.id)
    assert counted(made.id) == {"cancelled": queries.MOST_CANCELLED, "pending": 30_001 - queries.MOST_CANCELLED}
