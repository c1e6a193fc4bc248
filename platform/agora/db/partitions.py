"""Monthly range partitions over time-sortable ids."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from agora.db import partition_queries
from agora.ids import floor_id


def month_start(moment: datetime, ahead: int = 0) -> datetime:
    """The first instant of the month that lies ``ahead`` months after that of ``moment``, UTC."""
    months = moment.year * 12 + moment.month - 1 + ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def ensure_partitions(session: Session, table: str, prefix: str, *, moment: datetime, ahead: int = 2) -> list[str]:
    """Create the missing partitions of ``table`` for the month of ``moment`` and ``ahead`` more; returns the new names.

    Rows outside every partition fall into ``<table>_default``; a month is not carved out once rows of it lie there.
    """
    made = []
    for offset in range(ahead + 1):
        start, end = month_start(moment, offset), month_start(moment, offset + 1)
        name = f"{table}_{start:%Y_%m}"
        bounds = (floor_id(prefix, start), floor_id(prefix, end))
        if partition_queries.create_partition(session, table=table, name=name, bounds=bounds):
            made.append(name)
    return made
