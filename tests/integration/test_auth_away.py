"""The auth database is away: what needs it waits, and the dispatcher does all its other duties."""

import socket
import threading
import time
from contextlib import closing, suppress
from itertools import pairwise

import pytest
from psycopg.errors import DeadlockDetected
from sqlalchemy.exc import OperationalError, TimeoutError  # noqa: A004  # the pool's

from agora.bulk import duties as bulk_duties
from agora.caching.cache import forget_all
from agora.db import engines
from agora.dispatcher.loop import Dispatcher, Duty, all_duties
from agora.runtime.ports import free_port
from agora.schedules import firing
from agora.settings import get_settings
from tests.support.webhooks import eventually


@pytest.fixture
def auth_away(db, monkeypatch):
    yield from _away(monkeypatch)


@pytest.fixture
def auth_is_away(monkeypatch):
    """As auth_away, for tests that need it at first."""
    yield from _away(monkeypatch)


class Silent:
    """A port that takes connections, and never answers."""

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self._taken = []
        self.port = self._listening.getsockname()[1]

    def tried(self):
        """Whether somebody has come."""
        with suppress(BlockingIOError):
            self._taken.append(self._listening.accept()[0])
        return bool(self._taken)

    def close(self):
        for one in [self._listening, *self._taken]:
            one.close()


@pytest.fixture
def silent_auth(monkeypatch):
    with closing(Silent()) as silent:
        yield from _away(monkeypatch, silent.port, silent)


def _away(monkeypatch, port=None, value=None):
    monkeypatch.setenv("AUTH_DATABASE_URL", f"postgresql://agora:x@127.0.0.1:{port or free_port()}/auth")
    get_settings.cache_clear()
    engines.dispose_all()
    forget_all()
    yield value
    engines.dispose_all()
    get_settings.cache_clear()


def test_duties_that_do_not_need_it_are_done(auth_away):
    for duty in all_duties():
        if not duty.needs_auth:
            duty.do()


def test_what_makes_no_job_goes_on(caller, rig, request):
    """A bulk cancel asks for no part of the team's day."""
    job_id = caller.post("/api/v1/jobs", json={"agent": "probe", "action": "double", "input": {"n": 1}}).json["id"]
    made = caller.post("/api/v1/bulk", json={"action": "cancel", "filter": {"agent": "probe"}, "reason": "r"})
    assert made.status_code == 202, made.json
    request.getfixturevalue("auth_is_away")
    while bulk_duties.work_off():
        pass
    assert rig.sql("SELECT status FROM jobs WHERE id = :id", id=job_id) == [{"status": "cancelled"}]


def test_a_schedule_whose_quota_cannot_be_read_waits_and_is_not_failed(caller, rig, monkeypatch, request):
    body = {"name": "s", "agent": "probe", "action": "double", "every": 3600, "input": {"n": 1}}
    assert caller.post("/api/v1/schedules", json=body).status_code == 201
    rig.sql("UPDATE schedules SET next_fire_at = now() - interval '1 second'")
    request.getfixturevalue("auth_is_away")
    for fault in (None, pool_exhausted):
        if fault is not None:
            monkeypatch.setattr(firing, "allowance", fault)
        with pytest.raises((OperationalError, TimeoutError)):
            firing.fire_schedules()
    assert rig.sql("SELECT count(*) FROM schedule_runs") == [{"count": 0}]


def pool_exhausted(_team_id):
    raise TimeoutError("QueuePool limit reached")


def test_it_takes_the_main_database_not_out_of_the_dispatchers_view(auth_away):
    """Otherwise no lease would be taken back as long as it is away."""
    dispatcher, done = Dispatcher(), []
    dispatcher._duties = [Duty(lambda: done.append("later") or 0)]
    assert dispatcher._auth_duties == [duty for duty in all_duties() if duty.needs_auth]
    dispatcher.tick()
    since = dispatcher._in_view_since
    assert dispatcher.tick_auth() is False
    dispatcher.tick()
    assert done == ["later", "later"]
    assert since is not None
    assert dispatcher._in_view_since == since


def test_after_one_that_did_not_find_it_all_who_need_it_wait(db, monkeypatch):
    """Each would wait for a connection by itself, and when the last has given up the first would be due again."""
    tried, dispatcher = [], Dispatcher()

    def looks():
        tried.append(1)
        raise OperationalError("SELECT 1", {}, Exception("no answer"))

    dispatcher._auth_duties = [Duty(looks, needs_auth=True) for _ in range(3)]
    for _ in range(2):
        dispatcher.tick_auth()
    assert len(tried) == 1
    dispatcher._auth_away_until = float("-inf")
    dispatcher.tick_auth()
    assert len(tried) == 2


def test_a_statement_that_is_refused_does_not_stop_the_others(db):
    done = []

    def refused():
        raise OperationalError("SELECT 1", {}, DeadlockDetected())

    dispatcher = Dispatcher()
    dispatcher._auth_duties = [Duty(refused, needs_auth=True), Duty(lambda: done.append(1) or 0, needs_auth=True)]
    dispatcher.tick_auth()
    assert done == [1]


def test_one_that_hangs_holds_up_nothing_else(db, silent_auth):
    """It takes connections and never answers: to look for it lasts as long as the time-out."""
    at, dispatcher = [], Dispatcher()
    dispatcher._duties = [Duty(lambda: at.append(time.monotonic()) or 0)]
    running = threading.Thread(target=dispatcher.run)
    running.start()
    try:
        eventually(lambda: silent_auth.tried() and len(at) >= 4, seconds=10.0)
    finally:
        dispatcher.stop()
        running.join(10.0)
    assert not running.is_alive()
    assert max(after - before for before, after in pairwise(at)) < 2.0
