"""Many endpoints that go silent at once: each keeps little, and nobody else waits for them."""

import asyncio
import resource
import time

import pytest
from aiohttp import web

from agora.db.session import transaction
from agora.dispatcher import deliveries as duty
from agora.ids import new_id
from agora.webhooks import backstop_queries, delivery, delivery_queries, service
from agora.webhooks.pump import INLINE_SHARE
from agora.webhooks.types import InlineWebhook
from tests.support.receiver import hang
from tests.support.webhooks import Team, eventually, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
LEASE = 30.0


def claim(room=100, slice_=50):
    with transaction() as session:
        return delivery_queries.claim(session, room=room, slice_=slice_, token=new_id("evt"), lease=LEASE)


def age(seconds):
    """Let what is under way have begun so long ago."""
    sql(
        "UPDATE webhook_deliveries SET lease_expires_at = now() + make_interval(secs => :left) WHERE status = 'leased'",
        left=LEASE - seconds,
    )


def full_speed():
    sql("UPDATE webhook_endpoints SET allowance = 32, last_success_at = now() - interval '1 hour'")


def test_silent_endpoints_take_no_places_from_others(team, receiver, engines):
    """Twice as many tries hang as the process has places; a healthy endpoint gets all it is to get at once."""
    for n in range(16):
        team.endpoint(receiver.behave(f"/hang/{n}", hang), event_types=("job.failed",))
    healthy = team.endpoint(receiver.url("/healthy"), event_types=("job.succeeded",)).endpoint
    sql("UPDATE webhook_endpoints SET allowance = 32, last_success_at = now()")
    engine = engines(capacity=8, timeout=30.0)
    team.happen("job.failed", count=4)
    engine.start()
    eventually(lambda: sum(receiver.under_way[f"/hang/{n}"] > 0 for n in range(16)) == 16, seconds=20)
    begun = time.monotonic()
    team.happen("job.succeeded", count=60)
    engine.ring()
    eventually(lambda: len(receiver.got["/healthy"]) == 60, seconds=10)
    assert time.monotonic() - begun < 5
    eventually(lambda: not team.statuses(endpoint=healthy.id, statuses=("leased", "pending")))
    assert all(receiver.under_way[f"/hang/{n}"] for n in range(16))  # all the while


def failing(team, receiver, count):
    """Endpoints whose last try found nobody, with something to get, and served longer ago than any other."""
    for n in range(count):
        team.endpoint(receiver.behave(f"/hang/{n}", hang), event_types=("job.failed",))
    team.happen("job.failed", count=2)
    sql("UPDATE webhook_endpoints SET consecutive_failures = 1, last_served_at = now() - interval '1 day'")


def test_endpoints_whose_last_try_failed_get_a_share_of_the_places(team, receiver, engines):
    failing(team, receiver, 16)
    healthy = team.endpoint(receiver.url("/healthy"), event_types=("job.succeeded",)).endpoint
    sql("UPDATE webhook_endpoints SET allowance = 32 WHERE id = :id", id=healthy.id)
    team.happen("job.succeeded", count=20)
    assert engines(capacity=8, timeout=1.0).run_once() == 8
    assert len(receiver.got["/healthy"]) == 7
    assert len(team.statuses(statuses=("pending",))) == 13 + 32


def test_in_line_endpoints_of_one_team_leave_places_to_others(team, receiver, engines, monkeypatch):
    """Each job has one of its own, of which nothing is known: twice as many hang as there are places."""
    monkeypatch.setattr(delivery, "WAITING", 32)
    others, hook = Team(), InlineWebhook(url=receiver.behave("/hang", hang), events=("job.succeeded",))
    others.endpoint(receiver.url("/healthy"))
    for job_id in (new_id("job") for _ in range(80)):
        with transaction() as session:
            service.create_inline(session, team_id=team.id, job_id=job_id, webhook=hook)
        team.happen(job_id=job_id)
    engine = engines(capacity=8, timeout=30.0)
    engine.start()
    eventually(lambda: receiver.under_way["/hang"] >= 40 // INLINE_SHARE, seconds=20)
    for count in range(1, 6):
        others.happen(count=4)
        engine.ring()
        eventually(lambda count=count: len(receiver.got["/healthy"]) == 4 * count)
    assert receiver.under_way["/hang"] <= 40 // INLINE_SHARE + 8  # and what was claimed before these were seen to wait


def test_endpoints_whose_last_try_failed_get_none_while_tries_that_wait_take_half_of_the_places(
    team, receiver, engines, monkeypatch
):  # fmt: skip
    monkeypatch.setattr(delivery, "WAITING", 2)
    failing(team, receiver, 16)
    healthy = team.endpoint(receiver.url("/healthy"), event_types=("job.succeeded",)).endpoint
    engine = engines(capacity=8, timeout=30.0)
    engine.start()
    eventually(lambda: receiver.under_way.total() > 5, seconds=20)
    for _ in range(5):
        team.happen("job.succeeded", count=20)
        engine.ring()
        eventually(lambda: not team.statuses(endpoint=healthy.id, statuses=("leased", "pending")))
    assert len(receiver.got["/healthy"]) == 100
    assert receiver.under_way.total() <= 5 + 1


def test_an_endpoint_gets_no_more_while_it_is_silent(team, receiver):
    team.endpoint(receiver.url("/hook"))
    full_speed()
    team.happen(count=40)
    assert len(claim(room=3)) == 3
    sql("UPDATE webhook_endpoints SET next_due_at = now()")
    age(0.5)
    assert len(claim(room=3)) == 3
    age(2.0)
    sql("UPDATE webhook_endpoints SET next_due_at = now()")
    assert claim() == []
    assert sql("SELECT next_due_at FROM webhook_endpoints")[0]["next_due_at"] is None
    sql("UPDATE webhook_endpoints SET last_success_at = now(), next_due_at = now()")  # one of them was answered
    assert len(claim()) == 26


def test_a_receiver_that_takes_its_time_is_not_silent(team, receiver, engines):
    """It answers each after more than a second, again and again: it gets as many at once as it may have."""

    async def slowly(_):
        await asyncio.sleep(1.2)
        return web.Response(status=204)

    team.endpoint(receiver.behave("/hook", slowly), max_in_flight=8)
    sql("UPDATE webhook_endpoints SET allowance = 8")
    engine = engines(timeout=10.0)
    engine.start()
    team.happen(count=40)
    engine.ring()
    begun = time.monotonic()
    eventually(lambda: len(receiver.got["/hook"]) == 40, seconds=30)
    assert receiver.most_under_way["/hook"] == 8
    assert time.monotonic() - begun < 15  # five rounds


def test_a_claim_looks_past_endpoints_that_have_no_room(team, receiver):
    """However many of them are said to be due, and however long ago they were served."""
    for n in range(6):
        team.endpoint(receiver.url(f"/{n}"), event_types=("job.failed",))
    full_speed()
    team.happen("job.failed", count=2)
    assert len(claim(room=6)) == 6
    age(5.0)
    team.endpoint(receiver.url("/late"), event_types=("job.succeeded",))
    team.happen("job.succeeded")
    sql("UPDATE webhook_endpoints SET next_due_at = now(), last_served_at = now() - interval '1 day'")
    sql("UPDATE webhook_endpoints SET last_served_at = now() WHERE url LIKE '%late'")
    assert [row["url"][-4:] for row in claim(room=2, slice_=2)] == ["late"]


def test_nobody_marks_what_has_no_room_or_waits_for_its_rate(team, receiver):
    silent = team.endpoint(receiver.url("/silent"), event_types=("job.failed",)).endpoint
    metered = team.endpoint(receiver.url("/metered"), event_types=("job.created",), rate_limit=0.1).endpoint
    full_speed()
    team.happen("job.failed", count=3)
    assert len(claim(room=2)) == 2
    age(5.0)
    team.happen("job.created", count=3)
    sql("UPDATE webhook_endpoints SET next_due_at = NULL")
    sql("UPDATE webhook_endpoints SET tokens = 0, tokens_at = now() WHERE id = :id", id=metered.id)
    with transaction() as session:
        backstop_queries.mark_due(session, most=100, lease=LEASE)
    due = {row["id"]: row["s"] for row in sql(
        "SELECT id, extract(epoch FROM next_due_at - now()) AS s FROM webhook_endpoints")}  # fmt: skip
    assert due[silent.id] is None
    assert 9 < due[metered.id] <= 10


def test_sweeps_go_on_where_they_stopped_and_begin_anew_at_the_end(team, receiver, monkeypatch):
    made = [team.endpoint(receiver.url(f"/{n}")).endpoint.id for n in range(5)]
    team.happen()
    monkeypatch.setattr(duty, "MARK_MOST", 2)
    monkeypatch.setattr(duty, "reached", duty.Reached())
    seen = []
    for _ in range(3):
        sql("UPDATE webhook_endpoints SET next_due_at = NULL")
        duty.sweep()
        seen.append([row["id"] for row in sql(
            "SELECT id FROM webhook_endpoints WHERE next_due_at IS NOT NULL ORDER BY id")])  # fmt: skip
    assert seen == [made[:2], made[2:4], made[4:]]
    assert duty.reached.due == ""


def test_the_order_sweep_goes_on_as_well(team, receiver, monkeypatch):
    team.endpoint(receiver.url("/hook"), fifo="job")
    for n in range(5):
        team.happen(job_id=f"job_{n}", count=2)
    sql("UPDATE webhook_deliveries SET next_attempt_at = NULL")
    monkeypatch.setattr(duty, "MARK_MOST", 2)
    monkeypatch.setattr(duty, "reached", duty.Reached())
    waiting = []
    for _ in range(3):
        duty.sweep()
        rows = sql("SELECT count(*) AS n FROM webhook_deliveries WHERE next_attempt_at IS NULL")
        waiting.append(rows[0]["n"])
    assert waiting == [8, 6, 5]


def test_a_delivery_given_up_with_its_senders_is_told(team, receiver):
    dead = team.endpoint(receiver.url("/hook"), event_types=("job.succeeded",)).endpoint
    team.endpoint(receiver.url("/told"), event_types=("webhook.*",))
    team.happen()
    sql(
        "UPDATE webhook_deliveries SET status = 'leased', attempt = 3, earlier_attempts = 4, lost_leases = :lost,"
        " lease_token = 't', lease_expires_at = now() - interval '1 second'",
        lost=duty.LOST_LEASE_LIMIT - 1,
    )
    assert duty.return_lost() == 1
    [event] = sql("SELECT type, data FROM events")
    assert event["type"] == "webhook.delivery.exhausted"
    assert (event["data"]["endpoint_id"], event["data"]["attempts"]) == (dead.id, 6)


def test_a_process_may_open_as_many_connections_as_it_has_tries(monkeypatch):
    limits = {"now": (256, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: limits.update(now=value))
    assert delivery.allow_waiting(256) == delivery.WAITING
    assert limits["now"] == (256 + delivery.WAITING + delivery.SPARE_FILES, 4096)
    limits["now"] = (256, 1024)
    assert delivery.allow_waiting(256) == 1024 - 256 - delivery.SPARE_FILES
    limits["now"] = (64, 64)
    assert delivery.allow_waiting(256) == 0
