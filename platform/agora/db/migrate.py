"""Alembic, driven from Python: two histories, one for each database."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from agora.db.engines import Database, sqlalchemy_url

MIGRATIONS = Path(__file__).parent / "migrations"


def alembic_config(database: Database, url: str) -> Config:
    """The Alembic configuration of one database; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS / database))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(url).replace("%", "%%"))
    return config


def upgrade(database: Database, url: str, revision: str = "head") -> None:
    """Bring one database to ``revision``. Safe to run twice at once: it holds an advisory lock."""
    command.upgrade(alembic_config(database, url), revision)


def head(database: Database) -> str:
    """The newest revision that this version of Agora knows."""
    found = ScriptDirectory(str(MIGRATIONS / database)).get_current_head()
    if found is None:
        raise LookupError(f"no migrations of {database}")
    return found


def current(database: Database, url: str) -> str | None:  # noqa: ARG001  # symmetrical with upgrade
    """The revision that a database is at; None when it was never migrated."""
    probe = create_engine(sqlalchemy_url(url), connect_args={"prepare_threshold": None})
    try:
        with probe.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        probe.dispose()
