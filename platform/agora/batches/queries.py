"""SQL about batches."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from agora.batches.models import BatchRow
from agora.jobs.models import JobRow
from agora.paging import Span


def insert_batch(session: Session, *, team_id: str, **columns: Any) -> BatchRow:
    """Insert a batch."""
    row = BatchRow(team_id=team_id, **columns)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def find_batch(session: Session, *, team_id: str, batch_id: str, lock: bool = False) -> BatchRow | None:
    """One batch of the team."""
    statement = select(BatchRow).where(BatchRow.id == batch_id, BatchRow.team_id == team_id)
    return session.scalar(statement.with_for_update(key_share=True) if lock else statement)


def list_batches(session: Session, *, team_id: str, span: Span) -> Sequence[BatchRow]:
    """Batches."""
    statement = select(BatchRow).where(BatchRow.team_id == team_id)
    return session.scalars(span.of(statement, BatchRow.id)).all()


def list_job_ids(session: Session, *, team_id: str, batch_id: str) -> list[str]:
    """The ids of a batch's jobs in the order in which they were given."""
    statement = select(JobRow.id).where(JobRow.batch_id == batch_id, JobRow.team_id == team_id)
    return list(session.scalars(statement.order_by(JobRow.id)))


COUNTS = text("""
SELECT batch_id, status, count(*) AS jobs FROM jobs
WHERE batch_id = ANY(:batch_ids) AND team_id = :team_id
GROUP BY batch_id, status
""")


def count_jobs(session: Session, *, team_id: str, batch_ids: Sequence[str]) -> Sequence[RowMapping]:
    """``batch_id, status, jobs``: how many jobs of each batch are in each state."""
    return session.execute(COUNTS, {"team_id": team_id, "batch_ids": list(batch_ids)}).mappings().all()


REQUEST_CANCEL = text("""
UPDATE batches SET cancel_requested_at = now(), cancel_reason = :reason
WHERE id = :batch_id AND team_id = :team_id AND ended_at IS NULL AND cancel_requested_at IS NULL
""")


def request_cancel(session: Session, *, team_id: str, batch_id: str, reason: str) -> None:
    """Ask for the end of a batch's jobs; the first to ask gives the reason."""
    session.execute(REQUEST_CANCEL, {"team_id": team_id, "batch_id": batch_id, "reason": reason})


CANCELLING = text("""
SELECT j.id, j.team_id, b.cancel_reason AS reason
FROM batches b
JOIN jobs j ON j.batch_id = b.id
WHERE b.ended_at IS NULL AND b.cancel_requested_at IS NOT NULL
  AND j.status IN ('scheduled', 'queued', 'running', 'waiting') AND j.cancel_requested_at IS NULL
LIMIT :slice
""")


def find_to_cancel(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Open jobs of batches that are to be cancelled, which have not been told."""
    return session.execute(CANCELLING, {"slice": slice_}).mappings().all()


OPEN = text("SELECT id FROM batches WHERE ended_at IS NULL AND id > :after ORDER BY id LIMIT :slice")


def list_open(session: Session, *, after: str, slice_: int) -> list[str]:
    """Batches that have not completed, in order of their ids."""
    return list(session.execute(OPEN, {"after": after, "slice": slice_}).scalars())


COMPLETE = text("""
UPDATE batches b
SET ended_at = now(),
    counts = (SELECT COALESCE(jsonb_object_agg(status, jobs), '{}')
              FROM (SELECT status, count(*) AS jobs FROM jobs WHERE batch_id = b.id GROUP BY status) counted)
WHERE b.id IN (
    SELECT id FROM batches o
    WHERE o.id = ANY(:batch_ids) AND o.ended_at IS NULL
      AND NOT EXISTS (SELECT FROM jobs j
                      WHERE j.batch_id = o.id AND j.status IN ('scheduled', 'queued', 'running', 'waiting'))
    ORDER BY id
    FOR UPDATE SKIP LOCKED
) AND b.ended_at IS NULL
RETURNING b.id, b.team_id, b.size, b.agents, b.metadata, b.counts, b.ended_at
""")


def complete(session: Session, *, batch_ids: Sequence[str]) -> Sequence[RowMapping]:
    """End those of the given batches of which no job is open any more; returns them."""
    return session.execute(COMPLETE, {"batch_ids": list(batch_ids)}).mappings().all()
