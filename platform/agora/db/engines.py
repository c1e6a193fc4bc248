"""Engines of the two databases, made lazily and once per process id, so that no socket crosses a fork."""

import os
from typing import Literal

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url

from agora.errors import SettingsError
from agora.settings import Settings, get_settings

Database = Literal["main", "auth"]

_engines: dict[tuple[int, str], Engine] = {}


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


def engine(database: Database = "main") -> Engine:
    """The engine of one database in this process."""
    key = (os.getpid(), database)
    if key not in _engines:
        _engines[key] = _make(database)
    return _engines[key]


def _make(database: Database) -> Engine:
    settings = get_settings()
    small = database == "auth"
    return create_engine(
        database_url(database, settings),
        pool_pre_ping=True,
        pool_size=2 if small else settings.db_pool_size,
        max_overflow=2 if small else settings.db_pool_overflow,
        pool_timeout=settings.db_connect_seconds,
        connect_args={
            "connect_timeout": settings.db_connect_seconds,
            "application_name": "agora",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "options": "-c timezone=UTC",
        },
    )


def dispose_all() -> None:
    """Close this process's pools, and forget those inherited over a fork without touching their sockets."""
    for (pid, _), made in list(_engines.items()):
        made.dispose(close=pid == os.getpid())
    _engines.clear()
