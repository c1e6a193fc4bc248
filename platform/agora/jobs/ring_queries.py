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
    JOIN jobs j ON j.id = s.job_id
    WHERE s.queue = :queue AND s.status = 'ready' AND s.rung_at IS NULL AND s.run_at <= now()
      AND j.agent || '.' || j.action || '@' || j.version = ANY(:manned)
    ORDER BY s.priority DESC, s.run_at, s.id
    LIMIT (SELECT free FROM room)
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE steps s SET rung_at = now()
FROM due, jobs j
WHERE s.id = due.id AND j.id = s.job_id
RETURNING s.id, s.job_id, s.queue, s.label, s.name, j.agent, j.action, j.version
""")


def refill(session: Session, *, queue: str, window: int, manned: Sequence[str]) -> Sequence[RowMapping]:
    """Mark due steps as rung, in order, as far as the queue's window has room; returns them.

    Only those of the action versions in ``manned`` (``agent.action@version``): the others would fill the window, and
    nobody could answer.
    """
    return session.execute(REFILL, {"queue": queue, "window": window, "manned": list(manned)}).mappings().all()


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
UPDATE steps s
SET rung_at = CASE WHEN j.agent || '.' || j.action || '@' || j.version = ANY(:manned) THEN now() END
FROM (
    SELECT id FROM steps
    WHERE queue = :queue AND status = 'ready' AND rung_at IS NOT NULL
      AND rung_at < now() - make_interval(secs => :after)
    ORDER BY rung_at
    LIMIT :slice
    FOR UPDATE SKIP LOCKED
) unheard, jobs j
WHERE s.id = unheard.id AND j.id = s.job_id
RETURNING s.id, s.job_id, s.queue, s.label, s.name, j.agent, j.action, j.version, s.rung_at
""")


def rering(
    session: Session, *, queue: str, after: float, slice_: int, manned: Sequence[str]
) -> Sequence[RowMapping]:  # fmt: skip
    """Mark steps again whose ring nobody answered for ``after`` seconds; returns them.

    Those of action versions that nobody runs any more lose their place in the window instead.
    """
    parameters = {"queue": queue, "after": after, "slice": slice_, "manned": list(manned)}
    return [row for row in session.execute(RERING, parameters).mappings() if row["rung_at"] is not None]


POSTPONE = text("""
UPDATE steps s SET rung_at = now() - make_interval(secs => :age)
FROM jobs j
WHERE s.id = :step_id AND s.status = 'ready' AND s.rung_at > now() - make_interval(secs => :age)
  AND j.id = s.job_id AND NOT j.agent || '.' || j.action || '@' || j.version = ANY(:known)
""")


def postpone_ring(session: Session, *, step_id: str, known: Sequence[str], age: float) -> None:
    """The ring of a step came to a worker that does not know its version: let it count as ``age`` seconds old.

    It is then rung again soon, not at once: else workers that cannot answer would hand it round and round.
    """
    session.execute(POSTPONE, {"step_id": step_id, "known": list(known), "age": age})
