"""The dispatcher goes on, whatever a duty of its raises."""

import errno
import threading

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from agora.dispatcher import loop
from agora.dispatcher.loop import Dispatcher, Duty
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db")


def test_a_duty_that_fails_is_left_out_for_a_while_and_all_others_go_on(monkeypatch):
    """Such as one whose file store is full. A process that ended would begin with the same duty again."""
    failed, done, dispatcher = [], [], Dispatcher()

    def full():
        failed.append(1)
        raise OSError(errno.ENOSPC, "no space is left")

    monkeypatch.setattr(loop, "FAILURE_PAUSE", 60.0)
    dispatcher._duties = [Duty(full), Duty(lambda: done.append(1) or 1)]
    running = threading.Thread(target=dispatcher.run)
    running.start()
    try:
        eventually(lambda: len(done) >= 3 or not running.is_alive())
    finally:
        dispatcher.stop()
        running.join(10.0)
    assert len(done) >= 3
    assert failed == [1]
    dispatcher._duties[0].rests_until = float("-inf")
    dispatcher.tick()
    assert failed == [1, 1]


def test_without_the_main_database_the_whole_loop_waits():
    dispatcher = Dispatcher()

    def away():
        raise OperationalError("SELECT 1", {}, Exception("no answer"))

    dispatcher._duties = [Duty(away)]
    with pytest.raises(OperationalError):
        dispatcher.tick()
    assert not dispatcher._ticked.is_set()


@pytest.mark.parametrize("refused", [psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable])
def test_a_statement_that_is_refused_is_no_outage(refused):
    dispatcher, done = Dispatcher(), []

    def wait_in_vain():
        raise OperationalError("UPDATE jobs", {}, refused())

    dispatcher._duties = [Duty(wait_in_vain), Duty(lambda: done.append(1) or 1)]
    assert dispatcher.tick()
    assert done == [1]


def test_what_stops_it_stops_both_lines():
    dispatcher, done = Dispatcher(), threading.Event()
    dispatcher._duties, dispatcher._auth_duties = [], [Duty(lambda: done.set() or 0, needs_auth=True)]
    running = threading.Thread(target=dispatcher.run)
    running.start()
    try:
        assert done.wait(10.0)
    finally:
        dispatcher.stop()
        running.join(10.0)
    assert [one.name for one in threading.enumerate() if one.name == "agora-dispatcher-auth"] == []
