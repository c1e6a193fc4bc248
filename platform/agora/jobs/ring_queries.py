"""SQL of the doorbell: which due steps are rung next. Postgres' order, and never more than a window per queue."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

REFILL = text("""
WITH room AS (
    SELECT GREATEST(0, :window - count(*)) AS free
    FROM (SELECT FROM steps WHERE queue = :queue AND status = 'ready' AND rung_at IS NOT NULL LIMIT :window) rung
), due AS (
    SELECT s.id FROM steps s
    WHERE s.queue = :queue AND s.status = 'ready' AND s.rung_at IS NULL AND s.run_at <= now()
    ORDER BY s.priority DESC, s.run_at, s.id
    LIMIT (SELECT free FROM room)
    FOR UPDATE SKIP LOCKED
)
UPDATE steps s SET rung_at = now()
FROM due, jobs j
WHERE s.id = due.id AND j.id = s.job_id
RETURNING s.id, s.job_id, s.queue, s.label, s.name, j.agent, j.action, j.version
""")


def refill(session: Session, *, queue: str, window: int) -> Sequence[RowMapping]:
    """Mark due steps as rung, in order, as far as the queue's window has room; returns them."""
    return session.execute(REFILL, {"queue": queue, "window": window}).mappings().all()


UNHEARD = text("""
SELECT EXISTS (
    SELECT FROM steps
    WHERE queue = ANY(:queues) AND status = 'ready' AND rung_at IS NOT NULL
      AND run_at < now() - make_interval(secs => :seconds)
)
""")


def has_unheard(session: Session, *, queues: Sequence[str], seconds: float) -> bool:
    """Whether a step has been due for so long, rung for and not claimed."""
    return bool(session.execute(UNHEARD, {"queues": list(queues), "seconds": seconds}).scalar_one())


RERING = text("""
UPDATE steps s SET rung_at = now()
FROM (
    SELECT id FROM steps
    WHERE queue = ANY(:queues) AND status = 'ready' AND rung_at IS NOT NULL
      AND rung_at < now() - make_interval(secs => :after)
    ORDER BY rung_at
    LIMIT :slice
    FOR UPDATE SKIP LOCKED
) unheard, jobs j
WHERE s.id = unheard.id AND j.id = s.job_id
RETURNING s.id, s.job_id, s.queue, s.label, s.name, j.agent, j.action, j.version
""")


def rering(session: Session, *, queues: Sequence[str], after: float, slice_: int) -> Sequence[RowMapping]:
    """Mark steps again whose ring nobody answered for ``after`` seconds; returns them."""
    parameters = {"queues": list(queues), "after": after, "slice": slice_}
    return session.execute(RERING, parameters).mappings().all()
