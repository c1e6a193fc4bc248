"""The order of due steps: priority as a head start, fair shares of teams, nothing starves, nobody jumps a line."""

from datetime import timedelta
from statistics import quantiles

import pytest
from sqlalchemy import text

from agora.agents import Retry, StepContext, Transient
from agora.batches import service as batches
from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.dispatcher.loop import Dispatcher
from agora.ids import new_id
from agora.jobs import rings, service, step_queries
from agora.jobs.order import TEAMS, rounds
from agora.jobs.types import Submission
from agora.settings import get_settings
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


def plain(ctx: StepContext[Number]) -> Number:
    return ctx.input


@pytest.fixture
def rig(monkeypatch):
    return Rig(monkeypatch, agent_with(plain=[plain]))


def put(rig, team, count=1, *, waited=0.0, priority=5):
    """Queue jobs of a team for which nobody was rung, as if they had waited for so many seconds."""
    return [
        put_one(rig, Submission(agent="probe", action="plain", input={}, priority=priority), team, waited)
        for _ in range(count)
    ]


def put_one(rig, submission, team, waited):
    job = service.submit(submission, team_id=team).job
    rig.sql(
        "UPDATE steps SET rung_at = NULL, run_at = run_at - make_interval(secs => :waited) WHERE job_id = :id",
        id=job.id, waited=waited,
    )  # fmt: skip
    rig.rung.clear()
    return job.id


def rung_in_order(rig, *, at_most=10_000):
    """Serve the queue, a window at a time: the jobs in the order in which they were rung."""
    order = []
    while len(order) < at_most and rings.refill("cpu"):
        served = [ring.job_id for ring in rig.rung]
        rig.rung.clear()
        order += served
        rig.sql("UPDATE steps SET status = 'cancelled', rung_at = NULL WHERE job_id = ANY(:ids)", ids=served)
    return order


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(rings, "get_settings", lambda: get_settings().model_copy(update={"ring_window": 1}))


def test_a_higher_priority_comes_first_and_a_minute_of_waiting_is_worth_one_level(rig, one_at_a_time):
    (later,) = put(rig, rig.team_id, priority=3)
    (urgent,) = put(rig, rig.team_id, priority=9)
    (patient,) = put(rig, rig.team_id, priority=3, waited=90)
    (middle,) = put(rig, rig.team_id, priority=4)
    assert rung_in_order(rig) == [urgent, patient, middle, later]


def test_the_lowest_priority_is_overtaken_for_nine_minutes_and_no_longer(rig, one_at_a_time):
    (humble,) = put(rig, rig.team_id, priority=0, waited=9 * 60 + 1)
    (urgent,) = put(rig, rig.team_id, priority=9)
    assert rung_in_order(rig) == [humble, urgent]


def wait_of_small_teams(rig, sizes):
    """The 99th percentile of how many steps were served before one of a small team's."""
    small = {job: team for team, count in sizes.items() for job in put(rig, team, count) if team != "big"}
    waits = [place for place, job in enumerate(rung_in_order(rig)) if job in small]
    assert len(waits) == len(small)
    return quantiles(waits, n=100)[98]


def test_small_teams_wait_about_as_long_beside_a_big_one_as_alone(rig):
    small = {f"team{n:02}": 4 for n in range(20)}
    alone = wait_of_small_teams(rig, small)
    assert wait_of_small_teams(rig, {"big": 400} | small) <= 1.5 * alone


def test_no_team_is_left_out_when_there_are_more_than_one_look_compares(rig):
    teams = [f"team{n:03}" for n in range(TEAMS + 8)]
    owner = {job: team for team in teams for job in put(rig, team, 3)}
    order = [owner[job] for job in rung_in_order(rig)]
    assert len(order) == len(owner)
    assert set(order[: 2 * len(teams)]) == set(teams)


def test_a_team_with_steps_in_flight_stands_behind_one_without(rig, one_at_a_time):
    busy = put(rig, "busy", 3, waited=30)
    rig.sql(
        "UPDATE steps SET status = 'running', fence = 'f', lease_expires_at = now() + interval '1 h'"
        " WHERE job_id = ANY(:ids)",
        ids=busy[:2],
    )
    idle = put(rig, "idle", 3)
    assert rung_in_order(rig) == [*idle, busy[2]]


def test_a_turn_takes_from_every_team_in_turn(rig):
    rig.submit("plain")
    rig.run()  # the worker gets to know the step
    put(rig, "big", 30, waited=30)
    put(rig, "small", 2)
    claims = rig.engine.claimer.some(queue="cpu", quick=["probe.plain.plain"], count=6).claims
    assert sorted(claim.job.team_id for claim in claims) == ["big"] * 4 + ["small"] * 2


def test_a_submit_rings_nobody_while_others_wait(rig):
    put(rig, rig.team_id)
    rig.submit("plain")
    assert not rig.rung
    assert rings.refill("cpu") == 2


def test_the_round_of_the_teams_goes_on_where_it_ended(rig):
    put(rig, "team1", 2)
    put(rig, "team2", 2)
    rung_in_order(rig)
    assert rounds.after("cpu") in {"team1", "team2"}


def test_a_retry_stands_outside_the_order_until_its_time_and_wakes_the_dispatcher_then(monkeypatch):
    def flaky(ctx: StepContext[Number]) -> Number:
        if ctx.attempt == 1:
            raise Transient("once more")
        return ctx.input

    retry = Retry(attempts=2, first=timedelta(seconds=0.6), jitter=0.0)
    rig = Rig(monkeypatch, agent_with(flaky=[(flaky, {"retry": retry})]))
    job = rig.submit("flaky")
    rig.run()
    assert rig.sql("SELECT held FROM steps WHERE job_id = :id", id=job.id)[0]["held"] == "time"
    assert (duties.release_due(), rings.refill("cpu")) == (0, 0)
    assert 0.2 < Dispatcher()._pause() <= 0.6
    rig.sql("UPDATE steps SET run_at = now() WHERE job_id = :id", id=job.id)
    assert (duties.release_due(), rings.refill("cpu")) == (1, 1)
    assert rig.run() == ["succeeded"]


def test_a_scheduled_job_is_queued_when_it_is_released(rig):
    job = rig.submit("plain", run_at=now() + timedelta(hours=1))
    rig.sql("UPDATE steps SET run_at = now() WHERE job_id = :id", id=job.id)
    assert rings.refill("cpu") == 0
    assert duties.release_due() == 1
    assert rig.job(job).status == "queued"
    assert rings.refill("cpu") == 1


def test_ids_of_teams_are_those_that_the_round_compares(rig):
    """The walk compares team ids as bytes: what the index holds must be in the same order."""
    teams = sorted(new_id("team") for _ in range(5))
    for team in teams:
        put(rig, team)
    rounds._after["cpu"] = teams[2]
    assert len(rung_in_order(rig)) == 5


LONG, LONGER = 500, 3_000


def pages_of_a_claim(rig):
    """How many pages of 8 KiB a claim from the backlog looks at, by the plan that workers come to have."""
    parameters = {
        "known": ["probe.plain@1"], "worker_id": "w", "fence": "f", "lease": 60, "may_fan_out": True,
        "event_ids": [new_id("evt") for _ in range(25)], "count": 25, "queue": "cpu", "quick": ["probe.plain.plain"],
        "after": "", "most": step_queries.FRONT + 25,
    }  # fmt: skip
    with transaction() as session:
        session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        explain = text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {step_queries.CLAIM_NEXT.text}")
        plan = session.execute(explain, parameters).scalar_one()[0]["Plan"]
        session.rollback()
    assert plan["Actual Rows"] == 25
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_a_claim_from_a_long_queue_looks_at_no_more_than_from_a_short_one(rig):
    """Statistics of a long queue make plans that read all of it look cheap."""
    pages, made = [], 0
    for size in (LONG, LONGER):
        while made < size:
            many = [Submission(agent="probe", action="plain", input={})] * min(1_000, size - made)
            made += len(batches.submit_batch(many, team_id=rig.team_id).job_ids)
        rig.sql("ANALYZE steps")
        rig.sql("ANALYZE jobs")
        pages.append(pages_of_a_claim(rig))
    assert pages[1] < 1.5 * pages[0], pages
