"""Sessions: ``transaction()`` and ``statement()`` are the only places in Agora that commit."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import RowMapping, TextClause
from sqlalchemy.dialects.postgresql import psycopg as dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from agora.db.engines import Database, engine
from agora.settings import get_settings

Rows = Sequence[Mapping[str, Any]]
Row = RowMapping | Mapping[str, Any]

_names: dict[str, tuple[str, ...]] = {}
"""The columns of each statement's rows: psycopg would describe them anew at each execution."""

_DIALECT = dialect.dialect()  # type: ignore[no-untyped-call]


@contextmanager
def transaction(database: Database = "main") -> Iterator[Session]:
    """One transaction: commits when the block ends, rolls back when it raises.

    Never call the outside world inside the block.
    """
    with Session(engine(database), expire_on_commit=False, info={"database": database}) as session, session.begin():
        yield session


class Direct:
    """A pooled connection on which each statement commits at once, without SQLAlchemy in between."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, statement: TextClause, parameters: Mapping[str, Any]) -> Rows:
        """Execute one statement and return its rows."""
        written = statement.text
        cursor = self._connection.cursor(row_factory=tuple_row)
        cursor.execute(_plain(written), parameters)
        names = _names.get(written)
        if names is None:
            names = _names[written] = tuple(column.name for column in cursor.description or ())
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else ()


@contextmanager
def statement(database: Database = "main") -> Iterator[Direct]:
    """For the hot paths: statements that are each a transaction of their own, one round trip and little else.

    Raises the same SQLAlchemy errors as ``transaction()``.
    """
    pooled = connection = None
    try:
        pooled = engine(database).raw_connection()
        connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
        connection.autocommit = True
        yield Direct(connection)
    except psycopg.Error as error:
        gone = connection is None or connection.closed
        raise DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=gone, dialect=_DIALECT
        ) from error
    finally:
        if connection is not None and connection.info.transaction_status == TransactionStatus.IDLE:
            connection.autocommit = False
        elif pooled is not None:
            pooled.invalidate()  # it is closed, or whoever used it was stopped in the middle of a statement
        if pooled is not None:
            pooled.close()


def fill_pool(first: Callable[[Direct], object]) -> None:
    """Open the connections to the main database that this process may keep, and do something first on each.

    So its first burst of work need not wait for them: opening one, and what a session must learn of the tables, take
    some ten milliseconds of processor each. Raises SQLAlchemyError when the database is away.
    """
    with ExitStack() as held:
        for _ in range(get_settings().db_pool_size):
            first(held.enter_context(statement()))


def rows(where: Session | Direct, statement: TextClause, parameters: Mapping[str, Any]) -> Rows:
    """Execute one statement in a transaction, or as one; returns its rows by column name."""
    if isinstance(where, Direct):
        return where.rows(statement, parameters)
    return [dict(row) for row in where.execute(statement, parameters).mappings()]


@cache
def _plain(written: str) -> str:
    """A statement for psycopg: its placeholders, without comments and needless blanks.

    Statements of up to 4,096 characters are parsed once by psycopg, longer ones each time.
    """
    parts = " ".join(re.sub(r"--.*", "", written).split()).split("'")
    parts[::2] = [re.sub(r" ?([(),]) ?", r"\1", part) for part in parts[::2]]  # what is not quoted
    return str(TextClause("'".join(parts)).compile(dialect=_DIALECT))
