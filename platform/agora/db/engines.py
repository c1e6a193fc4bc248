"""Engines of the two databases, made lazily and once per process id, so that no socket crosses a fork."""

import os
import select
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Literal
from weakref import WeakSet

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from agora.db import pooled
from agora.errors import SettingsError
from agora.settings import Settings, get_settings

Database = Literal["main", "auth"]

AUTH_CONNECTIONS = 4
"""The most that a process opens to the auth database: keys are looked up there, and remembered."""
FRESH_SECONDS = 0.5
"""A connection that was used so recently is taken to be alive."""
QUIET_SECONDS = 3.0
"""And one that was used so recently, if its server has said nothing since: whoever closes it says so, unless its host
goes without a word. Whoever comes within these seconds then learns it from the statement instead."""

SESSION = {
    "timezone": "UTC",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""What every session is told. Every statement of ours touches few rows by an index. A plan that was cached while the
tables were empty must do so too when they are full, and Postgres prefers scans and hashes for empty tables
(docs/decisions/0006). No statement runs long enough to be worth compiling. Keep-alives let Postgres see within half a
minute that a host is gone; by itself it would look after two hours."""
LEAST_SILENCE = 5.0
"""However short the leases are, a transaction may be silent for so many seconds."""

_statement_ms = 0
"""How long a statement of this process may run; 0: for ever, as those of workers and of commands."""

_engines: dict[tuple[int, str], Engine] = {}
_disposed: WeakSet[Engine] = WeakSet()
"""Engines whose pools were closed while a thread may still have held a connection."""


def sqlalchemy_url(url: str) -> str:
    """The URL with the psycopg 3 driver named, whatever Postgres spelling it came in."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise SettingsError("the database URL must start with postgresql://")
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def database_url(database: Database, settings: Settings | None = None) -> str:
    """The configured URL of one database. Raises SettingsError when it is not set."""
    settings = settings or get_settings()
    url = settings.database_url if database == "main" else settings.auth_database_url
    if not url:
        variable = "DATABASE_URL" if database == "main" else "AUTH_DATABASE_URL"
        raise SettingsError(f"{variable}: must be set (`agora up` starts an embedded database and sets it)")
    return sqlalchemy_url(url)


def session_settings(settings: Settings) -> dict[str, str]:
    """What Postgres is told of every session.

    A process that is cut off or frozen in the middle of a transaction keeps its locks, and whoever holds the lock on a
    step is taken to be alive: its transaction ends when it has been silent for a lease.
    """
    silence = max(LEAST_SILENCE, settings.lease_seconds)
    return SESSION | {"idle_in_transaction_session_timeout": str(round(silence * 1000))}


def limit_statements(seconds: float) -> None:
    """Let no statement of this process run longer, locks that it waits for included: callers wait for its requests.

    For engines that are made from now on. A statement that is cut off raises OperationalError.
    """
    global _statement_ms  # noqa: PLW0603  # as the engines, one for the process
    _statement_ms = round(seconds * 1000)


def statement_limit() -> int:
    """How many milliseconds a statement of this process may run; 0: for ever."""
    return _statement_ms


def engine(database: Database = "main") -> Engine:
    """The engine of one database in this process."""
    key = (os.getpid(), database)
    if key not in _engines:
        _engines[key] = _make(database)
    return _engines[key]


def _make(database: Database) -> Engine:
    settings = get_settings()
    small = database == "auth"
    made = create_engine(
        database_url(database, settings),
        pool_size=AUTH_CONNECTIONS // 2 if small else settings.db_pool_size,
        max_overflow=AUTH_CONNECTIONS // 2 if small else settings.db_pool_overflow,
        pool_timeout=settings.db_connect_seconds,
        hide_parameters=True,  # they hold people's secrets, and errors are logged
        pool_use_lifo=True,  # a process at rest uses one connection, whose caches are warm
        connect_args={
            "connect_timeout": settings.db_connect_seconds,
            "application_name": "agora",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            **_told(settings),
        },
    )
    event.listen(made, "checkin", _note_use)
    event.listen(made, "checkin", _closer(made))
    look, quiet = _ping, QUIET_SECONDS
    if settings.db_pooler != "none":
        look, quiet = partial(pooled.check_session, wanted=session_settings(settings)), 0.0
        event.listen(made, "connect", lambda connection, _record: look(connection))
        if _statement_ms:  # a session of the pooler is anybody's, so each transaction says it anew
            event.listen(made, "begin", _limit_transaction)
    event.listen(made, "checkout", _looker(look, quiet))
    return made


def _told(settings: Settings) -> dict[str, Any]:
    """How a session is set up: when it is opened, or behind a pooler by what the database tells each of them."""
    if settings.db_pooler != "none":
        return {"prepare_threshold": None}
    told = session_settings(settings)
    if _statement_ms:
        told |= {"statement_timeout": str(_statement_ms)}
    return {"options": " ".join(f"-c {name}={value}" for name, value in told.items())}


def _limit_transaction(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_statement_ms}")


def set_defaults(settings: Settings) -> None:
    """Behind a pooler, make what Agora tells its sessions the defaults of its roles; otherwise do nothing."""
    if settings.db_pooler == "none":
        return
    for url in (
        settings.auth_database_direct_url or settings.auth_database_url,
        settings.database_direct_url or settings.database_url,
    ):
        pooled.set_defaults(url, session_settings(settings))


def _closer(made: Engine) -> Callable[[DBAPIConnection | None, ConnectionPoolEntry], None]:
    """Closes what comes back to a pool that was disposed of meanwhile: nobody would take it from there any more."""
    engine_of = weakref.ref(made)

    def close_if_disposed(connection: DBAPIConnection | None, _record: ConnectionPoolEntry) -> None:
        if connection is not None and engine_of() in _disposed:
            connection.close()

    return close_if_disposed


def _note_use(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _ping(connection: DBAPIConnection) -> None:
    """In no transaction: when one rolls back, psycopg lets Postgres forget all plans that the session has."""
    connection.autocommit = True
    connection.cursor().execute("SELECT 1").close()
    connection.autocommit = False


def _has_heard(connection: DBAPIConnection) -> bool:
    """Whether its server has said something that nobody asked for, such as good-bye."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _looker(
    look: Callable[[DBAPIConnection], None], quiet_seconds: float
) -> Callable[[DBAPIConnection, ConnectionPoolEntry, PoolProxiedConnection], None]:
    """The pool's pre-ping, for connections that were idle: at each use it would cost a round trip per transaction."""

    def look_if_idle(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        used = record.info.get("used")
        idle = 0.0 if used is None else time.monotonic() - used
        if idle < FRESH_SECONDS:
            return
        try:
            if idle >= quiet_seconds or _has_heard(connection):
                look(connection)
        except psycopg.Error as error:
            raise DisconnectionError from error

    return look_if_idle


def dispose_all() -> None:
    """Close this process's pools, and forget those inherited over a fork without touching their sockets."""
    for (pid, _), made in list(_engines.items()):
        _disposed.add(made)
        made.dispose(close=pid == os.getpid())
    _engines.clear()
