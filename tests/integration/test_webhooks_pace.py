"""How fast and in which order an endpoint is served: slow start, rate, order, drain."""

import threading
import time

import pytest
from aiohttp import web
from sqlalchemy import text

from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import deliveries as duty
from agora.events.types import NewEvent
from agora.ids import new_id
from agora.webhooks import backstop_queries, delivery_queries, drain_queries, order_queries, service
from agora.webhooks.fan_out_queries import fan_out
from tests.support.receiver import hang
from tests.support.webhooks import eventually, run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
DEAD = "http://127.0.0.1:1/closed"


def claim(room=100):
    with transaction() as session:
        return delivery_queries.claim(session, room=room, slice_=50, token=new_id("evt"), lease=30.0)


def ids_at(receiver, path="/hook"):
    return [got[0]["webhook-id"] for got in receiver.got[path]]


# --- slow start and the breaker


def test_a_new_endpoint_starts_slowly_and_grows_with_success(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook")).endpoint
    team.happen(count=200)
    engine = engines()
    rounds = [engine.run_once() for _ in range(5)]
    assert rounds == [4, 8, 16, 32, 32]
    assert service.get_endpoint(made.id, team_id=team.id).allowance == 32


def test_an_endpoint_that_asks_for_less_gets_half_and_grows_again(team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", *[204] * 60, 503, 204)).endpoint
    team.happen(count=61)
    engine = engines()
    assert [engine.run_once() for _ in range(4)] == [4, 8, 16, 32]
    allowed = service.get_endpoint(made.id, team_id=team.id).allowance
    engine.run_once()
    assert service.get_endpoint(made.id, team_id=team.id).allowance in {allowed // 2, allowed // 2 + 1}


def test_after_a_rest_one_probe_goes_out_and_then_it_grows(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook")).endpoint
    sql("UPDATE webhook_endpoints SET consecutive_failures = 5, allowance = 1, open_until = now() - interval '1 s'")
    team.happen(count=50)
    engine = engines()
    assert [engine.run_once() for _ in range(5)] == [1, 2, 4, 8, 16]
    assert service.get_endpoint(made.id, team_id=team.id).consecutive_failures == 0


def test_a_bad_ratio_opens_the_breaker_although_some_succeed(team, receiver, engines):
    answers = [503, 503, 204] * 30  # never five in a row
    made = team.endpoint(receiver.behave("/hook", *answers), schedule=(0.0, 3600.0)).endpoint
    team.happen(count=60)
    engine = engines()
    for _ in range(40):
        engine.run_once()
    found = service.get_endpoint(made.id, team_id=team.id)
    assert found.open_until > now()
    assert 20 <= len(receiver.got["/hook"]) < 60


# --- rate


def test_a_rate_holds_over_engines_and_is_spent_evenly(team, receiver, engines):
    team.endpoint(receiver.url("/hook"), rate_limit=20)
    sql("UPDATE webhook_endpoints SET allowance = 32")
    team.happen(count=60)
    start = time.monotonic()
    for engine in (engines(), engines()):
        engine.start()
    eventually(lambda: len(receiver.got["/hook"]) == 60, seconds=20)
    took = time.monotonic() - start
    moments = sorted(got[2] for got in receiver.got["/hook"])
    assert took >= (60 - 20) / 20 * 0.95  # a bucket of one second's worth, then 20 a second
    for n in range(len(moments) - 41):
        assert moments[n + 41] - moments[n] > 0.8  # never more than bucket and rate in a second
    assert took < 15


def test_a_slow_rate_lets_the_first_go_at_once_and_tells_when_the_next_may(team, receiver, engines):
    team.endpoint(receiver.url("/hook"), rate_limit=0.1)
    team.happen(count=3)
    engine = engines()
    assert [engine.run_once() for _ in range(3)] == [1, 0, 0]
    with transaction() as session:
        assert 8 < backstop_queries.next_due(session) <= 10
    sql("UPDATE webhook_endpoints SET tokens_at = tokens_at - interval '10 s', next_due_at = now()")
    assert engine.run_once() == 1


# --- order


def test_within_an_ordered_endpoint_one_follows_the_other(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), fifo="endpoint", schedule=(0.0, 0.2, 0.2))
    events = [team.happen(kind)[0] for kind in ("job.created", "job.started", "job.succeeded")]
    engine = engines()
    run_until_ended(engine, team)
    first, second, third = (one.id for one in events)
    assert ids_at(receiver) == [first, first, second, third]
    assert receiver.most_under_way["/hook"] == 1


def test_one_statement_keeps_the_order_of_its_events(team, receiver, engines):
    team.endpoint(receiver.url("/hook"), fifo="job")
    events = team.happen(job_id=new_id("job"), count=30)
    run_until_ended(engines(), team)
    assert ids_at(receiver) == [one.id for one in events]


def test_orders_of_different_jobs_do_not_wait_for_each_other(team, receiver, engines):
    stuck, free = new_id("job"), new_id("job")

    async def by_job(request):
        if stuck in await request.text():
            return await hang(request)
        return web.Response(status=204)

    team.endpoint(receiver.behave("/hook", by_job), fifo="job")
    team.happen(job_id=stuck, count=3, data={"job_id": stuck})
    events = team.happen(job_id=free, count=5, data={"job_id": free})
    engine = engines()
    engine.start()
    eventually(lambda: len(receiver.got["/hook"]) == 6)
    assert [one for one in ids_at(receiver) if one in {e.id for e in events}] == [e.id for e in events]
    assert receiver.under_way["/hook"] == 1


def test_a_spent_head_lets_the_next_go(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), fifo="project", schedule=(0.0,))
    data = {"project_id": "prj_1"}
    first, second = team.happen(data=data)[0], team.happen(data=data)[0]
    run_until_ended(engines(), team)
    assert ids_at(receiver) == [first.id, second.id]
    assert team.statuses(event_type="job.succeeded") == ["succeeded", "exhausted"]


def test_an_event_recorded_while_its_predecessor_ends_is_not_forgotten(team, receiver, engines):
    """It saw the predecessor open and waits for its turn; the settling did not see it. Nobody would ever come."""
    team.endpoint(receiver.url("/hook"), fifo="endpoint")
    team.happen()
    event = NewEvent(type="job.failed", data={})
    engine = engines()
    with transaction() as session:
        fan_out(session, team_id=team.id, job_id=None, agent="a", events=[event], occurred_at=now())
        assert engine.run_once() == 1  # the first goes out and is settled while the second is not committed
    assert sorted(team.statuses()) == ["pending", "succeeded"]
    assert claim() == []
    with transaction() as session:
        turned, reached = order_queries.promote_all(session, most=100)
        assert (len(turned), reached) == (1, order_queries.BEGINNING)
        backstop_queries.wake(session, endpoint_ids=turned)
    assert engine.run_once() == 1
    assert ids_at(receiver)[-1] == event.id


def test_a_running_engine_looks_for_it_by_itself(team, receiver, engines):
    team.endpoint(receiver.url("/hook"), fifo="endpoint")
    engine = engines()
    engine.start()
    made = []

    def publish():
        for _ in range(40):
            event = NewEvent(type="job.failed", data={})
            with transaction() as session:
                fan_out(session, team_id=team.id, job_id=None, agent="a", events=[event], occurred_at=now())
            made.append(event.id)
            engine.ring()

    publisher = threading.Thread(target=publish)
    publisher.start()
    publisher.join(30)
    eventually(lambda: len(receiver.got["/hook"]) == 40, seconds=20)
    assert ids_at(receiver) == made


def test_two_that_came_at_once_are_sent_one_after_the_other(team, receiver):
    """Neither saw the other; a claim lets only the first of them go, and the second waits for its turn."""
    team.endpoint(receiver.url("/hook"), fifo="endpoint")
    with transaction() as one, transaction() as other:
        for session in (one, other):
            event = NewEvent(type="job.failed", data={})
            fan_out(session, team_id=team.id, job_id=None, agent="a", events=[event], occurred_at=now())
    with transaction() as session:
        backstop_queries.mark_due(session, most=10, lease=30.0)
    [first] = claim()
    assert claim() == []
    rows = sql("SELECT id, status, next_attempt_at FROM webhook_deliveries ORDER BY place")
    assert [(row["status"], row["next_attempt_at"] is None) for row in rows] == [("leased", False), ("pending", True)]
    assert rows[0]["id"] == first["id"]


@pytest.mark.parametrize("fifo", ["endpoint", "job"])
def test_a_claim_looks_at_no_more_for_a_long_queue_than_for_a_short_one(team, receiver, fifo):
    made = team.endpoint(receiver.url("/hook"), fifo=fifo).endpoint
    pages = []
    for _ in range(2):
        for _ in range(3 if not pages else 20):
            team.happen(job_id="job_1", count=100)
        sql("ANALYZE webhook_deliveries")
        pages.append(pages_of_a_claim(made.id))
    assert pages[1] < pages[0] + 50


def pages_of_a_claim(endpoint_id):
    """How many pages of 8 KiB a claim looks at, by the plan that senders come to have."""
    parameters = {
        "endpoint_ids": [endpoint_id], "share": 100, "token": "t", "lease": 9.0, "silent": 1.0, "second_look": 0.2,
    }  # fmt: skip
    with transaction() as session:
        session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        explain = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {delivery_queries.LEASE.text}")
        plan = session.execute(explain, parameters).scalar_one()[0]["Plan"]
        session.rollback()
    assert plan["Actual Rows"] == 1
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


# --- drain


def test_what_was_held_is_released_at_a_pace_beside_what_is_new(team, receiver, engines, setting):
    setting("AGORA_WEBHOOK_DRAIN_RATE", 10)
    made = team.endpoint(receiver.url("/hook")).endpoint
    service.pause_endpoint(made.id, team_id=team.id)
    held = team.happen(count=35)
    assert service.resume_endpoint(made.id, team_id=team.id).draining
    assert sorted(team.statuses()) == ["held"] * 25 + ["pending"] * 10
    fresh = team.happen(count=1)[0]
    engine = engines()
    run_pending(engine)
    assert len(receiver.got["/hook"]) == 11
    assert fresh.id in ids_at(receiver)
    duty._last["drained"] = time.monotonic() - 1.0
    assert duty.drain_held() == 10
    assert duty.drain_held() in {1, 2}  # at least one, however short it is ago
    duty._last["drained"] = time.monotonic() - 60.0
    assert duty.drain_held() in {13, 14}  # two seconds' worth at most, and all that is left
    duty.drain_held()
    run_pending(engine)
    assert sorted(ids_at(receiver)) == sorted([*(one.id for one in held), fresh.id])
    assert not service.get_endpoint(made.id, team_id=team.id).draining


def run_pending(engine):
    for _ in range(20):
        engine.run_once()


def test_an_endpoint_that_fails_again_drains_no_further(team, engines, setting):
    setting("AGORA_WEBHOOK_DRAIN_RATE", 5)
    made = team.endpoint(DEAD, schedule=(0.0, 3600.0)).endpoint
    service.pause_endpoint(made.id, team_id=team.id)
    team.happen(count=20)
    service.resume_endpoint(made.id, team_id=team.id)
    engine = engines()
    run_pending(engine)
    assert service.get_endpoint(made.id, team_id=team.id).open_until > now()
    duty._last["drained"] = time.monotonic() - 1.0
    assert duty.drain_held() == 0
    assert team.statuses().count("held") == 15


def test_two_dispatchers_drain_without_getting_into_each_others_way(team, receiver, setting):
    setting("AGORA_WEBHOOK_DRAIN_RATE", 1)
    made = team.endpoint(receiver.url("/hook")).endpoint
    service.pause_endpoint(made.id, team_id=team.id)
    team.happen(count=9)
    service.resume_endpoint(made.id, team_id=team.id)
    with transaction() as one, transaction() as other:
        assert drain_queries.drain_held(one, slice_=10, most=5) == (5, "")
        assert drain_queries.drain_held(other, slice_=10, most=5) == (0, "")


def held(team, count):
    """Endpoints that drain twenty deliveries each, in the order of their turns."""
    made = [team.endpoint(f"{DEAD}/{n}").endpoint for n in range(count)]
    for one in made:
        service.pause_endpoint(one.id, team_id=team.id)
    team.happen(count=20)
    sql("UPDATE webhook_endpoints SET status = 'active', draining = true")
    return [one.id for one in made]


def test_endpoints_that_drain_take_turns_and_keep_their_pace(team, setting, monkeypatch):
    setting("AGORA_WEBHOOK_DRAIN_RATE", 2)
    monkeypatch.setattr(duty, "reached", duty.Reached())
    monkeypatch.setattr(duty, "SLICE", 2)
    ids = held(team, 5)
    duty._last["drained"] = time.monotonic() - 1.0
    rounds = [duty.drain_held() for _ in range(3)]
    assert rounds == [4, 4, 2]  # a second's worth for each, however many calls it takes to come round
    rows = sql("SELECT endpoint_id, count(*) AS n FROM webhook_deliveries WHERE status = 'pending' GROUP BY 1")
    assert {row["endpoint_id"]: row["n"] for row in rows} == dict.fromkeys(ids, 2)
    duty._last["drained"] = time.monotonic() - 1.5
    assert [duty.drain_held() for _ in range(3)] == [6, 6, 3]
