"""Endpoints, fan-out and deliveries as a team sees them, on a real Postgres."""

import json
import time

import pytest
from sqlalchemy import CheckConstraint, inspect, text

from agora import broker
from agora.clock import now
from agora.db.session import transaction
from agora.errors import Conflict, IllegalTransition, Invalid, NotFound
from agora.events.catalogue import CATALOGUE, EVENT_TYPES
from agora.events.types import NewEvent
from agora.ids import is_id, new_id
from agora.jobs.types import InlineWebhook
from agora.settings import get_settings
from agora.webhooks import service, signing
from agora.webhooks.fan_out_queries import fan_out
from agora.webhooks.models import AttemptRow, DeliveryRow, EndpointRow
from agora.webhooks.signing import SigningKey
from agora.webhooks.states import Algorithm
from agora.webhooks.types import DeliveryFilter, NewEndpoint
from tests.support.payloads import check_payload

pytestmark = pytest.mark.usefixtures("db")

URL = "https://127.0.0.1/hook"


@pytest.fixture(autouse=True)
def rings(monkeypatch):
    made = []
    monkeypatch.setattr(broker, "ring_deliveries", lambda: made.append(1) or True)
    return made


@pytest.fixture
def team():
    return new_id("team")


def create(team, **options):
    return service.create_endpoint(NewEndpoint(**({"url": URL} | options)), team_id=team).endpoint


def happen(team, *kinds, job_id=None, agent="probe", ids=None):
    events = [NewEvent(type=kind, data={}, **({"id": ids[n]} if ids else {})) for n, kind in enumerate(kinds)]
    with transaction() as session:
        return fan_out(session, team_id=team, job_id=job_id, agent=agent, events=events, occurred_at=now())


def listed(team, **filters):
    return service.list_deliveries(DeliveryFilter(**filters), team_id=team, limit=200).items


def types_of(team, **filters):
    return sorted(one.event_type for one in listed(team, **filters))


def sql(statement, **parameters):
    with transaction() as session:
        result = session.execute(text(statement), parameters)
        return result.mappings().all() if result.returns_rows else result.rowcount


@pytest.mark.parametrize("row", [EndpointRow, DeliveryRow, AttemptRow])
def test_the_migration_and_the_models_agree(row):
    with transaction() as session:
        found = inspect(session.connection())
        columns = {column["name"]: column for column in found.get_columns(row.__tablename__)}
        indexes = {index["name"] for index in found.get_indexes(row.__tablename__)}
        checks = {check["name"] for check in found.get_check_constraints(row.__tablename__)}
    table = row.__table__
    assert set(columns) == {column.name for column in table.columns}
    assert {n: c["nullable"] for n, c in columns.items()} == {c.name: c.nullable for c in table.columns}
    assert {index.name for index in table.indexes} <= indexes
    assert {str(one.name) for one in table.constraints if isinstance(one, CheckConstraint)} == checks


def test_ids_made_in_the_database_are_typeids_in_order():
    first = sql("SELECT agora_new_id('whd') AS id")[0]["id"]
    time.sleep(0.005)
    low, high = new_id("whd"), None
    time.sleep(0.005)
    second = sql("SELECT agora_new_id('whd') AS id")[0]["id"]
    time.sleep(0.005)
    high = new_id("whd")
    assert all(is_id(one, "whd") for one in (first, second))
    assert first < low < second < high
    many = {row["id"] for row in sql("SELECT agora_new_id('whd') AS id FROM generate_series(1, 2000)")}
    assert len(many) == 2000


def test_an_endpoint_lives_its_life(team):
    made = service.create_endpoint(
        NewEndpoint(url=URL, uid="billing", description="to billing", event_types=("job.*",), metadata={"a": 1}),
        team_id=team,
    )
    assert len(signing.parse_key(made.secret).raw) == 32
    assert service.get_endpoint("billing", team_id=team) == made.endpoint
    changed = service.update_endpoint("billing", {"url": f"{URL}/2", "schedule": [0, 1]}, team_id=team)
    assert (changed.url, changed.schedule, changed.description) == (f"{URL}/2", (0.0, 1.0), "to billing")
    assert changed.updated_at > made.endpoint.updated_at
    assert service.pause_endpoint("billing", team_id=team).status == "paused"
    assert service.resume_endpoint("billing", team_id=team).status == "active"
    service.delete_endpoint("billing", team_id=team)
    with pytest.raises(NotFound):
        service.get_endpoint(made.endpoint.id, team_id=team)


def test_an_own_secret_is_taken_and_a_bad_one_refused(team):
    own = SigningKey(Algorithm.V1, bytes(range(24))).text
    assert service.create_endpoint(NewEndpoint(url=URL, secret=own), team_id=team).secret == own
    with pytest.raises(Invalid) as caught:
        service.create_endpoint(NewEndpoint(url=URL, secret="whsec_c2hvcnQ="), team_id=team)
    assert caught.value.errors[0].pointer == "/secret"


def test_a_uid_is_unique_within_its_team(team):
    create(team, uid="mine")
    create(new_id("team"), uid="mine")
    with pytest.raises(Conflict, match="mine"):
        create(team, uid="mine")
    other = create(team, uid="other")
    with pytest.raises(Conflict):
        service.update_endpoint(other.id, {"uid": "mine"}, team_id=team)


def test_another_team_sees_and_does_nothing(team):
    made = create(team)
    happen(team, "job.failed")
    [delivery] = listed(team)
    stranger = new_id("team")
    for call in (
        lambda: service.get_endpoint(made.id, team_id=stranger),
        lambda: service.update_endpoint(made.id, {"description": "x"}, team_id=stranger),
        lambda: service.delete_endpoint(made.id, team_id=stranger),
        lambda: service.pause_endpoint(made.id, team_id=stranger),
        lambda: service.resume_endpoint(made.id, team_id=stranger),
        lambda: service.send_test(made.id, team_id=stranger),
        lambda: service.get_delivery(delivery.id, team_id=stranger),
    ):
        with pytest.raises(NotFound):
            call()
    assert listed(stranger) == []
    assert service.list_endpoints(team_id=stranger).items == []
    assert not happen(stranger, "job.failed")


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*", {kind for kind in EVENT_TYPES if CATALOGUE[kind].by_wildcard} | {"agent.done"}),
        ("job.*", {kind for kind in EVENT_TYPES if kind.startswith("job.")} - {"job.progressed"}),
        ("step.*", {kind for kind in EVENT_TYPES if kind.startswith("step.")}),
        ("job.failed", {"job.failed"}),
        ("job.progressed", {"job.progressed"}),
        ("agent.*", {"agent.done"}),
    ],
)
def test_filters_choose_events(team, pattern, matched):
    create(team, event_types=(pattern,))
    assert happen(team, *EVENT_TYPES, "agent.done")
    assert set(types_of(team)) == matched


def test_two_patterns_that_match_make_one_delivery(team):
    create(team, event_types=("*", "job.*", "job.failed"))
    happen(team, "job.failed")
    assert types_of(team) == ["job.failed"]


def test_the_agents_filter_chooses(team):
    create(team, agents=("export",))
    assert not happen(team, "job.failed", agent="conflict_detector")
    assert happen(team, "job.failed", agent="export")
    assert len(listed(team)) == 1


def test_a_fan_out_is_part_of_its_transaction_and_safe_to_repeat(team):
    create(team)
    event = new_id("evt")
    with transaction() as session:
        events = [NewEvent(type="job.failed", data={}, id=event)]
        assert fan_out(session, team_id=team, job_id=None, agent="a", events=events, occurred_at=now())
        session.rollback()
    assert listed(team) == []
    assert happen(team, "job.failed", ids=[event])
    assert not happen(team, "job.failed", ids=[event])
    assert len(listed(team)) == 1


def test_the_body_is_compact_json_with_the_time_of_the_event(team):
    create(team)
    moment = now().replace(microsecond=123_000)
    with transaction() as session:
        events = [NewEvent(type="job.failed", data={"b": 1, "a": "ü\ud800"})]
        fan_out(session, team_id=team, job_id=None, agent="a", events=events, occurred_at=moment)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.123Z")
    assert (
        listed(team)[0].body == f'{{"type":"job.failed","timestamp":"{stamp}","data":{{"b":1,"a":"\\u00fc\\ud800"}}}}'
    )


def test_paused_endpoints_hold_and_resuming_releases(team, rings):
    made = create(team)
    happen(team, "job.created")
    service.pause_endpoint(made.id, team_id=team)
    assert not happen(team, "job.failed")
    assert {one.status for one in listed(team)} == {"held"}
    with pytest.raises(IllegalTransition):
        service.send_test(made.id, team_id=team)
    service.resume_endpoint(made.id, team_id=team)
    assert {one.status for one in listed(team)} == {"pending"}
    assert rings == [1]


def test_a_disabled_endpoint_cannot_be_paused(team):
    made = create(team)
    sql("UPDATE webhook_endpoints SET status = 'disabled'")
    with pytest.raises(IllegalTransition):
        service.pause_endpoint(made.id, team_id=team)


def test_an_inline_webhook_gets_the_events_of_its_own_job_only(team):
    job, other = new_id("job"), new_id("job")
    with transaction() as session:
        secret = service.create_inline(session, team_id=team, job_id=job, webhook=InlineWebhook(url=URL))
    assert len(signing.parse_key(secret).raw) == 32
    happen(team, "job.created", "job.succeeded", job_id=job)
    happen(team, "job.created", "job.succeeded", job_id=other)
    [delivery] = listed(team)
    assert (delivery.job_id, delivery.event_type) == (job, "job.succeeded")
    assert service.list_endpoints(team_id=team).items == []
    [inline] = service.list_endpoints(team_id=team, job_id=job).items
    assert (inline.kind, inline.id) == ("inline", delivery.endpoint_id)


def test_an_inline_webhook_with_its_own_secret_returns_none(team):
    own = SigningKey(Algorithm.V1, bytes(32)).text
    with transaction() as session:
        webhook = InlineWebhook(url=URL, secret=own, events=("*",))
        assert service.create_inline(session, team_id=team, job_id=new_id("job"), webhook=webhook) is None


@pytest.mark.parametrize(
    ("webhook", "pointer"),
    [
        (InlineWebhook(url="ftp://x"), "/webhook/url"),
        (InlineWebhook(url="https://10.0.0.1/"), "/webhook/url"),
        (InlineWebhook(url=URL, events=("job.done",)), "/webhook/events"),
        (InlineWebhook(url=URL, secret="x"), "/webhook/secret"),
    ],
)
def test_a_bad_inline_webhook_is_refused_with_its_pointer(team, webhook, pointer):
    with transaction() as session, pytest.raises(Invalid) as caught:
        service.create_inline(session, team_id=team, job_id=new_id("job"), webhook=webhook)
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_a_test_event_is_sent_whatever_the_filter(team, rings):
    made = create(team, event_types=("job.failed",))
    sent = service.send_test(made.id, team_id=team)
    assert (sent.event_type, sent.status, rings) == ("webhook.test", "pending", [1])
    assert is_id(sent.event_id, "evt")
    assert service.get_delivery(sent.id, team_id=team) == sent


def test_a_test_may_be_the_example_of_any_type(team, rings):
    made = create(team, event_types=("job.failed",))
    for kind in (*EVENT_TYPES, "agent.noted"):
        sent = service.send_test(made.id, team_id=team, event_type=kind)
        payload = json.loads(sent.body)
        assert (sent.event_type, payload["type"]) == (kind, kind)
        check_payload(payload)
    with pytest.raises(Invalid) as caught:
        service.send_test(made.id, team_id=team, event_type="job.exploded")
    assert caught.value.errors[0].pointer == "/event_type"


def test_lists_go_page_by_page_newest_first_and_filter(team):
    made = [create(team, uid=f"e{n}") for n in range(5)]
    first = service.list_endpoints(team_id=team, limit=2)
    second = service.list_endpoints(team_id=team, limit=2, cursor=first.next_cursor)
    third = service.list_endpoints(team_id=team, limit=2, cursor=second.next_cursor)
    assert [one.id for page in (first, second, third) for one in page.items] == [one.id for one in reversed(made)]
    assert third.next_cursor is None
    job = new_id("job")
    happen(team, "job.failed", job_id=job)
    happen(team, "job.created")
    assert len(listed(team)) == 10
    assert types_of(team, endpoint="e0") == ["job.created", "job.failed"]
    assert len(listed(team, job_id=job)) == 5
    assert len(listed(team, event_type="job.created")) == 5
    assert listed(team, statuses=("succeeded",)) == []
    page = service.list_deliveries(DeliveryFilter(), team_id=team, limit=6)
    rest = service.list_deliveries(DeliveryFilter(), team_id=team, limit=6, cursor=page.next_cursor)
    assert len({one.id for one in (*page.items, *rest.items)}) == 10
    assert rest.next_cursor is None


def test_bad_cursors_and_filters_are_refused(team):
    with pytest.raises(Invalid, match="cursor"):
        service.list_endpoints(team_id=team, cursor="whd_x")
    with pytest.raises(Invalid, match="cursor"):
        service.list_deliveries(DeliveryFilter(), team_id=team, cursor="junk")
    with pytest.raises(Invalid, match="status must be one of"):
        service.list_deliveries(DeliveryFilter(statuses=("lost",)), team_id=team)
    with pytest.raises(NotFound):
        service.list_deliveries(DeliveryFilter(endpoint="nobody"), team_id=team)


def test_what_cannot_be_changed_is_named(team):
    made = create(team)
    with pytest.raises(Invalid) as caught:
        service.update_endpoint(made.id, {"status": "disabled", "secret": "x", "url": "nowhere"}, team_id=team)
    assert {error.pointer for error in caught.value.errors} == {"/status", "/secret", "/url"}


def test_secrets_and_header_values_are_encrypted_at_rest(team):
    made = service.create_endpoint(NewEndpoint(url=URL, headers={"X-Token": "topsecret"}), team_id=team)
    stored = str(sql("SELECT e.headers, k.sealed FROM webhook_endpoints e JOIN webhook_keys k ON k.endpoint_id = e.id"))
    assert "topsecret" not in stored
    assert made.secret.removeprefix("whsec_") not in stored
    assert made.endpoint.headers == {"x-token": "[redacted]"}


def test_a_fan_out_without_endpoints_is_one_cheap_statement(team):
    """Measured against the bare round trip, so that the machine's speed does not matter much."""
    create(new_id("team"))
    event = [NewEvent(type="job.failed", data={"a": 1})]

    def timed(run):
        best = float("inf")
        with transaction() as session:
            for _ in range(60):
                start = time.perf_counter()
                run(session)
                best = min(best, time.perf_counter() - start)
        return best

    bare = timed(lambda session: session.execute(text("SELECT 1")))
    ours = timed(
        lambda session: fan_out(session, team_id=team, job_id=new_id("job"), agent="a", events=event, occurred_at=now())
    )
    assert ours < bare * 10 + 0.001


def test_the_schedule_of_the_settings_gives_the_first_pause(team, monkeypatch):
    monkeypatch.setenv("AGORA_WEBHOOK_SCHEDULE", "60,60")
    get_settings.cache_clear()
    try:
        create(team)
        create(team, schedule=(5,))
        happen(team, "job.failed")
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    pauses = sorted(round((one.next_attempt_at - one.created_at).total_seconds()) for one in listed(team))
    assert pauses == [5, 60]
