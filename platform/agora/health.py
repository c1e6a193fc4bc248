"""Whether the platform can do its work: databases, migrations, broker, dispatcher."""

from collections.abc import Callable

import redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from agora import valkey
from agora.db import migrate
from agora.db.engines import Database
from agora.db.session import transaction
from agora.dispatcher import queries as dispatcher
from agora.jobs import catalogue_queries
from agora.jobs.queues import Queue, list_queues
from agora.retention import removal_queries
from agora.settings import get_settings

TICK_LATE_SECONDS = 10.0


def readiness() -> dict[str, dict[str, object]]:
    """Each part with ``ok`` and ``detail``. Redis being away does not make it unready: jobs are still accepted."""
    return {
        "database": _check(lambda: _database("main")),
        "auth_database": _check(lambda: _database("auth")),
        "dispatcher": _check(_dispatcher),
        "redis": _check(_redis),
    }


def _check(probe: Callable[[], str]) -> dict[str, object]:
    try:
        return {"ok": True, "detail": probe()}
    except (SQLAlchemyError, redis.RedisError, OSError, LookupError) as error:
        return {"ok": False, "detail": type(error).__name__ if not isinstance(error, LookupError) else str(error)}


def _database(database: Database) -> str:
    expected = migrate.head(database)
    with transaction(database) as session:
        found = _revision(session)
    if found != expected:
        raise LookupError(f"is at migration {found}, this version needs {expected}: run `agora db upgrade`")
    return f"migration {found}"


def _revision(session: Session) -> str | None:
    return catalogue_queries.find_revision(session)


def _dispatcher() -> str:
    with transaction() as session:
        age = dispatcher.tick_age(session)
    if age is None:
        raise LookupError("has never ticked")
    if age > TICK_LATE_SECONDS:
        raise LookupError(f"ticked {age:.0f} s ago")
    return f"ticked {age:.1f} s ago"


def _redis() -> str:
    with valkey.client(get_settings().redis_url, socket_timeout=1, socket_connect_timeout=1) as client:
        client.ping()
    return "answers"


def queues() -> tuple[list[Queue], float | None]:
    """Every queue, and the seconds since a dispatcher last ticked."""
    with transaction() as session:
        age = dispatcher.tick_age(session)
    return list_queues(), age


def removed() -> dict[str, int]:
    """How much retention has removed so far, by kind."""
    with transaction() as session:
        return removal_queries.list_removed(session)
