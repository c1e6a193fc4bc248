"""Connections that a thread still holds when the pools are closed."""

import psycopg
import pytest

from agora.db import engines
from agora.db.session import statement

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
