"""Connections through a pooler that hands out a server session for one transaction at a time, such as PgBouncer.

Three things are different there. A statement that was prepared in one session may be run in another, so none is
prepared. The pooler takes no ``options`` at connect, so what Agora tells every session is kept in Postgres, as defaults
of the role in the database. And since nothing that was told to one session holds in the next, each connection is
looked at before it is used: a session without those defaults is refused.
"""

from collections.abc import Mapping

import psycopg
from psycopg import sql
from sqlalchemy.engine.interfaces import DBAPIConnection

from agora.errors import SettingsError

TRANSPORT = "tcp_"
"""Settings of a session's socket, which ends at the pooler: over a Unix socket Postgres shows none."""
TOLD = "SELECT lower(name), setting FROM pg_settings WHERE lower(name) = ANY(%s)"


def set_defaults(url: str, wanted: Mapping[str, str]) -> None:
    """Make the settings defaults of the URL's role in its database. Sessions that are open keep what they have."""
    with psycopg.connect(url, prepare_threshold=None) as connection:
        database = sql.Identifier(connection.info.dbname)
        for name, value in wanted.items():
            connection.execute(
                sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(
                    database, sql.Identifier(name), sql.Literal(value)
                )
            )


def check_session(connection: DBAPIConnection, wanted: Mapping[str, str]) -> None:
    """Close the connection and raise SettingsError when the session behind it has other settings than it must."""
    names = [name for name in wanted if not name.startswith(TRANSPORT)]
    cursor = connection.cursor()
    cursor.execute(TOLD, (names,))
    found = dict(cursor.fetchall())
    cursor.close()
    connection.rollback()
    wrong = [name for name in names if found.get(name) != wanted[name]]
    if wrong:
        connection.close()
        told = ", ".join(f"{name} is {found.get(name)!r} and must be {wanted[name]!r}" for name in wrong)
        raise SettingsError(
            f"AGORA_DB_POOLER: sessions behind the pooler are not set up for Agora: {told}. "
            "Run `agora db upgrade`, then let the pooler connect anew (PgBouncer: RECONNECT)"
        )
