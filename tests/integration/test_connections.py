"""Connections that a thread still holds when the pools are closed."""

import psycopg
import pytest
from sqlalchemy import event

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
