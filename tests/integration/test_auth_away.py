"""The auth database is away: what needs it waits, and the dispatcher does all its other duties."""

import pytest
from sqlalchemy.exc import OperationalError, TimeoutError  # noqa: A004  # the pool's

from agora.bulk import duties as bulk_duties
from agora.caching.cache import forget_all
from agora.db import engines
from agora.dispatcher.loop import Dispatcher, Duty, all_duties
from agora.runtime.ports import free_port
from agora.schedules import firing
from agora.settings import get_settings


@pytest.fixture
def auth_away(db, monkeypatch):
    yield from _away(monkeypatch)


@pytest.fixture
def auth_is_away(monkeypatch):
    """As auth_away, for tests that need it at first."""
    yield from _away(monkeypatch)


def _away(monkeypatch):
    monkeypatch.setenv("AUTH_DATABASE_URL", f"postgresql://agora:x@127.0.0.1:{free_port()}/auth")
    get_settings.cache_clear()
    engines.dispose_all()
    forget_all()
    yield
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
    done = []
    dispatcher = Dispatcher()
    waits = [duty for duty in all_duties() if duty.needs_auth]
    dispatcher._duties = [*waits, Duty(lambda: done.append("later") or 0)]
    dispatcher.tick()
    since = dispatcher._in_view_since
    dispatcher.tick()
    assert done == ["later", "later"]
    assert since is not None
    assert dispatcher._in_view_since == since
    assert waits
