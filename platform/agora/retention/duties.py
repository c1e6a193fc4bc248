"""What the dispatcher removes: ended jobs, deliveries, partitions, leftover values. One bounded slice per tick.

A duty walks by id, which is by time, and remembers how far it got; after the end it rests for a minute. So neither an
index of its own nor a look at what is young is needed, and jobs pay nothing for being removed one day.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from agora.clock import now
from agora.db.partitions import month_start
from agora.db.session import transaction
from agora.files import store
from agora.ids import floor_id
from agora.retention import leftover_queries, removal_queries
from agora.settings import get_settings
from agora.telemetry import get_logger

SLICE = 500
STEPS = 10_000
"""So many steps go with the jobs of a slice at most, unless one job alone has more: items of a map are steps too."""
ITEMS = 10_000
"""So many notes of bulk actions go at once."""
REST_SECONDS = 60.0
DAY = 24 * 3600.0
GRACE_SECONDS = DAY
"""How long after its row a value's content is put aside, and how long after that it is deleted."""
LOCK_MILLISECONDS = 200
"""Everybody who writes events waits behind whoever waits for the table: so this waits but a moment, and tries again."""

log = get_logger(__name__)


@dataclass(slots=True)
class Walk:
    """A walk over ids that goes on where it stopped, and rests at its end."""

    after: str = ""
    rests_until: float = field(default=float("-inf"))

    def rests(self) -> bool:
        """Whether it has nothing to do yet."""
        return time.monotonic() < self.rests_until

    def got_to(self, last: str | None) -> None:
        """Go on behind ``last``; None: it was the end, begin anew after a rest."""
        self.after = last or ""
        if last is None:
            self.rests_until = time.monotonic() + REST_SECONDS


jobs_walk, deliveries_walk, batches_walk = Walk(), Walk(), Walk()
moved_walks: Final = {table: Walk() for table in ("events", "attempts", "webhook_attempts")}
PREFIX: Final = {"events": "evt", "attempts": "att", "webhook_attempts": "wha"}
KEPT_BY: Final = {"events": "job", "attempts": "job", "webhook_attempts": "delivery"}


def job_ages() -> dict[str, float | None]:
    """Seconds for which ended jobs are kept, by status; None for ever."""
    settings = get_settings()
    days = {
        "succeeded": settings.retention_succeeded, "failed": settings.retention_failed,
        "cancelled": settings.retention_cancelled,
    }  # fmt: skip
    return {status: given * DAY if given else None for status, given in days.items()}


def row_age(table: str) -> float | None:
    """Seconds for which rows of a partitioned table are kept; None for ever."""
    settings = get_settings()
    days = settings.retention_deliveries if table == "webhook_attempts" else settings.retention_events
    return days * DAY if days else None


def _before(prefix: str, age: float) -> str:
    """The first id that is too young."""
    return floor_id(prefix, now() - timedelta(seconds=age))


def remove_old_jobs() -> int:
    """Delete jobs that ended longer ago than their status is kept for, unless a hold or somebody open needs them."""
    ages = job_ages()
    finite = [age for age in ages.values() if age is not None]
    if not finite or jobs_walk.rests():
        return 0
    with transaction() as session:
        if not removal_queries.try_alone(session):
            return 0
        last, free = removal_queries.lock_old_jobs(
            session, after=jobs_walk.after, before=_before("job", min(finite)), ages=ages, slice_=SLICE, steps=STEPS
        )
        leftover_queries.note_leftovers(session, job_ids=free)
        removed = removal_queries.remove_jobs(session, ids=free) if free else 0
        _count(session, "jobs", removed)
    jobs_walk.got_to(last)
    _tell("jobs", removed)
    return 0  # no hurry: the next slice goes with the next tick


def remove_old_deliveries() -> int:
    """Delete webhook deliveries that ended longer ago than they are kept for, unless their job is on hold."""
    days = get_settings().retention_deliveries
    if not days or deliveries_walk.rests():
        return 0
    with transaction() as session:
        if not removal_queries.try_alone(session):
            return 0
        last, removed = removal_queries.remove_deliveries(
            session, after=deliveries_walk.after, before=_before("whd", days * DAY), age=days * DAY, slice_=SLICE
        )
        _count(session, "deliveries", removed)
    deliveries_walk.got_to(last)
    _tell("deliveries", removed)
    return 0


def remove_old_batches() -> int:
    """Delete completed batches whose jobs were removed, and bulk actions that ended longer ago than any job is kept.

    Than any that is not kept for ever.
    """
    finite = [age for age in job_ages().values() if age is not None]
    if not finite:
        return 0
    with transaction() as session:
        if not removal_queries.try_alone(session):
            return 0
        removed = removal_queries.remove_batches(session, before=_before("bat", min(finite)), slice_=SLICE)
        _count(session, "batches", removed)
    _tell("batches", removed)
    _remove_old_bulks(max(finite))
    return 0


def _remove_old_bulks(age: float) -> None:
    with transaction() as session:
        if not removal_queries.try_alone(session):
            return
        removed = removal_queries.remove_bulks(
            session, before=_before("blk", age), age=age, slice_=SLICE, items=ITEMS
        )  # fmt: skip
        _count(session, "bulk", removed)
    _tell("bulk", removed)


def drop_old_partitions() -> int:
    """Drop the months of events and attempts that are older than these are kept; at most one a time."""
    for table in PREFIX:
        age = row_age(table)
        if age is not None and _drop_one(table, age):
            return 0
    return 0


def _drop_one(table: str, age: float) -> bool:
    try:
        with transaction() as session:
            if not removal_queries.try_alone(session):
                return True
            old = [name for name in removal_queries.list_partitions(session, table=table) if _is_old(name, age)]
            if not old:
                return False
            moved = removal_queries.drop_partition(
                session, table=table, partition=old[0], kept_by=KEPT_BY[table], wait=LOCK_MILLISECONDS
            )
            _count(session, "partitions", 1)
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        log.info("a partition is not dropped yet, others use the table", table=table)
        return True
    log.info("partition dropped", partition=old[0], rows_kept=moved)
    return True


def _is_old(partition: str, age: float) -> bool:
    """Whether the whole month of a partition lies further back than ``age`` seconds."""
    month = re.search(r"_(\d{4})_(\d{2})$", partition)
    if month is None:
        return False
    start = datetime(int(month[1]), int(month[2]), 1, tzinfo=UTC)
    return month_start(start, 1) <= now() - timedelta(seconds=age)


def remove_moved_rows() -> int:
    """Delete what was kept from dropped partitions once its job has ended and no hold keeps it."""
    for table, walk in moved_walks.items():
        age = row_age(table)
        if age is None or walk.rests():
            continue
        with transaction() as session:
            if not removal_queries.try_alone(session):
                return 0
            last, removed = removal_queries.remove_moved(
                session, table=table, kept_by=KEPT_BY[table], after=walk.after, before=_before(PREFIX[table], age),
                slice_=SLICE,
            )  # fmt: skip
            _count(session, table, removed)
        walk.got_to(last)
        _tell(table, removed)
    return 0


def remove_leftovers() -> int:
    """Delete the content of large values that no row refers to any more.

    Whoever refers to a value again, by storing the same one, cannot be caught in between: a day after its row went the
    content is only put aside, where it is still read; a day later it goes, or comes back if somebody refers to it.
    """
    with transaction() as session:
        rows = leftover_queries.lock_old(session, age=GRACE_SECONDS, slice_=SLICE)
    # The rows are changed after the content, so that a store which fails, or a process that dies in between, leaves
    # nothing behind that no row tells of: what was done of it is done again. Content may be aside without a mark.
    done: dict[Callable[[str], None], list[str]] = {
        store.take_back: [row["location"] for row in rows if row["referred"]],
        store.put_aside: [row["location"] for row in rows if not row["referred"] and not row["trashed"]],
        store.remove_aside: [row["location"] for row in rows if not row["referred"] and row["trashed"]],
    }
    for act, locations in done.items():
        for location in locations:
            act(location)
    with transaction() as session:
        leftover_queries.mark_trashed(session, locations=done[store.put_aside])
        leftover_queries.forget(session, locations=[*done[store.take_back], *done[store.remove_aside]])
        _count(session, "values", len(done[store.remove_aside]))
    _tell("values", len(done[store.remove_aside]))
    return 0


def _count(session: Session, kind: str, removed: int) -> None:
    if removed:
        removal_queries.count_removed(session, kind=kind, removed=removed)


def _tell(kind: str, removed: int) -> None:
    if removed:
        log.info("removed what was kept long enough", kind=kind, removed=removed)
