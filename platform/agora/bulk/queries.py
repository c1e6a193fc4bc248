"""SQL about bulk actions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.bulk.models import BulkRow, ItemRow
from agora.jobs.list_queries import filtered
from agora.jobs.models import JobRow
from agora.jobs.types import JobFilter
from agora.paging import Span

COUNTED = 1_000_000
"""Further than this, jobs that match are not counted."""


def count_matches(session: Session, *, team_id: str, filters: JobFilter) -> int:
    """How many jobs of the team match, up to a million."""
    found = filtered(select(JobRow.id).where(JobRow.team_id == team_id), filters).limit(COUNTED).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def list_matches(
    session: Session, *, team_id: str, filters: JobFilter, after: str, made_before: datetime, limit: int
) -> list[str]:
    """Ids of jobs that match and are older than ``made_before``, in order, after the id ``after``."""
    statement = select(JobRow.id).where(JobRow.team_id == team_id, JobRow.id > after, JobRow.created_at < made_before)
    return list(session.scalars(filtered(statement, filters).order_by(JobRow.id).limit(limit)))


def insert_bulk(session: Session, *, team_id: str, **columns: Any) -> BulkRow:
    """Insert a bulk action."""
    row = BulkRow(team_id=team_id, **columns)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def find_bulk(session: Session, *, team_id: str, bulk_id: str) -> BulkRow | None:
    """One bulk action of the team."""
    return session.scalar(select(BulkRow).where(BulkRow.id == bulk_id, BulkRow.team_id == team_id))


def list_bulks(session: Session, *, team_id: str, span: Span) -> Sequence[BulkRow]:
    """Bulk actions."""
    statement = select(BulkRow).where(BulkRow.team_id == team_id)
    return session.scalars(span.of(statement, BulkRow.id)).all()


REASONS = text("""
SELECT code, count(*) AS jobs
FROM (SELECT error->>'code' AS code FROM bulk_items
      WHERE bulk_id = :bulk_id AND team_id = :team_id AND outcome = 'failed' LIMIT :limit) failed
GROUP BY code
""")


def count_reasons(session: Session, *, team_id: str, bulk_id: str, limit: int) -> Mapping[str, int]:
    """Up to ``limit`` failed jobs of a bulk action, counted by the code of their error."""
    parameters = {"team_id": team_id, "bulk_id": bulk_id, "limit": limit}
    return {row.code: row.jobs for row in session.execute(REASONS, parameters)}


def list_items(
    session: Session, *, team_id: str, bulk_id: str, outcome: str | None, after: str, limit: int
) -> Sequence[ItemRow]:
    """Jobs that a bulk action dealt with, in order of their ids."""
    statement = select(ItemRow).where(ItemRow.bulk_id == bulk_id, ItemRow.team_id == team_id, ItemRow.job_id > after)
    if outcome is not None:
        statement = statement.where(ItemRow.outcome == outcome)
    return session.scalars(statement.order_by(ItemRow.job_id).limit(limit)).all()


def take_item(session: Session, *, team_id: str, bulk_id: str, job_id: str, **columns: Any) -> bool:
    """Note what becomes of a job, in the transaction in which it does; False when it was dealt with already.

    While another transaction is about to note it, this waits for that one to end.
    """
    statement = insert(ItemRow).values(team_id=team_id, bulk_id=bulk_id, job_id=job_id, **columns)
    return session.execute(statement.on_conflict_do_nothing().returning(ItemRow.job_id)).first() is not None


REQUEST_CANCEL = text("""
UPDATE bulk_actions SET cancel_requested_at = COALESCE(cancel_requested_at, now())
WHERE id = :bulk_id AND team_id = :team_id AND status = 'running'
""")


def request_cancel(session: Session, *, team_id: str, bulk_id: str) -> bool:
    """Ask a bulk action to stop; False when it has ended."""
    found = session.execute(REQUEST_CANCEL, {"team_id": team_id, "bulk_id": bulk_id})
    return found.rowcount == 1  # type: ignore[attr-defined,no-any-return]


LEASE = text("""
UPDATE bulk_actions SET leased_until = now() + make_interval(secs => :seconds), touched_at = now()
WHERE id = (
    SELECT id FROM bulk_actions
    WHERE status = 'running' AND (leased_until IS NULL OR leased_until < now())
    ORDER BY touched_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, team_id, key_id, action, filter, options, after, created_at, cancel_requested_at
""")


def lease_next(session: Session, *, seconds: float) -> RowMapping | None:
    """Take the open bulk action that was let alone longest, for so many seconds."""
    return session.execute(LEASE, {"seconds": seconds}).mappings().one_or_none()


ADVANCE = text("""
UPDATE bulk_actions b
SET after = :upto,
    done = b.done + dealt.done,
    failed = b.failed + dealt.failed,
    leased_until = NULL,
    status = :status,
    ended_at = CASE WHEN :status <> 'running' THEN now() END
FROM (SELECT count(*) FILTER (WHERE outcome = 'done') AS done, count(*) FILTER (WHERE outcome = 'failed') AS failed
      FROM bulk_items
      WHERE bulk_id = :bulk_id AND job_id > :after AND (:status <> 'running' OR job_id <= :upto)) dealt
WHERE b.id = :bulk_id AND b.after = :after AND b.status = 'running'
RETURNING b.id, b.team_id, b.action, b.status, b.matched, b.done, b.failed
""")


def advance(session: Session, *, bulk_id: str, after: str, upto: str, status: str) -> RowMapping | None:
    """Pass the jobs between two ids, counting what was noted of them; None when somebody else has done so."""
    parameters = {"bulk_id": bulk_id, "after": after, "upto": upto, "status": status}
    return session.execute(ADVANCE, parameters).mappings().one_or_none()
