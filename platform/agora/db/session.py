"""Sessions: ``transaction()`` is the only place in Agora that commits."""

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
