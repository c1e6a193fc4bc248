"""Whether Postgres takes as many connections as the processes may open, looked at before they start."""

from collections.abc import Iterable

import psycopg
from sqlalchemy.engine import make_url

from agora.db.engines import AUTH_CONNECTIONS
from agora.errors import SettingsError
from agora.settings import Settings

POOLS = {"worker": 3, "worker-io": 1, "webhooks": 1, "dispatcher": 1, "flower": 0}
"""How many processes of each line of the Procfile have a pool of the main database; web has as many as are set."""
AUTH = {"worker": 2, "worker-io": 1, "dispatcher": 1}
"""How many connections to the auth database each has besides: for mails, and for tiers, read one at a time."""
SPARE = 5
"""Left for migrations, dumps and people."""


def check_connections(settings: Settings, names: Iterable[str]) -> None:
    """Raise SettingsError when the processes named may open more connections than the server takes.

    A pooler takes as many as it is told to, and shares out fewer: nothing is looked at then.
    """
    if settings.db_pooler != "none":
        return
    names = list(names)
    per_pool = settings.db_pool_size + settings.db_pool_overflow
    pools = POOLS | {"web": settings.web_processes}
    demand = {settings.database_url: per_pool * sum(pools.get(name, 1) for name in names)}
    of_auth = AUTH | {"web": AUTH_CONNECTIONS * settings.web_processes}
    auth = sum(of_auth.get(name, 0) for name in names)
    demand[settings.auth_database_url] = demand.get(settings.auth_database_url, 0) + auth
    servers: dict[tuple[str | None, int | None], tuple[str, int]] = {}
    for url, wanted in demand.items():
        parsed = make_url(url)
        _, before = servers.get((parsed.host, parsed.port), ("", 0))
        servers[(parsed.host, parsed.port)] = url, before + wanted
    for url, wanted in servers.values():
        room = _room(url, settings)
        if wanted > room:
            raise SettingsError(
                f"AGORA_DB_POOL_SIZE, AGORA_DB_POOL_OVERFLOW: {settings.db_pool_size} + {settings.db_pool_overflow} "
                f"per process come to {wanted} connections, and Postgres at {make_url(url).host or 'its socket'} "
                f"has room for {room} (max_connections less those reserved and {SPARE} spare)"
            )


def _room(url: str, settings: Settings) -> int:
    with psycopg.connect(url, connect_timeout=settings.db_connect_seconds) as connection:
        row = connection.execute(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        ).fetchone()
    return (row[0] if row else 0) - SPARE
