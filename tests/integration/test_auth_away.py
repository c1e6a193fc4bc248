"""The auth database is away: what needs it waits, and the dispatcher does all its other duties."""

import pytest

from agora.db import engines
from agora.dispatcher.loop import Dispatcher, Duty, all_duties
from agora.runtime.ports import free_port
from agora.settings import get_settings


@pytest.fixture
def auth_away(db, monkeypatch):
    monkeypatch.setenv("AUTH_DATABASE_URL", f"postgresql://agora:x@127.0.0.1:{free_port()}/auth")
    get_settings.cache_clear()
    engines.dispose_all()
    yield
    engines.dispose_all()
    get_settings.cache_clear()


def test_duties_that_do_not_need_it_are_done(auth_away):
    for duty in all_duties():
        if not duty.needs_auth:
            duty.do()


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
