"""What a schedule tells when it fires: with its job, once, to whoever listens."""

import pytest

from agora import broker
from agora.jobs import intake
from agora.schedules import firing, service
from agora.schedules.types import NewSchedule
from tests.support.payloads import check_data
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig
from tests.support.webhooks import Team


def only(ctx) -> Number:
    return Number()


@pytest.fixture
def rig(db, monkeypatch):
    return Rig(monkeypatch, agent_with(job=[only]))


@pytest.fixture
def team(rig):
    made = Team()
    rig.team_id = made.id
    return made


@pytest.fixture
def schedule(rig, team):
    new = NewSchedule(name="s", agent=rig.agent.name, action="job", every=3600.0, catch_up="all")
    return service.create_schedule(new, team_id=team.id)[0]


def fired(rig):
    found = rig.sql("SELECT data, job_id FROM events WHERE type = 'schedule.fired' ORDER BY id")
    for one in found:
        check_data("schedule.fired", one["data"])
        assert one["job_id"] is None
    return [one["data"] for one in found]


def test_every_fire_time_is_told_with_its_job_and_runs_by_hand_say_so(rig, team, schedule):
    assert firing.fire_schedules() == 0
    past = "now() - interval '{} minutes'"
    rig.sql(f"UPDATE schedules SET created_at = {past.format(190)}, next_fire_at = {past.format(130)}")
    assert [firing.fire_schedules(), firing.fire_schedules()] == [1, 0]
    by_hand = firing.run_now("s", team_id=team.id).job.id
    jobs = [row["id"] for row in rig.sql("SELECT id FROM jobs ORDER BY id")]
    told = fired(rig)
    assert [one["job_id"] for one in told] == jobs
    assert [one["manual"] for one in told] == [False] * (len(jobs) - 1) + [True]
    assert (len(jobs), jobs[-1]) == (4, by_hand)
    created = [row["data"] for row in rig.sql("SELECT data FROM events WHERE type = 'job.created' ORDER BY id")]
    assert [one["fire_at"] for one in told] == [one["fire_at"] for one in created]
    assert told[0]["links"] == {"self": f"/api/v1/schedules/{schedule.id}", "job": f"/api/v1/jobs/{jobs[0]}"}


def test_listeners_get_it_and_are_rung_for(rig, team, schedule, monkeypatch):
    heard = []
    monkeypatch.setattr(broker, "ring_deliveries", lambda: heard.append(1))
    team.endpoint("https://127.0.0.1/x", event_types=["schedule.*"])
    team.endpoint("https://127.0.0.1/x", event_types=["*"], agents=["another"])
    rig.sql("UPDATE schedules SET next_fire_at = now()")
    assert firing.fire_schedules() == 1
    assert ([one.event_type for one in team.deliveries()], heard) == (["schedule.fired"], [1])


def test_nothing_is_told_of_a_job_that_could_not_be_made(rig, team, schedule, monkeypatch):
    def lost(*_, **__):
        raise OSError("gone")

    monkeypatch.setattr(intake, "fan_out_each", lost)
    team.endpoint("https://127.0.0.1/x")
    rig.sql("UPDATE schedules SET next_fire_at = now()")
    firing.fire_schedules()
    assert (fired(rig), rig.sql("SELECT id FROM jobs")) == ([], [])
    assert rig.sql("SELECT type FROM events") == [{"type": "schedule.failed"}]
