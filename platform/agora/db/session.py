"""Sessions: ``transaction()`` and ``statement()`` are the only places in Agora that commit."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, cast

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import RowMapping, TextClause
from sqlalchemy.dialects.postgresql import psycopg as dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from agora.db.engines import Database, engine, statement_limit
from agora.settings import get_settings

Rows = Sequence[Mapping[str, Any]]
Row = RowMapping | Mapping[str, Any]

_DIALECT = dialect.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
"""How Postgres itself writes placeholders: hot statements go to libpq as they are."""


@contextmanager
def transaction(database: Database = "main") -> Iterator[Session]:
    """One transaction: commits when the block ends, rolls back when it raises.

    Never call the outside world inside the block.
    """
    with Session(engine(database), expire_on_commit=False, info={"database": database}) as session, session.begin():
        yield session


class Direct:
    """A pooled connection on which each statement commits at once, without SQLAlchemy and psycopg's cursors in between.

    What those do for a statement takes longer than Postgres does for a small one. Values are sent as texts, whose types
    Postgres knows from where they stand; what comes back is read as psycopg reads it.
    """

    def __init__(self, connection: psycopg.Connection[Any], prepared: set[bytes]) -> None:
        self._connection, self._prepared = connection, prepared

    def rows(self, statement: TextClause, parameters: Mapping[str, Any]) -> Rows:
        """Execute one statement and return its rows. Raises psycopg's errors."""
        hot, reader = _hot(statement.text), Transformer(self._connection)
        values = reader.dump_sequence([parameters[name] for name in hot.names], hot.formats)
        try:
            result = self._execute(hot, values)
        except psycopg.errors.InvalidSqlStatementName:
            # psycopg lets Postgres forget all that a session has prepared when a transaction of its own rolls back.
            self._prepared.clear()
            result = self._execute(hot, values)
        except psycopg.errors.FeatureNotSupported:
            if hot.name not in self._prepared:
                raise
            self._prepare_anew(hot)  # its table was changed: Postgres refuses a plan whose columns are others now
            result = self._execute(hot, values)
        if result.status != ExecStatus.TUPLES_OK:
            return ()
        reader.set_pgresult(result)
        if hot.columns is None:
            hot.columns = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
        return [dict(zip(hot.columns, row, strict=True)) for row in reader.load_rows(0, result.ntuples, tuple)]

    def _execute(self, hot: "_Hot", values: Sequence[Buffer | None]) -> PGresult:
        if self._connection.prepare_threshold is None:
            return self._execute_pooled(hot, values)
        if hot.name not in self._prepared:
            self._prepare(hot)
        self._connection.pgconn.send_query_prepared(hot.name, values)
        return self._result()

    def _execute_pooled(self, hot: "_Hot", values: Sequence[Buffer | None]) -> PGresult:
        """Behind a pooler nothing is prepared, and what a session is told holds for one transaction."""
        limit = statement_limit()
        if limit:
            self._say(f"BEGIN; SET LOCAL statement_timeout = {limit}")
        self._connection.pgconn.send_query_params(hot.written, values)
        try:
            result = self._result()
        except psycopg.Error:
            if limit:
                self._say("ROLLBACK")
            raise
        if limit:
            self._say("COMMIT")
        return result

    def _say(self, command: str) -> None:
        self._connection.pgconn.send_query(command.encode())
        for result in self._connection.wait(execute(self._connection.pgconn)):
            _check(result)

    def _prepare(self, hot: "_Hot") -> None:
        self._connection.pgconn.send_prepare(hot.name, hot.written)
        # Whoever prepared it may have been stopped before it was noted.
        with suppress(psycopg.errors.DuplicatePreparedStatement):
            self._result()
        self._prepared.add(hot.name)

    def _prepare_anew(self, hot: "_Hot") -> None:
        self._connection.pgconn.send_close_prepared(hot.name)
        self._result()
        self._prepared.discard(hot.name)
        hot.columns = None

    def _result(self) -> PGresult:
        (result,) = self._connection.wait(execute(self._connection.pgconn))
        return _check(result)


def _check(result: PGresult) -> PGresult:
    if result.status == ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
    return result


@contextmanager
def statement(database: Database = "main") -> Iterator[Direct]:
    """For the hot paths: statements that are each a transaction of their own, one round trip and little else.

    Raises the same SQLAlchemy errors as ``transaction()``.
    """
    pooled = connection = None
    try:
        pooled = engine(database).raw_connection()
        connection = cast("psycopg.Connection[Any]", pooled.driver_connection)
        yield Direct(connection, pooled.info.setdefault("prepared", set()))
    except psycopg.Error as error:
        gone = connection is None or connection.closed
        raise DBAPIError.instance(
            None, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=gone, dialect=_DIALECT
        ) from error
    finally:
        if pooled is not None and (
            connection is None or connection.pgconn.transaction_status != TransactionStatus.IDLE
        ):
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


@dataclass(slots=True)
class _Hot:
    """A statement as libpq takes it."""

    name: bytes
    written: bytes
    names: Sequence[str]
    """Of the parameters, in the order of their numbers."""
    formats: Sequence[PyFormat]
    columns: Sequence[str] | None = None


@cache
def _hot(written: str) -> _Hot:
    compiled = TextClause(_plain(written)).compile(dialect=_DIALECT)
    names = compiled.positiontup or []
    text = str(compiled).encode()
    return _Hot(f"agora_{sha256(text).hexdigest()[:16]}".encode(), text, names, [PyFormat.TEXT] * len(names))


def _plain(written: str) -> str:
    """A statement without comments and needless blanks: it goes over the wire, and Postgres keeps it, as it is."""
    parts = re.sub(r"--.*", "", written).split("'")
    parts[::2] = [_without_blanks(part) for part in parts[::2]]  # what is not quoted
    return "'".join(parts).strip()


def _without_blanks(part: str) -> str:
    return re.sub(r" ?([(),]) ?", r"\1", re.sub(r"\s+", " ", part))
