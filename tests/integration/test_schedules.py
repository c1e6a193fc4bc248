"""Schedules on real rows: fired once whoever looks, caught up as told, paused, edited, and what fails is seen."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.exc import OperationalError

from agora.agents import StepContext
from agora.dispatcher.duties import refill_rings
from agora.errors import Conflict, Invalid, NotFound
from agora.idempotency.keys import IdempotencyKey
from agora.ids import new_id
from agora.jobs import catalogue
from agora.jobs import service as jobs
from agora.jobs.types import Budget, JobFilter
from agora.schedules import duties, firing, queries, service
from agora.schedules.types import NewSchedule
from agora.webhooks.service import create_endpoint, list_deliveries
from agora.webhooks.types import DeliveryFilter, NewEndpoint
from api.app import create_app
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig


def only(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


@pytest.fixture
def rig(db, monkeypatch):
    return Rig(monkeypatch, agent_with(job=[only]))


class Clock:
    """Postgres' clock, as far as schedules look at it."""

    def __init__(self, monkeypatch, rig):
        self.now, self.rig = datetime(2026, 3, 2, 12, 0, tzinfo=UTC), rig
        monkeypatch.setattr(queries, "current_time", lambda _: self.now)
        monkeypatch.setattr(queries, "find_due", self.find_due)

    def find_due(self, session, *, slice_):
        query = queries.select(queries.ScheduleRow).where(queries.ScheduleRow.next_fire_at <= self.now)
        return session.scalars(query.order_by(queries.ScheduleRow.next_fire_at).limit(slice_)).all()

    def go(self, **by):
        """Let time pass, and fire what is due."""
        self.now += timedelta(**by)
        return firing.fire_schedules()


@pytest.fixture
def clock(monkeypatch, rig):
    return Clock(monkeypatch, rig)


def make(rig, name="s", **options):
    if not {"cron", "at", "every"} & set(options):
        options["every"] = 3600.0
    new = NewSchedule(name=name, agent=rig.agent.name, action="job", **{"input": {"n": 3}, **options})
    return service.create_schedule(new, team_id=rig.team_id)[0]


def get(rig, name="s"):
    return service.get_schedule(name, team_id=rig.team_id)


def runs(rig, name="s"):
    found = service.list_runs(name, team_id=rig.team_id, limit=200)
    return [(one.fire_at.strftime("%H:%M"), one.outcome) for one in reversed(found)]


def jobs_of(rig, schedule):
    return jobs.list_jobs(JobFilter(schedule_id=schedule.id), team_id=rig.team_id, limit=1000).items


def test_it_fires_at_its_times_and_its_jobs_run(rig, clock):
    made = make(rig, cron="30 12 * * *", timezone="Europe/Berlin", priority=8, metadata={"a": 1})
    assert made.next[:2] == [datetime(2026, 3, 3, 11, 30, tzinfo=UTC), datetime(2026, 3, 4, 11, 30, tzinfo=UTC)]
    assert len(made.next) == 10
    assert [clock.go(hours=23), clock.go(minutes=31), clock.go(minutes=1)] == [0, 1, 0]
    (job,) = jobs_of(rig, made)
    assert (job.priority, job.metadata, job.input, job.schedule_id) == (8, {"a": 1}, {"n": 3}, made.id)
    rig.run()
    assert rig.job(job).status == "succeeded"
    (created, *_) = jobs.list_events(job.id, team_id=rig.team_id)
    assert created.data["schedule_id"] == made.id
    assert created.data["fire_at"] == "2026-03-03T11:30:00+00:00"
    after = get(rig)
    assert (after.last_fire_at, after.next_fire_at) == (made.next[0], made.next[1])


def test_postgres_clock_decides_what_is_due(rig):
    made = make(rig, every=3600.0)
    assert firing.fire_schedules() == 0
    rig.sql("UPDATE schedules SET next_fire_at = now() - interval '1 second' WHERE id = :id", id=made.id)
    assert [firing.fire_schedules(), firing.fire_schedules()] == [1, 0]
    assert len(jobs_of(rig, made)) == 1


def test_two_dispatchers_fire_once(rig, clock):
    made = [make(rig, f"s{n}", every=60.0, catch_up="all") for n in range(5)]
    clock.now += timedelta(minutes=3)
    start, errors = threading.Barrier(4), []

    def look():
        try:
            start.wait(10)
            for _ in range(4):
                firing.fire_schedules()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shall show it
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert [len(jobs_of(rig, one)) for one in made] == [3] * 5
    twice = rig.sql("SELECT data->>'fire_at' AS at, data->>'schedule_id' AS s FROM events WHERE type = 'job.created'")
    assert len({(row["at"], row["s"]) for row in twice}) == 15


@pytest.mark.parametrize("dies_in", ["insert_run", "note_fired"])
def test_a_dispatcher_that_dies_in_the_middle_neither_loses_nor_doubles(rig, clock, monkeypatch, dies_in):
    made = make(rig, every=60.0)
    whole = getattr(queries, dies_in)

    def dies(*args, **options):
        whole(*args, **options)
        raise OperationalError("gone", None, Exception("the connection is gone"))

    monkeypatch.setattr(queries, dies_in, dies)
    with pytest.raises(OperationalError):
        clock.go(minutes=1)
    assert (jobs_of(rig, made), runs(rig)) == ([], [])
    monkeypatch.setattr(queries, dies_in, whole)
    assert clock.go(seconds=1) == 1
    assert (len(jobs_of(rig, made)), runs(rig)) == (1, [("12:01", "fired")])


def test_a_clock_that_goes_backwards_does_not_fire_twice(rig, clock):
    made = make(rig, every=60.0)
    clock.go(minutes=1)
    assert [clock.go(minutes=-30), clock.go(minutes=30), clock.go(seconds=59)] == [0, 0, 0]
    service.pause_schedule("s", team_id=rig.team_id)
    clock.go(minutes=-40)
    resumed = service.resume_schedule("s", team_id=rig.team_id)
    assert resumed.next_fire_at > get(rig).last_fire_at
    assert clock.go(minutes=1) == 0
    assert len(jobs_of(rig, made)) == 1


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("skip", [("12:10", "missed")]),
        ("one", [("12:10", "missed"), ("13:00", "fired")]),
        ("all", [(f"{12 + (m // 60)}:{m % 60:02}", "fired") for m in range(10, 70, 10)]),
    ],
)
def test_what_passed_unfired_is_caught_up_as_told(rig, clock, policy, expected):
    made = make(rig, every=600.0, catch_up=policy)
    clock.go(minutes=65)
    assert runs(rig) == expected
    assert len(jobs_of(rig, made)) == sum(outcome == "fired" for _, outcome in expected)
    assert get(rig).next_fire_at == datetime(2026, 3, 2, 13, 10, tzinfo=UTC)
    clock.go(minutes=5)
    assert runs(rig)[-1] == ("13:10", "fired"), "a time that is not late fires under each policy"


def test_all_makes_up_for_the_newest_hundred(rig, clock):
    made = make(rig, every=1.0, catch_up="all")
    clock.go(hours=10)
    assert len(jobs_of(rig, made)) == firing.MOST_AT_ONCE
    assert [outcome for _, outcome in runs(rig)].count("missed") == 1
    assert get(rig).next_fire_at == clock.now + timedelta(seconds=1)


def test_a_pause_fires_nothing_and_makes_up_for_nothing(rig, clock):
    made = make(rig, every=600.0, catch_up="all")
    paused = service.pause_schedule("s", team_id=rig.team_id)
    assert (paused.status, paused.next_fire_at, paused.next) == ("paused", None, [])
    assert clock.go(hours=3) == 0
    resumed = service.resume_schedule("s", team_id=rig.team_id)
    assert (resumed.status, resumed.next_fire_at) == ("active", clock.now + timedelta(minutes=10))
    assert clock.go(minutes=10) == 1
    assert len(jobs_of(rig, made)) == 1


def test_a_moment_fires_once_and_the_schedule_has_ended(rig, clock):
    made = make(rig, at=clock.now + timedelta(minutes=5))
    assert [clock.go(minutes=5), clock.go(minutes=5)] == [1, 0]
    assert (get(rig).status, get(rig).next, len(jobs_of(rig, made))) == ("ended", [], 1)


def test_run_now_works_while_paused_and_leaves_the_times_alone(rig, clock):
    made = make(rig, every=600.0)
    key = IdempotencyKey(key="k", route="r", fingerprint="f")
    one = firing.run_now("s", team_id=rig.team_id, idempotency=key)
    again = firing.run_now(made.id, team_id=rig.team_id, idempotency=key)
    assert (one.job.id, again.replayed) == (again.job.id, True)
    assert get(rig).next_fire_at == made.next_fire_at
    service.pause_schedule("s", team_id=rig.team_id)
    clock.now += timedelta(seconds=1)
    firing.run_now("s", team_id=rig.team_id)
    assert [run.manual for run in service.list_runs("s", team_id=rig.team_id)] == [True, True]
    assert len(jobs_of(rig, made)) == 2


def test_a_schedule_whose_action_has_gone_fails_visibly_once_for_each_time(rig, clock):
    endpoint = create_endpoint(
        NewEndpoint(url="https://example.com/", event_types=("schedule.failed",)), team_id=rig.team_id
    ).endpoint
    make(rig, every=600.0)
    healthy = make(rig, "healthy", every=600.0)
    rig.sql("UPDATE schedules SET action = 'gone' WHERE name = 's'")
    catalogue.forget()
    assert [clock.go(minutes=10), clock.go(seconds=1), clock.go(minutes=10)] == [2, 0, 2]
    failed = get(rig)
    assert (failed.failures, failed.last_error["code"], failed.status) == (2, "invalid", "active")
    assert "no action 'gone'" in failed.last_error["message"]
    assert runs(rig) == [("12:10", "failed"), ("12:20", "failed")]
    assert len(jobs_of(rig, healthy)) == 2
    deliveries = list_deliveries(DeliveryFilter(endpoint=endpoint.id), team_id=rig.team_id).items
    assert [one.event_type for one in deliveries] == ["schedule.failed"] * 2
    rig.sql("UPDATE schedules SET action = 'job' WHERE name = 's'")
    clock.go(minutes=10)
    assert (get(rig).failures, get(rig).last_error) == (0, None)


def test_an_input_that_is_no_longer_taken_fails_visibly(rig, clock):
    make(rig, every=600.0)
    rig.sql("""UPDATE schedules SET input = '{"v": {"n": "x"}}'""")
    clock.go(minutes=10)
    assert get(rig).last_error["message"].startswith("/input/n")


def test_a_schedule_that_cannot_be_read_any_more_ends_and_hides_no_other(rig, clock):
    make(rig, every=600.0)
    healthy = make(rig, "healthy", every=600.0)
    rig.sql("UPDATE schedules SET cron = '0 0 * * *', every = NULL, timezone = 'Gone/Zone' WHERE name = 's'")
    assert clock.go(minutes=10) == 2
    assert (get(rig).status, get(rig).failures) == ("ended", 1)
    assert len(jobs_of(rig, healthy)) == 1


def test_an_edit_goes_on_from_now_with_what_it_says(rig, clock):
    made = make(rig, every=600.0, metadata={"a": 1})
    changed = service.update_schedule(
        "s", {"cron": "0 * * * *", "input": {"n": 9}, "name": "renamed"}, team_id=rig.team_id
    )
    assert (changed.id, changed.every, changed.metadata) == (made.id, None, {"a": 1})
    assert changed.next_fire_at == datetime(2026, 3, 2, 13, 0, tzinfo=UTC)
    assert clock.go(hours=1) == 1
    assert jobs_of(rig, made)[0].input == {"n": 9}
    with pytest.raises(Invalid) as refused:
        service.update_schedule("renamed", {"input": {"n": "x"}}, team_id=rig.team_id)
    assert refused.value.errors[0].pointer == "/input/n"
    assert get(rig, "renamed").input == {"n": 9}


def test_an_edit_between_look_and_commit_is_not_fired_with_the_old_values(rig, clock, monkeypatch):
    made = make(rig, every=600.0)
    prepare = firing.prepare

    def edited_meanwhile(row):
        service.update_schedule("s", {"input": {"n": 9}}, team_id=rig.team_id)
        return prepare(row)

    monkeypatch.setattr(firing, "prepare", edited_meanwhile)
    assert clock.go(minutes=10) == 0
    monkeypatch.setattr(firing, "prepare", prepare)
    clock.go(minutes=10)
    assert [job.input for job in jobs_of(rig, made)] == [{"n": 9}]


def test_names_are_unique_in_a_team_and_no_ids(rig, clock):
    make(rig)
    with pytest.raises(Conflict):
        make(rig)
    make(rig, "other")
    with pytest.raises(Conflict):
        service.update_schedule("other", {"name": "s"}, team_id=rig.team_id)
    for name in (new_id("sch"), "a b", ""):
        with pytest.raises(Invalid):
            make(rig, name)
    with pytest.raises(NotFound):
        service.get_schedule("s", team_id=new_id("team"))


def test_a_deleted_schedule_fires_no_more_and_its_jobs_stay(rig, clock):
    made = make(rig, every=600.0)
    clock.go(minutes=10)
    service.delete_schedule("s", team_id=rig.team_id)
    assert clock.go(minutes=10) == 0
    assert len(jobs_of(rig, made)) == 1
    with pytest.raises(NotFound):
        get(rig)


def test_old_runs_are_forgotten(rig, clock):
    make(rig, every=600.0)
    clock.go(minutes=10)
    rig.sql("UPDATE schedule_runs SET created_at = now() - interval '31 days'")
    clock.go(minutes=10)
    duties.forget_runs()
    assert [moment for moment, _ in runs(rig)] == ["12:20"]


def test_each_of_its_jobs_has_its_budget_until_an_edit_takes_it_away(rig, clock):
    made = make(rig, budget=Budget(max_cost_usd=Decimal("0.50"), queue_timeout=60.0))
    assert made.budget == {"max_cost_usd": "0.50", "queue_timeout": 60.0, "on_exceeded": "fail"}
    clock.go(hours=1)
    kept = service.update_schedule("s", {"priority": 7}, team_id=rig.team_id)
    assert kept.budget == made.budget
    clock.go(hours=1)
    service.update_schedule("s", {"budget": None}, team_id=rig.team_id)
    clock.go(hours=1)
    assert [job.budget for job in jobs_of(rig, made)] == [None, made.budget, made.budget]
    late = rig.sql("SELECT start_by - run_at AS allowed FROM jobs WHERE schedule_id = :id ORDER BY id", id=made.id)
    assert [row["allowed"] for row in late] == [timedelta(minutes=1)] * 2 + [None]


def test_a_large_input_is_kept_by_reference_and_read_for_the_job(rig, clock):
    made = make(rig, every=600.0, input={"n": 1, "rest": "x" * 70_000})
    clock.go(minutes=10)
    assert get(rig).input["rest"] == "x" * 70_000
    assert "ref" in jobs_of(rig, made)[0].input
    refill_rings()
    rig.run()
    assert jobs_of(rig, made)[0].status == "succeeded"


def test_over_http(rig):
    caller = Caller(create_app())
    body = {"name": "nightly", "agent": rig.agent.name, "action": "job", "input": {"n": 2}, "cron": "0 6 * * *"}
    made = caller.post("/api/v1/schedules", json={**body, "timezone": "Europe/Berlin"})
    assert (made.status_code, len(made.json["next"]), made.json["status"]) == (201, 10, "active")
    path = made.headers["Location"]
    assert caller.post("/api/v1/schedules", json=body).status_code == 409
    assert caller.get("/api/v1/schedules/nightly").json["id"] == made.json["id"]
    assert len(caller.get(f"{path}/next?count=25").json["items"]) == 25
    changed = caller.patch(path, json={"every": 60, "catch_up": "all", "budget": {"max_tokens": 9}})
    assert changed.json["budget"] == {"max_tokens": 9, "on_exceeded": "fail"}
    assert (changed.json["every"], changed.json["cron"], changed.json["timezone"]) == (60, None, "Europe/Berlin")
    assert caller.post(f"{path}/pause").json["status"] == "paused"
    ran = caller.post(f"{path}/run")
    assert (ran.status_code, ran.json["schedule_id"]) == (202, made.json["id"])
    assert caller.post(f"{path}/resume").json["status"] == "active"
    assert caller.get(f"{path}/runs").json["items"][0]["job_id"] == ran.json["id"]
    assert caller.get(made.json["links"]["jobs"]).json["items"][0]["id"] == ran.json["id"]
    assert [one["name"] for one in caller.get("/api/v1/schedules").json["items"]] == ["nightly"]
    assert Caller(create_app(), team="other").get(path).status_code == 404
    assert caller.delete(path).status_code == 204
    assert caller.get(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "/cron"),
        ({"cron": "* * * *"}, "/cron"),
        ({"cron": "* * * * *", "timezone": "Nowhere"}, "/timezone"),
        ({"every": 0.1}, "/every"),
        ({"at": "2020-01-01T00:00:00Z"}, "/at"),
        ({"every": 60, "catch_up": "some"}, "/catch_up"),
        ({"every": 60, "agent": "nobody"}, "/agent"),
        ({"every": 60, "input": {"n": "x"}}, "/input/n"),
        ({"every": 60, "name": "a b"}, "/name"),
        ({"every": 60, "surprise": 1}, "/surprise"),
        ({"every": 60, "budget": {}}, "/budget"),
        ({"every": 60, "budget": {"max_tokens": 0}}, "/budget/max_tokens"),
    ],
)
def test_bad_schedules_name_the_field(rig, fields, pointer):
    body = {"name": "s", "agent": rig.agent.name, "action": "job", **fields}
    refused = Caller(create_app()).post("/api/v1/schedules", json=body)
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, pointer)
