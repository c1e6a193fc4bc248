"""A team's jobs of a day, where Redis forgets, comes back or is away, and where a submit fails half-way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError, TimeoutError  # noqa: A004  # the pool's

from agora.caching import link
from agora.jobs.together import Interrupted
from agora.quotas import daily

pytestmark = pytest.mark.usefixtures("as_many_processes")
AWAY = "redis://127.0.0.1:1/0"


@pytest.fixture
def submit(caller, rig):
    return lambda: caller.post("/api/v1/jobs", json={"agent": "probe", "action": "double", "input": {"n": 1}})


@pytest.fixture
def attempt(rig):
    """Takes room for a job, and fails with an error before or while it is made."""

    def make(error):
        with daily.allowance(rig.team_id) as room:
            room.take()
            raise error

    def fail(error):
        with pytest.raises(type(error)):
            make(error)

    return fail


def test_what_surely_made_no_job_gives_its_room_back_and_what_may_have_made_one_does_not(rig, submit, limit, attempt):
    limit(jobs_per_day=4)
    for _ in range(4):
        attempt(TimeoutError("QueuePool limit of size 1 overflow 0 reached"))
        attempt(OperationalError("INSERT", {}, Exception("no room on the disk")))
    assert submit().status_code == 202
    attempt(Interrupted("stopped in the middle"))
    attempt(OperationalError("COMMIT", {}, Exception("the connection is gone"), connection_invalidated=True))
    assert [submit().status_code for _ in range(2)] == [202, 429]


def test_a_redis_that_comes_back_with_an_older_count_begins_from_postgres(rig, submit, limit, own_valkey):
    limit(jobs_per_day=3)
    assert submit().status_code == 202
    link.ask(lambda client: client.save())
    assert [submit().status_code for _ in range(2)] == [202, 202]
    own_valkey.stop()
    own_valkey.start()
    link.forget()
    assert link.ask(lambda client: client.get(daily.Allowance(rig.team_id)._key)).endswith(b"|1")
    assert submit().status_code == 429


def owe(team_id):
    """The team makes a job without Redis; the count that Redis has then misses it."""
    daily._uncounted[daily.Allowance(team_id)._key] = object()


def test_what_is_owed_anew_while_it_is_made_up_for_is_owed_still(rig, limit, monkeypatch):
    limit(jobs_per_day=3)
    ask = daily.ask

    def another_meanwhile(use):
        found = ask(use)
        owe(rig.team_id)
        return found

    owe(rig.team_id)
    with monkeypatch.context() as patch:
        patch.setattr(daily, "ask", another_meanwhile)
        daily.make_up()
    assert len(daily._uncounted) == 1
    with monkeypatch.context() as patch:
        patch.setattr(daily, "ask", away)
        with pytest.raises(link.Away):
            daily.make_up()
    assert len(daily._uncounted) == 1
    daily.make_up()
    assert not daily._uncounted


def away(_):
    raise link.Away


def test_who_counts_while_it_is_made_up_for_waits_for_that(rig, submit, limit, monkeypatch):
    """They would have the old count, or take away the new one."""
    limit(jobs_per_day=1)
    assert submit().status_code == 202
    key, ask = daily.Allowance(rig.team_id)._key, daily.ask
    daily._count(key, -1, 0)  # as though the job had been made without Redis
    owe(rig.team_id)
    made_up, go, asked = threading.Event(), threading.Event(), []

    def slow(use):
        asked.append(threading.get_ident())
        if len(asked) == 1:
            made_up.set()
            go.wait(10.0)
        return ask(use)

    monkeypatch.setattr(daily, "ask", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(daily.make_up)
        assert made_up.wait(10.0)
        second = pool.submit(daily._count, key, 1, 1)
        with pytest.raises(FutureTimeout):
            second.result(0.2)
        go.set()
        first.result(10.0)
        assert second.result(10.0) == daily.UNKNOWN


def test_a_job_that_is_made_while_redis_comes_back_counts(db, rig, limit, setting, submit, monkeypatch):
    """Whoever counts meanwhile begins from Postgres, where it is not yet."""
    limit(jobs_per_day=2)
    setting("REDIS_URL", AWAY)
    with daily.allowance(rig.team_id) as room:
        room.take()
        setting("REDIS_URL", db["REDIS_URL"])
        assert submit().status_code == 202
        with monkeypatch.context() as patch:
            taken = SimpleNamespace(has_room=lambda: True, use=lambda: None)
            patch.setattr("agora.jobs.service.allowance", lambda _: nullcontext(taken))
            assert submit().status_code == 202
        room.use()
    assert submit().status_code == 429


def test_a_count_that_is_gone_when_room_is_given_back_begins_from_postgres(limit, rig, submit):
    """Else it would begin from nothing, and the team had its whole day once more."""
    limit(jobs_per_day=3)
    for _ in range(2):
        assert submit().status_code == 202

    def makes_no_job() -> None:
        with daily.allowance(rig.team_id) as room:
            room.take()
            link.ask(lambda client: client.delete(*client.scan_iter(f"{daily.PREFIX}*")))
            raise RuntimeError("no job is made")

    with pytest.raises(RuntimeError, match="no job is made"):
        makes_no_job()
    assert [submit().status_code for _ in range(2)] == [202, 429]
