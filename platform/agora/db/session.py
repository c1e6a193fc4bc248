"""Sessions: ``transaction()`` and ``statement()`` are the only places in Agora that commit."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from agora.db.engines import Database, engine


@contextmanager
def transaction(database: Database = "main") -> Iterator[Session]:
    """One transaction: commits when the block ends, rolls back when it raises.

    Never call the outside world inside the block.
    """
    with Session(engine(database), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def statement(database: Database = "main") -> Iterator[Session]:
    """For a single statement that is a transaction by itself: one round trip instead of three.

    Each statement of the block commits at once, whatever follows it.
    """
    with Session(engine(database, autocommit=True), expire_on_commit=False) as session:
        yield session
