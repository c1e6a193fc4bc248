"""Replays: what they find, each delivery once whatever is killed, at the pace of a drain; held where it must be."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import deliveries
from agora.errors import IllegalTransition
from agora.ids import new_id
from agora.webhooks import drain_queries, replay_duties, replay_queries, replays, service
from agora.webhooks.operation_types import NewReplay, ReplayFilter
from tests.support.replays import (
    URL,
    begin,
    begun,
    drains,
    ended,
    get,
    recover,
    some_ended,
    state,
    work_off,
)
from tests.support.webhooks import eventually, run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")


def test_a_recovery_sends_what_failed_since_and_leaves_the_rest_alone(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 7)
    endpoint, other = (team.endpoint(f"{URL}/{n}").endpoint for n in range(2))
    failed = some_ended(team, endpoint, 10)
    rest = [
        *some_ended(team, endpoint, 10, "succeeded"),
        *some_ended(team, endpoint, 10, age=timedelta(hours=3)),
        *some_ended(team, other, 10),
    ]
    replay = recover(team, endpoint)
    assert begun(replay) == (10, 10, 0.0, "running")
    work_off()
    assert ended(get(team, replay)) == (10, 0, 0, 1.0, "completed")
    assert get(team, replay).ended_at is not None
    assert set(state(failed).values()) == {"held"}
    assert set(state(rest).values()) <= {"exhausted", "succeeded"}
    assert (drains(endpoint), drains(other)) == (True, False)
    row = sql("SELECT * FROM webhook_deliveries WHERE id = :id", id=failed[0])[0]
    assert (row["attempt"], row["earlier_attempts"], row["ended_at"]) == (0, 3, None)
    assert (row["body"], row["last_status_code"], row["last_error"]) == ('{"n":0}', 500, "it said 500")


def test_they_arrive_under_their_old_ids_at_the_pace_of_a_drain(team, receiver, engines, monkeypatch):
    team.endpoint(receiver.behave("/hook", *[500] * 12, 204), schedule=(0.0,), max_in_flight=1)
    team.happen(count=12)
    engine = engines()
    run_until_ended(engine, team)
    assert team.statuses() == ["exhausted"] * 12
    old = {headers["webhook-id"]: body for headers, body, *_ in receiver.got["/hook"]}
    receiver.got.clear()
    begin(team, everything=True)
    work_off()
    sql("UPDATE webhook_endpoints SET open_until = NULL")
    moments = iter(range(1, 100))
    monkeypatch.setitem(deliveries._last, "drained", 0.0)
    monkeypatch.setattr(deliveries, "time", SimpleNamespace(monotonic=lambda: next(moments) / 10))
    assert [deliveries.drain_held() for _ in range(4)] == [5, 5, 2, 0]  # 50 a second by default
    monkeypatch.undo()
    run_until_ended(engine, team)
    assert {headers["webhook-id"]: body for headers, body, *_ in receiver.got["/hook"]} == old
    assert len(receiver.got["/hook"]) == 12
    assert set(team.statuses()) == {"succeeded"}


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_of_an_endpoint_that_is_not_active_they_stay_held_until_it_is_resumed(team, receiver, engines, status):
    endpoint = team.endpoint(receiver.url("/hook")).endpoint
    ids = some_ended(team, endpoint, 60)
    sql("UPDATE webhook_endpoints SET status = :status", status=status)
    replay = recover(team, endpoint)
    work_off()
    assert get(team, replay).done == 60
    assert not drains(endpoint)
    assert deliveries.drain_held() == 0
    assert set(state(ids).values()) == {"held"}
    service.resume_endpoint(endpoint.id, team_id=team.id)
    engine = engines()
    eventually(lambda: deliveries.drain_held() >= 0 and not drains(endpoint))
    run_until_ended(engine, team)
    assert set(state(ids).values()) == {"succeeded"}


def test_filters_find_by_status_type_time_job_and_endpoint(team):
    one, two = (team.endpoint(f"{URL}/{n}", uid=f"e{n}").endpoint for n in range(2))
    job_id = new_id("job")
    some_ended(team, one, 2)
    some_ended(team, one, 3, "succeeded", kind="job.succeeded", job_id=job_id)
    some_ended(team, two, 4, kind="step.failed", age=timedelta(days=2))
    some_ended(team, two, 5, kind="step_failed.odd")
    day = now() - timedelta(days=1)
    cases = [
        ({"everything": True}, 14),
        ({"endpoint": "e0"}, 5),
        ({"endpoint": two.id}, 9),
        ({"statuses": ("succeeded",)}, 3),
        ({"statuses": ("exhausted", "succeeded"), "endpoint": "e0"}, 5),
        ({"event_types": ("job.*",)}, 5),
        ({"event_types": ("job.failed", "step.*")}, 6),
        ({"event_types": ("*",)}, 14),
        ({"since": day}, 10),
        ({"until": day}, 4),
        ({"since": day, "until": day}, 0),
        ({"job_id": job_id}, 3),
        ({"job_id": new_id("job")}, 0),
    ]
    for given, count in cases:
        options = {name: given[name] for name in ("endpoint", "everything") if name in given}
        filters = ReplayFilter(**{name: value for name, value in given.items() if name not in options})
        assert replays.count(NewReplay(filter=filters, **options), team_id=team.id) == count, given
        replay = begin(team, **given)
        assert replay.matched == count, given
        work_off()
        assert (get(team, replay).done, get(team, replay).status) == (count, "completed"), given
        sql("""UPDATE webhook_deliveries SET status = CASE event_type WHEN 'job.succeeded' THEN 'succeeded'
               ELSE 'exhausted' END, ended_at = created_at WHERE status = 'held'""")  # fmt: skip
    everybody = NewReplay(filter=ReplayFilter(), everything=True)
    assert replays.count(everybody, team_id=new_id("team")) == 0


def test_open_and_cancelled_ones_and_those_of_deleted_endpoints_are_let_alone(team):
    endpoint, gone = (team.endpoint(f"{URL}/{n}").endpoint for n in range(2))
    failed = some_ended(team, gone, 2)
    team.happen(count=3)
    service.delete_endpoint(gone.id, team_id=team.id)
    replay = begin(team, everything=True)
    assert replay.matched == 0
    work_off()
    assert get(team, replay).done == 0
    assert set(state(failed).values()) == {"exhausted"}
    assert sorted(team.statuses(endpoint=endpoint.id)) == ["pending"] * 3


def test_what_ends_after_it_was_made_is_not_touched(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 2)
    endpoint = team.endpoint(URL).endpoint
    before = some_ended(team, endpoint, 3)
    team.happen()  # open when the replay is made, and given up before its turn comes
    replay = begin(team, everything=True)
    later = some_ended(team, endpoint, 1, age=timedelta(seconds=-1))
    sql("UPDATE webhook_deliveries SET status = 'exhausted', ended_at = clock_timestamp() WHERE status = 'pending'")
    work_off()
    assert (get(team, replay).matched, get(team, replay).done) == (3, 3)
    assert set(state(before).values()) == {"held"}
    assert state(later) == {later[0]: "exhausted"}
    assert sorted(team.statuses()) == ["exhausted"] * 2 + ["held"] * 3


def test_what_somebody_sent_again_meanwhile_is_skipped(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 2)
    endpoint = team.endpoint(URL).endpoint
    ids = some_ended(team, endpoint, 5)
    replay = begin(team, everything=True)
    assert replay_duties.work_off() == 2
    replays.resend_delivery(ids[4], team_id=team.id)
    sql("DELETE FROM webhook_deliveries WHERE id = :id", id=ids[3])
    work_off()
    assert ended(get(team, replay)) == (3, 2, 0, 1.0, "completed")
    assert state(ids)[ids[4]] == "pending"


def test_an_endpoint_that_is_deleted_meanwhile_gets_nothing(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 3)
    endpoint = team.endpoint(URL).endpoint
    ids = some_ended(team, endpoint, 6)
    replay = recover(team, endpoint)
    replay_duties.work_off()
    service.delete_endpoint(endpoint.id, team_id=team.id)
    work_off()
    assert ended(get(team, replay)) == (3, 3, 0, 1.0, "completed")
    assert sorted(state(ids).values()) == ["cancelled"] * 3 + ["exhausted"] * 3


@pytest.mark.parametrize("dies_in", ["hold_again", "advance", "list_slice"])
def test_a_dispatcher_that_dies_anywhere_repeats_nothing_and_loses_nothing(team, monkeypatch, dies_in):
    monkeypatch.setattr(replay_duties, "SCAN", 4)
    endpoint = team.endpoint(URL).endpoint
    ids = some_ended(team, endpoint, 30)
    replay = begin(team, everything=True)
    whole, calls = getattr(replay_queries, dies_in), []

    def dies(*args, **options):
        calls.append(1)
        found = whole(*args, **options)
        if len(calls) in {1, 3, 4, 8}:
            raise OperationalError("gone", None, Exception("the connection is gone"))
        return found

    monkeypatch.setattr(replay_queries, dies_in, dies)
    deaths = 0
    for _ in range(60):
        try:
            if not replay_duties.work_off():
                break
        except OperationalError:
            deaths += 1
    assert deaths == 4
    assert ended(get(team, replay)) == (30, 0, 0, 1.0, "completed")
    rows = sql("SELECT earlier_attempts FROM webhook_deliveries WHERE id = ANY(:ids)", ids=ids)
    assert [row["earlier_attempts"] for row in rows] == [3] * 30


def test_dispatchers_share_replays_and_move_each_delivery_once_for_each(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 2)
    endpoints = [team.endpoint(f"{URL}/{n}").endpoint for n in range(3)]
    found = [some_ended(team, one, 14) for one in endpoints]
    made = [recover(team, one) for one in endpoints]
    made.append(begin(team, everything=True))
    start, errors = threading.Barrier(3), []

    def look():
        try:
            start.wait(10)
            for _ in range(200):
                replay_duties.work_off()
                if all(get(team, one).status == "completed" for one in made):
                    return
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shall show it
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    shown = [get(team, one) for one in made]
    assert {one.status for one in shown} == {"completed"}
    assert sum(one.done for one in shown) == 42
    rows = sql(
        "SELECT status, earlier_attempts FROM webhook_deliveries WHERE id = ANY(:ids)",
        ids=[one for ids in found for one in ids],
    )
    assert {(row["status"], row["earlier_attempts"]) for row in rows} == {("held", 3)}


def test_replays_take_turns(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 2)
    endpoints = [team.endpoint(f"{URL}/{n}").endpoint for n in range(2)]
    for one in endpoints:
        some_ended(team, one, 20)
    made = [recover(team, one) for one in endpoints]
    for _ in range(4):
        replay_duties.work_off()
    assert [get(team, one).done for one in made] == [4, 4]


def test_a_cancelled_replay_keeps_what_it_has_put_in_line(team, monkeypatch):
    monkeypatch.setattr(replay_duties, "SCAN", 4)
    endpoint = team.endpoint(URL).endpoint
    ids = some_ended(team, endpoint, 10)
    replay = begin(team, everything=True)
    replay_duties.work_off()
    assert get(team, replay).progress == 0.4
    stopped = replays.cancel_replay(replay.id, team_id=team.id)
    assert ended(stopped) == (4, 0, 0, 1.0, "cancelled")
    assert stopped.ended_at is not None
    work_off()
    assert get(team, replay) == stopped
    assert sorted(state(ids).values()) == ["exhausted"] * 6 + ["held"] * 4
    with pytest.raises(IllegalTransition, match="cancelled"):
        replays.cancel_replay(replay.id, team_id=team.id)


def test_a_drain_that_runs_meanwhile_does_not_forget_what_a_replay_holds(team):
    endpoint = team.endpoint(URL).endpoint
    ids = some_ended(team, endpoint, 5)
    sql("UPDATE webhook_endpoints SET draining = true")
    begin(team, everything=True)
    with transaction() as session:  # the drain has looked for endpoints, and waits for nobody
        assert session.scalars(drain_queries.CHOOSE, {"slice": 10, "after": ""}).all() == [endpoint.id]
        other = threading.Thread(target=work_off)
        other.start()
        other.join(0.3)
        assert other.is_alive()
        session.execute(drain_queries.DRAIN, {"endpoint_ids": [endpoint.id], "most": 5})
    other.join(20)
    assert drains(endpoint)
    assert set(state(ids).values()) == {"held"}
