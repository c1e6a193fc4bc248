"""Bulk actions: what a filter finds, each job once whatever is killed, progress, reasons, stopping."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from agora.agents import StepContext, WaitFor
from agora.bulk import duties, queries, service
from agora.bulk.types import NewBulk
from agora.clock import now
from agora.dispatcher.duties import refill_rings
from agora.errors import IllegalTransition, NotFound
from agora.idempotency.keys import IdempotencyKey
from agora.ids import new_id
from agora.jobs import service as jobs
from agora.jobs.types import JobFilter
from agora.outcomes import Permanent
from api.app import create_app
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig


def odd_fails(ctx: StepContext[Number]) -> Number:
    if ctx.input.n % 2 and ctx.job_id == ctx.root_job_id:
        raise Permanent("odd", code="odd")
    return Number(n=ctx.input.n * 10)


def ask(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?")


def answered(_: StepContext[Number]) -> Number:
    return Number()


@pytest.fixture
def rig(db, monkeypatch):
    return Rig(monkeypatch, agent_with(job=[odd_fails], asking=[ask, answered]))


def begin(rig, do, *, everything=False, options=None, idempotency=None, **filters):
    new = NewBulk(action=do, filter=JobFilter(**filters), everything=everything, options=options or {})
    return service.begin(new, team_id=rig.team_id, idempotency=idempotency)[0]


def get(rig, bulk):
    return service.get_bulk(bulk.id, team_id=rig.team_id)


def work_off(*, at_most=100):
    for _ in range(at_most):
        if not duties.work_off():
            return
    pytest.fail("it does not end")


def some(rig, count, action="job", **options):
    made = [rig.submit(action, {"n": n}, **options) for n in range(count)]
    run_all(rig)
    return [rig.job(one) for one in made]


def run_all(rig):
    while rig.run(at_most=1000) or refill_rings():
        pass


def items(rig, bulk, **options):
    return service.list_items(bulk.id, team_id=rig.team_id, limit=200, **options).items


def test_every_failed_job_is_retried_once_and_the_others_are_left_alone(rig, monkeypatch):
    monkeypatch.setattr(duties, "SLICE", 3)
    old = some(rig, 20)
    bulk = begin(rig, "retry", error_code="odd", options={"metadata": {"again": True}, "priority": 9})
    assert (bulk.matched, bulk.remaining, bulk.progress, bulk.status) == (10, 10, 0.0, "running")
    assert duties.work_off() == 3
    assert (get(rig, bulk).done, get(rig, bulk).remaining, get(rig, bulk).progress) == (3, 7, 0.3)
    work_off()
    ended = get(rig, bulk)
    assert (ended.done, ended.failed, ended.remaining, ended.progress, ended.status) == (10, 0, 0, 1.0, "completed")
    dealt = items(rig, bulk)
    assert [one.job_id for one in dealt] == [one.id for one in old if one.status == "failed"]
    run_all(rig)
    for one in dealt:
        new = jobs.get_job(one.new_job_id, team_id=rig.team_id)
        assert (new.retry_of, new.status, new.metadata, new.priority) == (one.job_id, "succeeded", {"again": True}, 9)
    assert len(jobs.list_jobs(JobFilter(), team_id=rig.team_id, limit=200).items) == 30


def test_jobs_that_it_makes_are_not_dealt_with_again(rig, monkeypatch):
    monkeypatch.setattr(duties, "SLICE", 1)
    some(rig, 4)
    bulk = begin(rig, "fork", agent=rig.agent.name, options={"from_step": "odd_fails", "input": {"n": 1}})
    for _ in range(20):
        if not duties.work_off():
            break
        run_all(rig)
    assert (get(rig, bulk).done, get(rig, bulk).status) == (4, "completed")


def test_a_cancel_ends_open_jobs_and_names_its_reason(rig):
    some(rig, 3)
    waiting = some(rig, 3, "asking")
    queued = [rig.submit("job") for _ in range(2)]
    bulk = begin(rig, "cancel", everything=True, options={"reason": "enough"})
    assert bulk.matched == 5
    work_off()
    assert (get(rig, bulk).done, get(rig, bulk).failed) == (5, 0)
    assert {rig.job(one).status for one in (*waiting, *queued)} == {"cancelled"}
    assert jobs.list_events(queued[0].id, team_id=rig.team_id)[-1].data["reason"] == "enough"


def test_what_cannot_be_done_is_counted_by_its_cause(rig):
    some(rig, 4)
    bulk = begin(rig, "retry", statuses=("failed",), options={"from_step": "nowhere"})
    work_off()
    ended = get(rig, bulk)
    assert (ended.done, ended.failed, ended.reasons, ended.status) == (0, 2, {"invalid": 2}, "completed")
    assert "no step 'nowhere'" in items(rig, bulk, outcome="failed")[0].error["message"]
    assert items(rig, bulk, outcome="done") == []


def test_a_job_that_left_the_filter_meanwhile_is_let_alone(rig):
    queued = [rig.submit("job", {"n": 2}) for _ in range(2)]
    bulk = begin(rig, "cancel", statuses=("queued",))
    run_all(rig)
    work_off()
    assert (get(rig, bulk).matched, get(rig, bulk).done, get(rig, bulk).status) == (2, 0, "completed")
    assert {rig.job(one).status for one in queued} == {"succeeded"}


@pytest.mark.parametrize("dies_in", ["take_item", "advance", "go_on_in"])
def test_a_dispatcher_that_dies_anywhere_repeats_nothing_and_loses_nothing(rig, monkeypatch, dies_in):
    monkeypatch.setattr(duties, "SLICE", 4)
    some(rig, 20)
    bulk = begin(rig, "retry", statuses=("failed",))
    owner = duties if dies_in == "go_on_in" else queries
    whole, calls = getattr(owner, dies_in), []

    def dies(*args, **options):
        calls.append(1)
        found = whole(*args, **options)
        if len(calls) in {2, 5, 9, 14, 20}:
            raise OperationalError("gone", None, Exception("the connection is gone"))
        return found

    monkeypatch.setattr(owner, dies_in, dies)
    deaths = 0
    for _ in range(60):
        try:
            if not duties.work_off():
                break
        except OperationalError:
            deaths += 1
            rig.sql("UPDATE bulk_actions SET leased_until = now()")
    ended = get(rig, bulk)
    assert deaths > 0
    assert (ended.done, ended.failed, ended.status) == (10, 0, "completed")
    made = rig.sql("SELECT retry_of, count(*) AS n FROM jobs WHERE retry_of IS NOT NULL GROUP BY retry_of")
    assert [row["n"] for row in made] == [1] * 10


def test_two_dispatchers_deal_with_each_job_once(rig, monkeypatch):
    monkeypatch.setattr(duties, "SLICE", 2)
    monkeypatch.setattr(duties, "LEASE_SECONDS", 0.0)  # so that they get into each other's way
    some(rig, 40)
    bulk = begin(rig, "retry", statuses=("failed",))
    start, errors = threading.Barrier(3), []

    def look():
        try:
            start.wait(10)
            work_off()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shall show it
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert (get(rig, bulk).done, get(rig, bulk).status) == (20, "completed")
    assert rig.sql("SELECT count(*) AS n FROM jobs WHERE retry_of IS NOT NULL")[0]["n"] == 20
    assert rig.sql("SELECT count(*) AS n FROM events WHERE type = 'bulk.ended'")[0]["n"] == 1


def test_a_lease_keeps_other_dispatchers_off_until_it_is_over(rig):
    some(rig, 2)
    begin(rig, "retry", statuses=("failed",))
    rig.sql("UPDATE bulk_actions SET leased_until = now() + interval '1 minute'")
    assert duties.work_off() == 0
    rig.sql("UPDATE bulk_actions SET leased_until = now() - interval '1 second'")
    assert duties.work_off() == 1


def test_bulk_actions_take_turns(rig, monkeypatch):
    monkeypatch.setattr(duties, "SLICE", 2)
    some(rig, 20)
    large = begin(rig, "retry", statuses=("failed",))
    small = begin(rig, "retry", statuses=("failed",))
    for _ in range(4):
        duties.work_off()
    assert (get(rig, large).done, get(rig, small).done) == (4, 4)


def test_a_stopped_bulk_action_keeps_what_it_has_done(rig, monkeypatch):
    monkeypatch.setattr(duties, "SLICE", 3)
    some(rig, 20)
    bulk = begin(rig, "retry", statuses=("failed",))
    duties.work_off()
    assert service.cancel_bulk(bulk.id, team_id=rig.team_id).status == "running"
    work_off()
    ended = get(rig, bulk)
    assert (ended.status, ended.done, ended.remaining) == ("cancelled", 3, 0)
    with pytest.raises(IllegalTransition):
        service.cancel_bulk(bulk.id, team_id=rig.team_id)
    with pytest.raises(NotFound):
        service.get_bulk(bulk.id, team_id=new_id("team"))


def test_filters_find_by_metadata_time_agent_and_batch(rig):
    old = some(rig, 4, metadata={"customer": "a", "deep": {"x": 1, "y": 2}})
    some(rig, 4, metadata={"customer": "b"})
    some(rig, 2)
    cases = [
        ({"metadata": {"customer": "a"}}, 2),
        ({"metadata": {"deep": {"y": 2}}}, 2),
        ({"metadata": {"customer": "a", "deep": {"x": 9}}}, 0),
        ({"agent": rig.agent.name, "action": "job"}, 5),
        ({"agent": "nobody"}, 0),
        ({"created_before": old[0].created_at}, 0),
        ({"created_after": old[-1].created_at}, 4),
        ({"batch_id": new_id("bat")}, 0),
    ]
    for filters, count in cases:
        found = service.preview(NewBulk(action="retry", filter=JobFilter(**filters)), team_id=rig.team_id)
        assert (found.matched, len(found.sample)) == (count, count), filters
        assert begin(rig, "retry", **filters).matched == count
    everybody = NewBulk(action="retry", filter=JobFilter(agent="probe"))
    assert service.preview(everybody, team_id=new_id("team")).matched == 0


def test_a_filter_survives_its_row():
    filters = JobFilter(
        statuses=("failed", "cancelled"), agent="a", error_code="c", created_after=now() - timedelta(days=1),
        created_before=now(), metadata={"x": [1]}, batch_id="b",
    )  # fmt: skip
    assert service.from_json(service.as_json(filters)) == filters


@pytest.mark.parametrize(
    ("new", "pointer"),
    [
        ({"action": "cancel"}, "/filter"),
        ({"action": "delete", "filter": {"agent": "probe"}}, "/action"),
        ({"action": "cancel", "filter": {"status": ["succeeded"]}}, "/filter/status"),
        ({"action": "retry", "filter": {"status": ["running"]}}, "/filter/status"),
        ({"action": "retry", "filter": {"status": ["odd"]}}, "/filter/status/0"),
        ({"action": "fork", "filter": {"agent": "probe"}}, "/from_step"),
        ({"action": "retry", "filter": {"agent": "probe"}, "input": {"n": 1}}, "/input"),
        ({"action": "cancel", "filter": {"agent": "probe"}, "priority": 3}, "/priority"),
        ({"action": "retry", "filter": {"agent": "probe"}, "metadata": {"x": "y" * 20_000}}, "/metadata"),
        ({"action": "retry", "filter": {"surprise": "probe"}}, "/filter/surprise"),
    ],
)
def test_bad_bulk_actions_name_the_field(rig, new, pointer):
    refused = Caller(create_app()).post("/api/v1/bulk", json={"filter": {}, **new})
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, pointer)
    assert rig.sql("SELECT count(*) AS n FROM bulk_actions")[0]["n"] == 0


def test_one_key_makes_one_bulk_action(rig):
    some(rig, 2)
    key = IdempotencyKey(key="k", route="r", fingerprint="f")
    one, two = (begin(rig, "retry", statuses=("failed",), idempotency=key) for _ in range(2))
    assert one.id == two.id


def test_over_http(rig):
    caller = Caller(create_app())
    rig.team_id = caller.team_id
    old = some(rig, 6, metadata={"customer": "a"})
    asked = {"action": "retry", "filter": {"metadata": {"customer": "a"}}}
    dry = caller.post("/api/v1/bulk", json={**asked, "dry_run": True})
    assert (dry.status_code, dry.json["matched"], len(dry.json["sample"])) == (200, 3, 3)
    assert rig.sql("SELECT count(*) AS n FROM bulk_actions")[0]["n"] == 0
    made = caller.post("/api/v1/bulk", json=asked, headers={"Idempotency-Key": "k"})
    assert (made.status_code, made.json["matched"], made.json["status"]) == (202, 3, "running")
    again = caller.post("/api/v1/bulk", json=asked, headers={"Idempotency-Key": "k"})
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (made.json["id"], "true")
    work_off()
    assert caller.get(made.headers["Location"]).json["done"] == 3
    page = caller.get(f"{made.headers['Location']}/items?limit=2").json
    assert len(page["items"]) == 2
    rest = caller.get(f"{made.headers['Location']}/items?cursor={page['next_cursor']}").json
    assert [one["job_id"] for one in (*page["items"], *rest["items"])] == [one.id for one in old if one.error]
    assert caller.post(f"{made.headers['Location']}/cancel").status_code == 409
    assert [one["id"] for one in caller.get("/api/v1/bulk").json["items"]] == [made.json["id"]]
    assert Caller(create_app(), team="other").get(made.headers["Location"]).status_code == 404


def test_jobs_are_listed_by_metadata(rig):
    caller = Caller(create_app())
    rig.team_id = caller.team_id
    some(rig, 2, metadata={"customer": "a", "n": 1})
    some(rig, 1, metadata={"customer": "b"})
    cases = {
        "metadata=customer:a": 2, "metadata=customer:b": 1, "metadata=customer:a&metadata=n:1": 0,
        'metadata={"n":1}': 2, 'metadata={"n":1}&metadata=customer:a': 2, "metadata=customer:c": 0,
    }  # fmt: skip
    for query, count in cases.items():
        assert len(caller.get(f"/api/v1/jobs?{query}").json["items"]) == count, query
    for query in ("metadata=customer", "metadata={", "metadata=[1]"):
        assert caller.get(f"/api/v1/jobs?{query}").json["errors"][0]["pointer"] == "/metadata"


def test_a_filter_by_metadata_uses_its_index(rig):
    rig.sql("""
        INSERT INTO jobs (id, team_id, agent, action, version, status, input, metadata, root_id)
        SELECT 'job_' || n, :team, 'probe', 'job', 1, 'queued', '{}', jsonb_build_object('n', n), 'job_' || n
        FROM generate_series(1, 5000) n
    """, team=rig.team_id)  # fmt: skip
    rig.sql("ANALYZE jobs")
    plan = rig.sql(
        """EXPLAIN SELECT id FROM jobs WHERE team_id = :team AND metadata @> '{"n": 77}' AND metadata <> '{}'
           ORDER BY id DESC LIMIT 50""",
        team=rig.team_id,
    )
    assert any("jobs_metadata_idx" in row["QUERY PLAN"] for row in plan)
