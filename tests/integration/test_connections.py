"""Connections that a thread still holds when the pools are closed."""

import psycopg
import pytest
from sqlalchemy import event, text

from agora.db import engines
from agora.db.session import statement
from agora.jobs import service
from agora.settings import get_settings

pytestmark = pytest.mark.usefixtures("db")


def test_a_connection_that_comes_back_after_its_pool_was_closed_is_closed():
    with statement() as direct:
        held = direct._connection
        engines.dispose_all()
        assert not held.closed
    assert held.closed
    with statement() as direct:
        assert isinstance(direct._connection, psycopg.Connection)
        assert not direct._connection.closed


def test_a_connection_that_was_left_in_the_middle_of_a_statement_is_not_used_again():
    """As by a greenlet that is killed while it waits for Postgres."""

    def leave():
        with statement() as direct:
            direct._connection.pgconn.send_query(b"SELECT pg_sleep(0.2)")
            left.append(direct._connection)
            raise SystemExit

    left = []
    with pytest.raises(SystemExit):
        leave()
    assert left[0].closed
    with statement() as direct:
        assert direct.rows(text("SELECT 1 AS one"), {}) == [{"one": 1}]


def test_a_pool_is_filled_with_what_it_keeps_and_a_second_time_with_nothing():
    engines.dispose_all()
    opened = []
    event.listen(engines.engine(), "connect", lambda connection, _record: opened.append(connection))
    service.get_ready()
    size = get_settings().db_pool_size
    assert (len(opened), engines.engine().pool.checkedin()) == (size, size)
    service.get_ready()
    with statement() as direct:
        assert direct._connection in opened
    assert len(opened) == size
