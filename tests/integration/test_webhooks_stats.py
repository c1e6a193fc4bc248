"""Statistics of an endpoint: over its last deliveries, bounded, and how it stands."""

from datetime import timedelta

import pytest

from agora.clock import now
from agora.errors import NotFound
from agora.ids import new_id
from agora.settings import get_settings
from agora.webhooks import service, stats, stats_queries
from tests.support.caller import Caller
from tests.support.receiver import cut
from tests.support.replays import URL, some_ended
from tests.support.webhooks import run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")

NONE = dict.fromkeys(("pending", "leased", "succeeded", "exhausted", "held", "cancelled"), 0)


def stats_of(team, endpoint, **options):
    return stats.endpoint_stats(endpoint.id, team_id=team.id, **options)


def attempt(team, delivery_id, number, *, delivered, ms, age=timedelta(0)):
    sql(
        """
        INSERT INTO webhook_attempts (id, team_id, delivery_id, number, delivered, started_at, duration_ms, timings,
                                      request_headers)
        VALUES (:id, :team, :delivery, :number, :delivered, :at, :ms, '{}', '{}')
        """,
        id=new_id("wha"), team=team.id, delivery=delivery_id, number=number, delivered=delivered, ms=ms, at=now() - age,
    )  # fmt: skip


def test_a_new_endpoint_has_no_rates(team):
    found = stats_of(team, team.endpoint(URL).endpoint)
    assert (found.deliveries, found.complete, found.statuses, found.since) == (0, True, NONE, None)
    assert (found.delivery_success_rate, found.try_success_rate, found.tries_per_delivery) == (None, None, None)
    assert (found.p50_ms, found.p95_ms, found.last_success_at, found.last_failure) == (None, None, None, None)
    assert (found.pending, found.held, found.in_flight) == (0, 0, 0)
    assert (found.status, found.open_until, found.disabled_at) == ("active", None, None)


def test_rates_and_the_last_error_are_those_of_real_tries(team, receiver, engines):
    endpoint = team.endpoint(
        receiver.behave("/hook", 204, 500, 204, 503, cut), schedule=(0.0, 0.02), max_in_flight=1
    ).endpoint  # fmt: skip
    engine = engines()
    for _ in range(3):
        team.happen()
        sql("UPDATE webhook_endpoints SET open_until = NULL")
        run_until_ended(engine, team)
    found = stats_of(team, endpoint)
    assert found.statuses == NONE | {"succeeded": 2, "exhausted": 1}
    assert (found.delivery_success_rate, found.tries, found.try_success_rate) == (0.6667, 5, 0.4)
    assert found.tries_per_delivery == 1.6667
    assert 0 <= found.p50_ms <= found.p95_ms < 5_000
    last = team.deliveries()[-1]
    assert (found.last_failure.delivery_id, found.last_failure.error_class) == (last.id, "disconnected")
    assert (found.last_failure.at, found.last_failure.status_code) == (last.attempts[-1].started_at, None)
    assert found.last_failure.error == last.last_error
    delivered = [one.started_at for each in team.deliveries() for one in each.attempts if one.delivered]
    assert found.last_success_at >= max(delivered)
    assert found.failing_since is not None
    assert found.disabled_at == found.failing_since + timedelta(days=get_settings().webhook_disable_days)


def test_times_are_percentiles_of_tries_that_succeeded(team):
    endpoint = team.endpoint(URL).endpoint
    ids = some_ended(team, endpoint, 100, "succeeded")
    for n, one in enumerate(ids, 1):
        attempt(team, one, 1, delivered=False, ms=90_000)
        attempt(team, one, 2, delivered=True, ms=n)
    found = stats_of(team, endpoint)
    assert (found.p50_ms, found.p95_ms) == (50.5, 95.05)
    assert (found.tries, found.try_success_rate, found.tries_per_delivery) == (200, 0.5, 2.0)


def test_only_the_last_deliveries_of_the_window_are_looked_at(team, monkeypatch):
    monkeypatch.setattr(stats_queries, "LOOKED_AT", 10)
    endpoint, other = (team.endpoint(f"{URL}/{n}").endpoint for n in range(2))
    some_ended(team, endpoint, 20, age=timedelta(days=2))
    some_ended(team, other, 5)
    some_ended(team, endpoint, 4, "succeeded")
    day = stats_of(team, endpoint)
    assert (day.deliveries, day.complete, day.delivery_success_rate) == (4, True, 1.0)
    assert now() - timedelta(hours=2) < day.since < now()
    week = stats_of(team, endpoint, window=7 * 24 * 3600)
    assert (week.deliveries, week.complete, week.delivery_success_rate) == (10, False, 0.4)
    minute = stats_of(team, endpoint, window=60)
    assert (minute.deliveries, minute.delivery_success_rate) == (0, None)


def test_what_is_open_is_counted_to_a_bound(team, monkeypatch):
    endpoint = team.endpoint(URL, max_in_flight=2).endpoint
    team.happen(count=5)
    sql("UPDATE webhook_deliveries SET created_at = now() - interval '40 days'")  # whatever the window
    some = [one.id for one in team.deliveries()]
    sql("UPDATE webhook_deliveries SET status = 'held' WHERE id = :id", id=some[0])
    sql(
        "UPDATE webhook_deliveries SET status = 'leased', lease_token = 't', lease_expires_at = now() WHERE id = :id",
        id=some[1],
    )
    found = stats_of(team, endpoint)
    assert (found.pending, found.held, found.in_flight) == (3, 1, 1)
    assert (found.allowance, found.max_in_flight) == (2, 2)
    monkeypatch.setattr(stats_queries, "COUNTED", 2)
    assert stats_of(team, endpoint).pending == 2


def test_how_it_stands(team):
    endpoint = team.endpoint(URL).endpoint
    service.pause_endpoint(endpoint.id, team_id=team.id)
    sql("UPDATE webhook_endpoints SET open_until = now() + interval '1 minute', failing_since = now(), draining = true")
    found = stats_of(team, endpoint)
    assert (found.status, found.status_reason, found.draining) == ("paused", "paused by its owner", True)
    assert (found.open_until > now(), found.disabled_at) == (True, None)
    sql("UPDATE webhook_endpoints SET open_until = now() - interval '1 minute', status = 'active'")
    found = stats_of(team, endpoint)
    assert (found.open_until, found.disabled_at) == (None, found.failing_since + timedelta(days=5))


def test_it_reads_no_more_than_the_last_thousand(team):
    endpoint = team.endpoint(URL).endpoint
    sql(
        """
        INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, event_type, body, status, ended_at)
        SELECT agora_new_id('whd'), :team, CASE WHEN n % 2 = 0 THEN :endpoint ELSE :endpoint || n % 50 END, 'evt_' || n,
               'job.failed', '{}', 'succeeded', now()
        FROM generate_series(1, 20000) n
        """,
        team=team.id, endpoint=endpoint.id,
    )  # fmt: skip
    sql("ANALYZE webhook_deliveries")
    assert stats_of(team, endpoint).deliveries == 1_000
    moment = now() - timedelta(days=1)
    plan = "\n".join(
        row["QUERY PLAN"]
        for row in sql(
            f"EXPLAIN (ANALYZE, COSTS OFF) {stats_queries.LATELY.text}",
            team_id=team.id, endpoint_id=endpoint.id, since=moment, first="whd_0", first_try="wha_0", most=1_000,
            tries=stats_queries.TRIES,
        )
    )  # fmt: skip
    assert "Seq Scan on webhook_deliveries" not in plan
    assert "rows=10000" not in plan


def test_over_http(app, team):
    caller = Caller(app)
    team.id = caller.team_id
    endpoint = team.endpoint(URL, uid="mine").endpoint
    [one] = some_ended(team, endpoint, 1)
    attempt(team, one, 1, delivered=False, ms=3)
    found = caller.get("/api/v1/webhook-endpoints/mine/stats?window=86400")
    assert (found.status_code, found.json["endpoint_id"], found.json["deliveries"]) == (200, endpoint.id, 1)
    assert (found.json["last_failure"]["delivery_id"], found.json["delivery_success_rate"]) == (one, 0.0)
    assert found.json["since"].endswith("Z")
    refused = caller.get("/api/v1/webhook-endpoints/mine/stats?window=5")
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/window")
    assert Caller(app, team="other").get(f"/api/v1/webhook-endpoints/{endpoint.id}/stats").status_code == 404
    with pytest.raises(NotFound):
        stats.endpoint_stats(endpoint.id, team_id=new_id("team"))
