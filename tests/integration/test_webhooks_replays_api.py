"""Replays over HTTP, within one team; what is refused, what is forgotten, what a slice costs."""

import re
from datetime import timedelta

import pytest
from sqlalchemy.dialects import postgresql

from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher.loop import Dispatcher
from agora.errors import Invalid, NotFound
from agora.idempotency.keys import IdempotencyKey
from agora.ids import floor_id
from agora.webhooks import replay_duties, replay_queries, replays
from agora.webhooks.operation_types import NewReplay, ReplayFilter
from tests.support.caller import Caller
from tests.support.replays import (
    URL,
    begin,
    get,
    recover,
    some_ended,
    state,
    work_off,
)
from tests.support.webhooks import Team, eventually, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")


def test_old_replays_are_forgotten_and_running_ones_are_not(team):
    endpoint = team.endpoint(URL).endpoint
    some_ended(team, endpoint, 1)
    kept, gone, runs = (begin(team, everything=True) for _ in range(3))
    for replay, status, days in ((kept, "completed", 29), (gone, "cancelled", 31), (runs, "running", 90)):
        sql(
            """
            UPDATE webhook_replays SET id = :new, status = :status,
                ended_at = CASE WHEN :status <> 'running' THEN now() - make_interval(days => :days) END
            WHERE id = :id
            """,
            id=replay.id, status=status, days=days, new=floor_id("wrp", now() - timedelta(days=days + 1)),
        )  # fmt: skip
    replay_duties.forget_replays()
    found = replays.list_replays(team_id=team.id).items
    assert sorted(one.status for one in found) == ["completed", "running"]


def test_a_dispatcher_does_all_of_it(team, receiver, engines):
    endpoint = team.endpoint(receiver.url("/hook")).endpoint
    ids = some_ended(team, endpoint, 5)
    replay = begin(team, everything=True)
    dispatcher, engine = Dispatcher(), engines()

    def arrived():
        dispatcher.tick()
        engine.run_once()
        return set(state(ids).values()) == {"succeeded"}

    eventually(arrived)
    assert (get(team, replay).status, get(team, replay).done) == ("completed", 5)
    assert len(receiver.got["/hook"]) == 5


def test_a_filter_survives_its_row():
    filters = ReplayFilter(
        statuses=("exhausted",), event_types=("job.*",), job_id="j", since=now() - timedelta(days=1), until=now(),
        ended_since=now(),
    )  # fmt: skip
    assert replays.from_json(replays.as_json(filters)) == filters


def test_one_key_makes_one_replay(team):
    some_ended(team, team.endpoint(URL).endpoint, 2)
    key = IdempotencyKey(key="k", route="r", fingerprint="f")
    new = NewReplay(filter=ReplayFilter(), everything=True)
    one, two = (replays.begin(new, team_id=team.id, idempotency=key) for _ in range(2))
    assert (one[0].id, one[1], two[0].id, two[1]) == (one[0].id, False, one[0].id, True)


def test_another_team_sees_and_does_nothing(team):
    stranger = Team()
    endpoint = team.endpoint(URL, uid="mine").endpoint
    ids = some_ended(team, endpoint, 2)
    replay = begin(team, endpoint="mine")
    for act in (
        lambda: get(stranger, replay),
        lambda: replays.cancel_replay(replay.id, team_id=stranger.id),
        lambda: begin(stranger, endpoint="mine"),
        lambda: recover(stranger, endpoint),
        lambda: replays.count(NewReplay(filter=ReplayFilter(), endpoint=endpoint.id), team_id=stranger.id),
    ):
        with pytest.raises(NotFound):
            act()
    assert replays.list_replays(team_id=stranger.id).items == []
    replays.cancel_replay(replay.id, team_id=team.id)
    begin(stranger, everything=True)
    work_off()
    assert set(state(ids).values()) == {"exhausted"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/all"),
        ({"status": ["pending"]}, "/status/0"),
        ({"event_types": ["job.nothing"]}, "/event_types"),
        ({"event_types": ["JOB"]}, "/event_types"),
        ({"since": "2030-01-02T00:00:00Z", "until": "2030-01-01T00:00:00Z"}, "/until"),
        ({"since": "yesterday"}, "/since"),
        ({"since": "2030-01-02T00:00:00"}, "/since"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_bad_replays_name_the_field(app, body, pointer):
    refused = Caller(app).post("/api/v1/webhook-replays", json=body)
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, pointer)
    assert sql("SELECT count(*) AS n FROM webhook_replays")[0]["n"] == 0


def test_the_service_refuses_open_states_as_well(team):
    with pytest.raises(Invalid, match="succeeded, exhausted"):
        begin(team, statuses=("held",))


def test_over_http(app, team):
    caller, stranger = Caller(app), Caller(app, team="other")
    team.id = caller.team_id
    endpoint = team.endpoint(URL, uid="mine").endpoint
    some_ended(team, endpoint, 3)
    some_ended(team, endpoint, 2, "succeeded")
    asked = {"since": (now() - timedelta(hours=2)).isoformat()}
    path = "/api/v1/webhook-endpoints/mine/recover"
    dry = caller.post(path, json={**asked, "dry_run": True})
    assert (dry.status_code, dry.json) == (200, {"dry_run": True, "matched": 3})
    assert sql("SELECT count(*) AS n FROM webhook_replays")[0]["n"] == 0
    made = caller.post(path, json=asked, headers={"Idempotency-Key": "k"})
    assert (made.status_code, made.json["matched"], made.json["action"]) == (202, 3, "recover")
    assert (made.json["endpoint_id"], made.json["status"]) == (endpoint.id, "running")
    again = caller.post(path, json=asked, headers={"Idempotency-Key": "k"})
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (made.json["id"], "true")
    work_off()
    shown = caller.get(made.headers["Location"]).json
    assert (shown["done"], shown["status"], shown["progress"]) == (3, "completed", 1.0)
    assert caller.post(f"{made.headers['Location']}/cancel").status_code == 409
    replay = caller.post("/api/v1/webhook-replays", json={"status": ["succeeded"], "event_types": ["job.*"]})
    assert (replay.status_code, replay.json["matched"], replay.json["action"]) == (202, 2, "replay")
    assert caller.post(f"{replay.headers['Location']}/cancel").json["status"] == "cancelled"
    page = caller.get("/api/v1/webhook-replays?limit=1").json
    assert [one["id"] for one in page["items"]] == [replay.json["id"]]
    rest = caller.get(f"/api/v1/webhook-replays?cursor={page['next_cursor']}").json
    assert [one["id"] for one in rest["items"]] == [made.json["id"]]
    assert stranger.get(made.headers["Location"]).status_code == 404
    assert stranger.post(f"{replay.headers['Location']}/cancel").status_code == 404
    assert stranger.post(path, json=asked).status_code == 404
    assert stranger.post("/api/v1/webhook-replays", json={"endpoint": endpoint.id}).status_code == 404
    assert stranger.get("/api/v1/webhook-replays").json["items"] == []
    assert caller.post(path, json={}).json["errors"][0]["pointer"] == "/since"


def test_a_slice_reads_by_index_and_no_further(team):
    endpoint = team.endpoint(URL).endpoint
    sql("""
        INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, event_type, body, status, ended_at)
        SELECT 'whd_' || lpad(n::text, 26, '0'), :team, :endpoint, 'evt_' || n, 'job.failed', '{}', 'succeeded', now()
        FROM generate_series(1, 20000) n
    """, team=team.id, endpoint=endpoint.id)  # fmt: skip
    sql("ANALYZE webhook_deliveries")
    for found in (begin(team, statuses=("exhausted",)), recover(team, endpoint)):
        assert found.matched == 0
    with transaction() as session:
        replay = replay_queries.lock_next(session)
        statement = replay_queries._slice(team.id, replay, replays.from_json(replay.filter), 100)
        written = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    plan = "\n".join(row["QUERY PLAN"] for row in sql(f"EXPLAIN (ANALYZE, COSTS OFF) {written}"))
    assert "Seq Scan on webhook_deliveries" not in plan
    assert not re.search(r"rows=\d{4,}", plan)
