"""Submits that come at once are written together, and none pays for another."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import BaseModel, JsonValue
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agora.agents import Agent, StepContext
from agora.db.session import _hot, statement
from agora.errors import IdempotencyKeyReused
from agora.idempotency.keys import IdempotencyKey
from agora.ids import new_id
from agora.jobs import accept, limits, service
from agora.jobs.intake_queries import INSERT_JOBS
from agora.jobs.record_queries import RECORD
from agora.jobs.step_queries import CLAIM_ONE
from agora.jobs.types import Submission
from agora.settings import get_settings
from agora.webhooks import service as webhooks
from agora.webhooks.types import NewEndpoint
from tests.support.locks import until_waiting
from tests.support.rig import Rig
from tests.support.webhooks import eventually

CALLERS = 12
PAST = datetime.now(UTC) - timedelta(minutes=1)


class Anything(BaseModel):
    value: JsonValue = None


class Nothing(BaseModel):
    pass


@pytest.fixture
def rig(db, monkeypatch):
    agent = Agent("crowd")
    action = agent.action("take", input=Anything, output=Nothing)

    @action.step
    def only(_ctx: StepContext[Anything]) -> Nothing:
        return Nothing()

    return Rig(monkeypatch, agent)


@contextmanager
def held_up(db):
    """No job can be inserted until the block ends."""
    with psycopg.connect(db["DATABASE_URL"]) as other:
        other.execute("LOCK TABLE jobs IN SHARE MODE")
        yield


def wait_for_line(count):
    """So many callers stand behind the one that is at it."""
    eventually(lambda: len(accept._together._line) == count)


def at_it():
    """One is being written, alone; whoever comes now stands in line."""
    eventually(lambda: accept._together._led and not accept._together._line)


def submitted(rig, pool, value, *, team_id=None, key_id=None, **options):
    submission = Submission(agent="crowd", action="take", input={"value": value}, **options)
    return pool.submit(lambda: service.submit(submission, team_id=team_id or rig.team_id, key_id=key_id).job)


def written_by(rig, jobs):
    """The transactions that inserted them."""
    return [rig.sql("SELECT xmin::text AS by FROM jobs WHERE id = :id", id=job.id)[0]["by"] for job in jobs]


def test_those_that_come_at_once_share_a_transaction_and_are_each_their_own(rig, db):
    teams = [new_id("team") for _ in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = []
            for n, team in enumerate(teams):
                made.append(submitted(rig, pool, n, team_id=team, key_id=f"key_{n}"))
                at_it() if n == 0 else wait_for_line(n)
        jobs = [one.result(30) for one in made]
    assert [(job.team_id, job.input["value"], job.status) for job in jobs] == [
        (team, n, "queued") for n, team in enumerate(teams)
    ]
    assert len(set(written_by(rig, jobs))) == 2  # the first, and all that came meanwhile
    assert sorted(row["key_id"] for row in rig.sql("SELECT key_id FROM jobs")) == sorted(
        f"key_{n}" for n in range(CALLERS)
    )
    assert {ring.job_id for ring in rig.rung} == {job.id for job in jobs}
    shown = [service.get_job(job.id, team_id=job.team_id) for job in jobs]
    assert [(one.created_at, one.run_at) for one in shown] == [(job.created_at, job.run_at) for job in jobs]
    rig.run()
    for job in jobs:
        found = service.list_events(job.id, team_id=job.team_id)
        assert [event.type for event in found] == ["job.created", "job.started", "step.succeeded", "job.succeeded"]


def test_whom_one_statement_cannot_serve_is_served_by_a_transaction_beside_the_others(rig, db):
    subscribed, limited = new_id("team"), new_id("team")
    endpoint = NewEndpoint(url="http://127.0.0.1:9/hook", event_types=["job.created"])
    webhooks.create_endpoint(endpoint, team_id=subscribed)
    limits.put_limit("crowd", team_id=limited, max_running=1)
    teams = [subscribed, limited, *(new_id("team") for _ in range(4))]
    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = [submitted(rig, pool, "first")]
            at_it()
            made += [submitted(rig, pool, 0, team_id=team) for team in teams]
            wait_for_line(len(teams))
        first, *jobs = [one.result(30) for one in made]
    assert len(set(written_by(rig, jobs[2:]))) == 1
    assert len(set(written_by(rig, [first, *jobs]))) == 4
    deliveries = rig.sql("SELECT team_id, job_id FROM webhook_deliveries")
    assert [(row["team_id"], row["job_id"]) for row in deliveries] == [(subscribed, jobs[0].id)]
    assert [row["job_id"] for row in rig.sql("SELECT job_id FROM permits")] == [jobs[1].id]


def test_what_postgres_refuses_of_one_does_not_take_the_others_with_it(rig, db):
    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = [submitted(rig, pool, 0)]
            at_it()
            keys = ["key_1", "key_2", "nul \0", "key_4", "key_5"]
            made += [submitted(rig, pool, n + 1, key_id=one) for n, one in enumerate(keys)]
            wait_for_line(5)
        assert isinstance(made[3].exception(30), DataError)
        good = [one.result(30) for n, one in enumerate(made) if n != 3]
    assert sorted(row["id"] for row in rig.sql("SELECT id FROM jobs")) == sorted(job.id for job in good)
    assert rig.sql("SELECT count(*) AS n FROM steps")[0]["n"] == 5
    assert len(rig.rung) == 5


def test_when_they_are_written_one_by_one_each_is_told_what_became_of_its_own(rig, db, monkeypatch):
    """A pool that has no connection for one of them does not make those before it seem lost."""
    calls = itertools.count(1)

    def scarce():
        if next(calls) == 4:  # the first, the group, one of the group, this one
            raise PoolTimeout("no connection")
        return statement()

    monkeypatch.setattr(accept, "statement", scarce)
    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = [submitted(rig, pool, 0)]
            at_it()
            for n, key in enumerate(["key_1", "key_2", "nul \0", "key_4"], 1):
                made.append(submitted(rig, pool, n, key_id=key))
                wait_for_line(n)
        found = [one.exception(30) for one in made]
    assert [type(one) for one in found] == [type(None), type(None), PoolTimeout, DataError, type(None)]
    good = [one.result().id for one in made if one.exception() is None]
    assert sorted(row["id"] for row in rig.sql("SELECT id FROM jobs")) == sorted(good)


def test_when_the_database_goes_away_each_of_them_is_told_and_nothing_is_half_there(rig, db):
    stuck = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    admin = psycopg.connect(db["DATABASE_URL"], autocommit=True)
    with ThreadPoolExecutor(CALLERS) as pool, admin, held_up(db):
        made = [submitted(rig, pool, 0)]
        at_it()
        made += [submitted(rig, pool, n) for n in range(1, 6)]
        wait_for_line(5)
        for _ in "the first", "all the others":
            eventually(lambda: admin.execute(stuck).rowcount)
            wait_for_line(0)
        found = [one.exception(30) for one in made]
    assert [type(one) for one in found] == [OperationalError] * 6
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 0
    assert rig.submit("take").status == "queued"


def test_a_large_input_goes_alone(rig, db):
    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = [submitted(rig, pool, "first")]
            at_it()
            made += [submitted(rig, pool, "x" * accept.SMALL), submitted(rig, pool, 2)]
            wait_for_line(1)
        first, large, small = [one.result(30) for one in made]
    assert len(set(written_by(rig, [first, large, small]))) == 3


def test_of_those_with_one_key_one_is_made_and_the_others_get_it(rig, db):
    key, other = (IdempotencyKey(key="k", route="POST /jobs", fingerprint=one) for one in ("same", "other"))

    def submit(idempotency, team_id=None):
        submission = Submission(agent="crowd", action="take", input={})
        return service.submit(submission, team_id=team_id or rig.team_id, idempotency=idempotency)

    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = [pool.submit(submit, None)]
            at_it()
            made += [pool.submit(submit, key) for _ in range(6)]
            wait_for_line(6)
            foreign, wrong = pool.submit(submit, key, new_id("team")), pool.submit(submit, other)
            wait_for_line(8)
        found = [one.result(30) for one in made[1:]]
        assert foreign.result(30).job.id not in {one.job.id for one in found}
        assert isinstance(wrong.exception(30), IdempotencyKeyReused)
    assert len({one.job.id for one in found}) == 1
    assert sorted(one.replayed for one in found) == [False] + [True] * 5
    assert rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"] == 3
    assert len(rig.rung) == 3


def test_a_key_of_yesterday_is_free_again(rig):
    key = IdempotencyKey(key="k", route="POST /jobs", fingerprint="f")
    submission = Submission(agent="crowd", action="take", input={})
    first = service.submit(submission, team_id=rig.team_id, idempotency=key)
    rig.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    second = service.submit(submission, team_id=rig.team_id, idempotency=key)
    assert (first.replayed, second.replayed, first.job.id == second.job.id) == (False, False, False)


def test_hot_statements_are_planned_once(rig):
    for _ in range(30):
        rig.submit("take")
        rig.run()
    counted = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"
    with statement() as direct:
        seen = direct.rows(text(counted), {})
    found = {}
    for name, hot in {"submit": INSERT_JOBS, "claim one": CLAIM_ONE, "record": RECORD}.items():
        (found[name],) = [row for row in seen if row["statement"] == _hot(hot.text).written.decode()]
    for name, row in found.items():
        assert row["custom_plans"] <= 5, name
        assert row["generic_plans"] >= 10, name


def test_a_key_that_somebody_else_is_about_is_waited_for_by_its_own_request_only(rig, db):
    """The dispatcher deletes keys of yesterday in slices; a request for one waits, the others do not."""
    key = IdempotencyKey(key="k", route="POST /jobs", fingerprint="f")
    submission = Submission(agent="crowd", action="take", input={})
    first = service.submit(submission, team_id=rig.team_id, idempotency=key).job
    rig.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    with ThreadPoolExecutor(CALLERS) as pool:
        with psycopg.connect(db["DATABASE_URL"]) as other:
            other.execute("DELETE FROM idempotency_keys")
            waits = pool.submit(service.submit, submission, team_id=rig.team_id, idempotency=key)
            until_waiting()
            assert submitted(rig, pool, 1).result(30).status == "queued"
            assert not waits.done()
        second = waits.result(30)
    assert not second.replayed
    assert second.job.id != first.id


def test_jobs_of_now_and_of_the_past_share_the_window(rig, db, monkeypatch):
    monkeypatch.setenv("AGORA_RING_WINDOW", "3")
    get_settings.cache_clear()
    with ThreadPoolExecutor(CALLERS) as pool:
        with held_up(db):
            made = [submitted(rig, pool, 0)]
            at_it()
            made += [submitted(rig, pool, n, run_at=PAST if n % 2 else None) for n in range(1, 9)]
            wait_for_line(8)
        assert {one.result(30).status for one in made} == {"queued"}
    assert len(rig.rung) == 3
    get_settings.cache_clear()
