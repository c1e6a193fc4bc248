"""Hot statements go to libpq: each is prepared once for a session, and survives what sessions go through."""

from datetime import UTC, datetime

import pytest
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from agora.db import engines
from agora.db.session import statement, transaction
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db")

ECHO = text("""
SELECT CAST(:some AS text[]) AS some, CAST(:number AS int) AS number, CAST(:yes AS bool) AS yes,  -- a comment
       CAST(:nothing AS text) AS nothing, CAST(:share AS float8) AS share, CAST(:at AS timestamptz) AS at,
       CAST(:object AS jsonb) AS object, 'a  (10%)' AS quoted, CAST(:number AS int) + 1 AS more
""")
GIVEN = {
    "some": ["a", 'b"\\,{}', ""], "number": 5, "yes": True, "nothing": None, "share": 0.25,
    "at": datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC), "object": '{"a": [1, null]}',
}  # fmt: skip
PREPARED = text("SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE '%(10!%)%' ESCAPE '!'")


def test_values_come_back_as_they_were_given():
    with statement() as direct:
        (row,) = direct.rows(ECHO, GIVEN)
    assert row == GIVEN | {"object": {"a": [1, None]}, "quoted": "a  (10%)", "more": 6}


def test_a_statement_is_prepared_once_and_again_after_a_rollback_let_postgres_forget_it():
    with statement() as direct:
        for _ in range(3):
            direct.rows(ECHO, GIVEN)
        assert direct.rows(PREPARED, {}) == [{"n": 1}]
        direct._connection.execute("DEALLOCATE ALL")  # as psycopg does when a transaction rolls back
        direct._connection.rollback()
        assert direct.rows(ECHO, GIVEN)[0]["number"] == 5
        assert direct.rows(PREPARED, {}) == [{"n": 1}]


@pytest.fixture
def asks_at_once(monkeypatch):
    """A pool that asks each connection whether it is alive, however short a time it was idle."""
    engines.dispose_all()
    monkeypatch.setattr(engines, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(engines, "QUIET_SECONDS", 0.0)
    yield
    engines.dispose_all()


@pytest.mark.usefixtures("asks_at_once")
def test_a_look_whether_an_idle_connection_is_alive_costs_it_no_plan():
    with statement() as direct:
        direct.rows(ECHO, GIVEN)
        before = direct._connection
        for _ in range(10):  # psycopg prepares what it sees so often
            before.execute("SELECT 1")
        before.commit()
    with statement() as direct:
        assert direct._connection is before
        assert direct.rows(PREPARED, {}) == [{"n": 1}]


def rows(said, **parameters):
    with statement() as direct:
        return direct.rows(text(said), parameters)


def held():
    """The connection that is taken first."""
    with statement() as direct:
        return direct._connection


def test_what_postgres_refuses_is_raised_and_the_connection_used_again():
    before = held()
    with pytest.raises(DBAPIError, match="division by zero"):
        rows("SELECT 1 / CAST(:n AS int) AS n", n=0)
    assert rows("SELECT 1 / CAST(:n AS int) AS n", n=1) == [{"n": 1}]
    twice = "INSERT INTO queues (name) VALUES (:name)"
    assert rows(twice, name="other") == ()
    with pytest.raises(IntegrityError):
        rows(twice, name="other")
    assert rows("SELECT name FROM queues WHERE name = :name", name="other") == [{"name": "other"}]
    assert held() is before


def test_a_connection_whose_server_process_was_ended_is_an_operational_error_and_not_used_again():
    before = held()
    with pytest.raises(OperationalError) as caught:
        rows("SELECT pg_terminate_backend(pg_backend_pid()) AS ended")
    assert caught.value.connection_invalidated
    assert held() is not before


@pytest.fixture
def table():
    with transaction() as session:
        session.execute(text("CREATE TABLE changing (a int)"))
        session.execute(text("INSERT INTO changing VALUES (1)"))
    yield
    with transaction() as session:
        session.execute(text("DROP TABLE changing"))


@pytest.mark.usefixtures("table")
def test_a_table_may_be_changed_meanwhile():
    assert rows("SELECT * FROM changing") == [{"a": 1}]
    before = held()
    with transaction() as session:
        session.execute(text("ALTER TABLE changing ALTER a TYPE text"))
        session.execute(text("ALTER TABLE changing ADD b int"))
    assert rows("SELECT * FROM changing") == [{"a": "1", "b": None}]
    assert rows("SELECT * FROM changing") == [{"a": "1", "b": None}]
    assert held() is before


def test_a_statement_that_was_prepared_and_not_noted_is_prepared_all_the_same():
    """As by a step that its time limit stopped in between."""
    with statement() as direct:
        direct.rows(ECHO, GIVEN)
        direct._prepared.clear()
        assert direct.rows(ECHO, GIVEN)[0]["number"] == 5


@pytest.fixture
def pooled(monkeypatch):
    """A connection as behind a pooler, in a process that limits its statements."""
    monkeypatch.setattr(engines, "_statement_ms", 200)
    with statement() as direct:
        direct._connection.prepare_threshold = None
        yield direct
        direct._connection.prepare_threshold = 5


def test_behind_a_pooler_nothing_is_prepared_and_statements_are_limited_all_the_same(pooled):
    assert pooled.rows(ECHO, GIVEN)[0]["number"] == 5
    assert pooled.rows(PREPARED, {}) == [{"n": 0}]
    assert pooled.rows(text("SHOW statement_timeout"), {}) == [{"statement_timeout": "200ms"}]
    with pytest.raises(QueryCanceled):
        pooled.rows(text("SELECT pg_sleep(60)"), {})
    pooled.rows(text("INSERT INTO queues (name) VALUES (:name)"), {"name": "other"})
    assert rows("SELECT name FROM queues WHERE name = :name", name="other") == [{"name": "other"}]
    assert pooled._connection.pgconn.transaction_status == TransactionStatus.IDLE


def test_what_postgres_does_not_support_is_said():
    with pytest.raises(DBAPIError, match="FOR UPDATE is not allowed"):
        rows("SELECT name FROM queues GROUP BY name FOR UPDATE")
    assert rows("SELECT 1 AS one") == [{"one": 1}]


def test_a_connection_that_was_idle_is_asked_only_if_its_server_said_something(monkeypatch):
    monkeypatch.setattr(engines, "FRESH_SECONDS", 0.0)
    asked = []
    autocommit = property(lambda _: False, lambda _, on: asked.append(on))
    monkeypatch.setattr(engines.psycopg.Connection, "autocommit", autocommit)
    before = held()
    assert held() is before
    assert not asked
    with transaction("auth") as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": before.info.backend_pid})
    eventually(lambda: engines._has_heard(before))
    assert held() is not before
    assert asked == [True]
