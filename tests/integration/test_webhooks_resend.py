"""A delivery that is sent again: the same id and bytes, the schedule anew, the log of tries going on."""

import threading

import pytest
from standardwebhooks import Webhook

from agora import broker
from agora.db.session import transaction
from agora.dispatcher import deliveries as duties
from agora.errors import Conflict, IllegalTransition, NotFound
from agora.ids import new_id
from agora.webhooks import replays, service
from agora.webhooks.types import InlineWebhook
from tests.support.caller import Caller
from tests.support.webhooks import eventually, gone_in_line, run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")

QUICK = (0.0, 0.05)


def resend(team, delivery):
    return replays.resend_delivery(delivery.id, team_id=team.id)


def only(team):
    [found] = team.deliveries()
    return found


def row_of(delivery):
    return sql("SELECT * FROM webhook_deliveries WHERE id = :id", id=delivery.id)[0]


def test_an_exhausted_delivery_is_sent_again_with_its_id_and_bytes_and_a_new_signature(team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", 500, 500, 204), schedule=QUICK)
    team.happen(data={"job_id": "job_1", "name": "Zoë"})
    engine = engines()
    run_until_ended(engine, team)
    lost = only(team)
    assert (lost.status, lost.attempt) == ("exhausted", 2)
    again = resend(team, lost)
    assert (again.id, again.event_id, again.body) == (lost.id, lost.event_id, lost.body)
    assert (again.status, again.attempt, again.ended_at) == ("pending", 0, None)
    assert (again.last_status_code, again.last_error) == (500, lost.last_error)
    run_until_ended(engine, team)
    first, _, third = receiver.got["/hook"]
    assert (third[0]["webhook-id"], third[1]) == (first[0]["webhook-id"], first[1])
    Webhook(made.secret).verify(third[1], third[0])
    ended = only(team)
    assert (ended.status, ended.attempt) == ("succeeded", 1)
    assert [(one.number, one.status_code) for one in ended.attempts] == [(1, 500), (2, 500), (3, 204)]


def test_the_whole_schedule_begins_anew_each_time(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500), schedule=QUICK)
    team.happen()
    engine = engines()
    for round_ in range(1, 4):
        run_until_ended(engine, team)
        found = only(team)
        assert (found.status, len(found.attempts)) == ("exhausted", 2 * round_)
        assert [one.number for one in found.attempts] == list(range(1, 2 * round_ + 1))
        resend(team, found)


def test_what_succeeded_may_be_sent_again_as_well(team, receiver, engines):
    team.endpoint(receiver.url("/hook"))
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    resend(team, only(team))
    run_until_ended(engine, team)
    first, second = receiver.got["/hook"]
    assert first[1] == second[1]
    assert only(team).status == "succeeded"


def test_it_rings_after_the_commit_and_marks_its_endpoint(team, receiver, engines, monkeypatch):
    team.endpoint(receiver.behave("/hook", 500), schedule=(0.0,))
    team.happen()
    run_until_ended(engines(), team)
    sql("UPDATE webhook_endpoints SET next_due_at = NULL")
    seen = []
    monkeypatch.setattr(broker, "ring_deliveries", lambda: seen.append(team.statuses()) or True)
    resend(team, only(team))
    assert seen == [["pending"]]
    assert sql("SELECT next_due_at <= now() AS due FROM webhook_endpoints")[0]["due"]


def test_a_resting_endpoint_is_not_looked_at_before_its_rest_is_over(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500), schedule=(0.0,))
    team.happen()
    run_until_ended(engines(), team)
    sql("UPDATE webhook_endpoints SET next_due_at = NULL, open_until = now() + interval '1 minute'")
    resend(team, only(team))
    assert sql("SELECT next_due_at = open_until AS due FROM webhook_endpoints")[0]["due"]
    assert engines().run_once() == 0


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_it_is_held_while_its_endpoint_is_not_active_and_goes_out_at_the_resume(team, receiver, engines, state):
    made = team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0,)).endpoint
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    sql("UPDATE webhook_endpoints SET status = :state", state=state)
    lost = only(team)
    assert resend(team, lost).status == "held"
    assert resend(team, lost).status == "held"
    assert engine.run_once() == 0
    service.resume_endpoint(made.id, team_id=team.id)
    run_until_ended(engine, team)
    assert only(team).status == "succeeded"


def test_a_pending_one_is_sent_now_and_spends_nothing(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 500, 204), schedule=(0.0, 3600.0, 3600.0))
    team.happen()
    engine = engines()
    assert engine.run_once() == 1
    waiting = only(team)
    assert engine.run_once() == 0
    found = resend(team, waiting)
    assert (found.status, found.attempt) == ("pending", 1)
    assert engine.run_once() == 1
    assert (only(team).status, only(team).attempt) == ("pending", 2)
    resend(team, waiting)
    engine.run_once()
    assert (only(team).status, only(team).attempt, len(only(team).attempts)) == ("succeeded", 3, 3)


def test_of_two_clicks_at_once_one_begins_it_and_the_other_finds_it_pending(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500), schedule=QUICK)
    team.happen()
    run_until_ended(engines(), team)
    lost, start, found = only(team), threading.Barrier(4), []

    def click():
        start.wait(10)
        found.append(resend(team, lost))

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [(one.status, one.attempt) for one in found] == [("pending", 0)] * 4
    assert row_of(lost)["earlier_attempts"] == 2


def test_what_is_being_sent_is_refused(team, receiver):
    team.endpoint(receiver.url("/hook"))
    team.happen()
    sql("UPDATE webhook_deliveries SET status = 'leased', lease_token = 't', lease_expires_at = now()")
    with pytest.raises(IllegalTransition, match="being sent"):
        resend(team, only(team))


def test_a_deleted_endpoint_gets_nothing(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook")).endpoint
    team.happen()
    run_until_ended(engines(), team)
    team.happen()
    service.delete_endpoint(made.id, team_id=team.id)
    done, cancelled = team.deliveries()
    assert (done.status, cancelled.status) == ("succeeded", "cancelled")
    for one in (done, cancelled):
        with pytest.raises(Conflict, match="deleted"):
            resend(team, one)
    assert team.statuses() == ["cancelled", "succeeded"]


def test_it_goes_out_of_any_order(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0,), fifo="endpoint")
    team.happen(count=3)
    engine = engines()
    run_until_ended(engine, team)
    [first] = [one for one in team.deliveries() if one.status == "exhausted"]
    team.happen(count=2)
    resend(team, first)
    row = row_of(first)
    assert (row["order_key"], row["place"]) == (None, None)
    run_until_ended(engine, team)
    assert set(team.statuses()) == {"succeeded"}


def test_what_waits_for_its_turn_is_refused_but_the_first_of_its_order_may_be_hurried(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0, 3600.0), fifo="endpoint")
    team.happen()
    team.happen()
    engine = engines()
    engine.run_once()
    first, second = team.deliveries()
    with pytest.raises(IllegalTransition, match="its turn"):
        resend(team, second)
    resend(team, first)
    run_until_ended(engine, team)
    assert [one.status for one in team.deliveries()] == ["succeeded"] * 2
    ids = [headers["webhook-id"] for headers, *_ in receiver.got["/hook"]]
    assert ids == [first.event_id, first.event_id, second.event_id]


def test_a_held_one_of_an_active_endpoint_does_not_wait_for_the_drain(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook")).endpoint
    service.pause_endpoint(made.id, team_id=team.id)
    team.happen()
    team.happen()
    sql("UPDATE webhook_endpoints SET status = 'active', draining = true")
    _, last = team.deliveries()
    assert resend(team, last).status == "pending"
    assert engines().run_once() == 1
    assert [one.status for one in team.deliveries()] == ["held", "succeeded"]


def test_lost_senders_before_it_do_not_count_against_it(team, receiver, engines):
    team.endpoint(receiver.url("/hook"))
    team.happen()
    sql("UPDATE webhook_deliveries SET status = 'exhausted', ended_at = now(), lost_leases = 20, last_error = 'lost'")
    resend(team, only(team))
    sql("""
        UPDATE webhook_deliveries SET status = 'leased', attempt = 1, lease_token = 't',
            lease_expires_at = now() - interval '1 s'
    """)
    duties.return_lost()
    run_until_ended(engines(), team)
    assert only(team).status == "succeeded"


def test_numbers_stay_in_the_log_however_often_it_is_sent(team, receiver, engines):
    team.endpoint(receiver.url("/hook"))
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    sql("UPDATE webhook_deliveries SET earlier_attempts = 31999")
    for _ in range(3):
        resend(team, only(team))
        run_until_ended(engine, team)
    assert row_of(only(team))["earlier_attempts"] == 32000
    assert only(team).status == "succeeded"


def test_the_callback_of_a_job_is_sent_again(team, receiver, engines):
    job_id = new_id("job")
    with transaction() as session:
        service.create_inline(
            session, team_id=team.id, job_id=job_id,
            webhook=InlineWebhook(url=receiver.behave("/inline", 500, 204), events=("job.*",)),
        )  # fmt: skip
    sql("UPDATE webhook_endpoints SET schedule = '{0}'")
    team.happen(job_id=job_id)
    engine = engines()
    run_until_ended(engine, team)
    assert only(team).status == "exhausted"
    resend(team, only(team))
    run_until_ended(engine, team)
    assert only(team).status == "succeeded"


def test_over_http(app, team, receiver, engines):
    caller = Caller(app)
    team.id = caller.team_id
    team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0,))
    team.happen()
    run_until_ended(engines(), team)
    path = f"/api/v1/webhook-deliveries/{only(team).id}/resend"
    assert Caller(app, team="other").post(path).status_code == 404
    assert only(team).status == "exhausted"
    again = caller.post(path)
    assert (again.status_code, again.json["status"], again.json["attempt"]) == (202, "pending", 0)
    sql("UPDATE webhook_deliveries SET status = 'leased', lease_token = 't', lease_expires_at = now()")
    refused = caller.post(path)
    assert (refused.status_code, refused.json["code"], refused.json["state"]) == (409, "illegal-transition", "leased")
    assert caller.post(f"/api/v1/webhook-deliveries/{new_id('whd')}/resend").status_code == 404


def test_another_team_sends_nothing_again(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500), schedule=(0.0,))
    team.happen()
    run_until_ended(engines(), team)
    with pytest.raises(NotFound):
        replays.resend_delivery(only(team).id, team_id=new_id("team"))
    assert only(team).status == "exhausted"


def test_a_held_one_that_nobody_said_would_be_drained_is_found(team, receiver, engines, monkeypatch):
    team.endpoint(receiver.url("/hook"))
    monkeypatch.setitem(duties._last, "marked", float("-inf"))
    team.happen(count=3)
    sql("UPDATE webhook_deliveries SET status = 'held'")
    duties.tend_deliveries()
    assert sql("SELECT draining FROM webhook_endpoints")[0]["draining"]
    engine = engines()
    eventually(lambda: duties.drain_held() and not (set(team.statuses()) & {"held"}))
    run_until_ended(engine, team)
    assert set(team.statuses()) == {"succeeded"}


def test_a_cancelled_delivery_is_refused_and_nothing_is_said_to_have_been_done(team, receiver, engines):
    """That of a job whose one-off receiver wants no more; its endpoint is still there."""
    gone_in_line(team, receiver, engines)
    assert duties.cancel_orphans() == 1
    [cancelled] = [one for one in team.deliveries() if one.status == "cancelled"]
    with pytest.raises(IllegalTransition, match="was cancelled: the receiver answered 410 Gone") as caught:
        resend(team, cancelled)
    assert caught.value.extra == {"state": "cancelled", "allowed": []}
    assert team.deliveries(statuses=("cancelled",)) == [cancelled]
    assert sql("SELECT count(*) AS n FROM audit_outbox WHERE team_id = :id", id=team.id)[0]["n"] == 0
