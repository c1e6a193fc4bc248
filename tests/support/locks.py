"""Tests in which somebody is to wait for a lock: they go on once Postgres says so."""

from sqlalchemy import text

from agora.db.session import transaction
from tests.support.webhooks import eventually

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


def until_waiting(count=1, *, database="main"):
    """Wait until so many sessions of a database wait for a lock."""

    def they_wait():
        with transaction(database) as session:
            return session.scalar(WAITING) >= count

    eventually(they_wait)
