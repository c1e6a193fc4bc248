"""SQL of the doorbell: which due steps are rung next. Postgres' order, and never more than a window per queue."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.jobs.order import FAIR_ORDER

REFILL = text(f"""
WITH {FAIR_ORDER} room AS (
    SELECT GREATEST(0, :window - count(*)) AS free
    FROM (SELECT FROM steps WHERE queue = :queue AND status = 'ready' AND rung_at IS NOT NULL LIMIT :window) rung
    HAVING NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = :queue)
), looked AS (
    SELECT front.*, s.job_id, j.agent || '.' || j.action || '@' || j.version = ANY(:manned) AS manned
    FROM front JOIN steps s ON s.id = front.id JOIN jobs j ON j.id = s.job_id
), due AS (
    SELECT s.id FROM looked l JOIN steps s ON s.id = l.id
    WHERE l.manned AND s.status = 'ready' AND s.rung_at IS NULL AND s.held || '' IS NULL
    ORDER BY l.turn, l.place, l.id
    LIMIT COALESCE((SELECT free FROM room), 0)
    FOR UPDATE OF s SKIP LOCKED
), parked AS (
    SELECT s.id FROM looked l JOIN steps s ON s.id = l.id
    WHERE NOT l.manned AND s.status = 'ready' AND s.rung_at IS NULL AND s.held || '' IS NULL
    FOR UPDATE OF s SKIP LOCKED
), moved AS (
    SELECT id, true AS rung FROM due UNION ALL SELECT id, false FROM parked
)
UPDATE steps s
SET rung_at = CASE WHEN moved.rung THEN now() END, held = CASE WHEN NOT moved.rung THEN 'worker' END
FROM moved, jobs j
WHERE s.id = moved.id AND j.id = s.job_id
RETURNING s.id, s.job_id, s.queue, s.label, s.name, s.team_id, moved.rung, j.agent, j.action, j.version
""")


def refill(
    session: Session, *, queue: str, window: int, manned: Sequence[str], after: str
) -> Sequence[RowMapping]:  # fmt: skip
    """Mark due steps as ``rung``, in order, as far as the queue's window has room; returns them.

    None of a paused queue.

    Only those of the action versions in ``manned`` (``agent.action@version``). The others are parked (``rung`` false):
    they would fill the window and the front of the order, and nobody could answer. ``after`` is the team behind which
    the look at the teams begins.
    """
    parameters = {"queue": queue, "window": window, "manned": list(manned), "after": after, "most": 2 * window}
    return session.execute(REFILL, parameters).mappings().all()


UNPARK = text("""
UPDATE steps SET held = NULL
WHERE id IN (
    SELECT s.id FROM steps s JOIN jobs j ON j.id = s.job_id
    WHERE s.queue = :queue AND s.status = 'ready' AND s.held = 'worker'
      AND j.agent || '.' || j.action || '@' || j.version = ANY(:manned)
    LIMIT :slice
    FOR UPDATE OF s SKIP LOCKED
)
""")


def unpark(session: Session, *, queue: str, manned: Sequence[str], slice_: int) -> int:
    """Steps that waited for a worker of their version take their place in the order again; returns how many."""
    found = session.execute(UNPARK, {"queue": queue, "manned": list(manned), "slice": slice_})
    return found.rowcount  # type: ignore[attr-defined,no-any-return]


UNHEARD = text("""
SELECT EXISTS (
    SELECT FROM steps
    WHERE queue = ANY(:queues) AND status = 'ready' AND rung_at IS NOT NULL
      AND run_at < now() - make_interval(secs => :seconds)
      AND NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = queue)
)
""")


def has_unheard(session: Session, *, queues: Sequence[str], seconds: float) -> bool:
    """Whether a step has been due for so long, rung for and not claimed."""
    return bool(session.execute(UNHEARD, {"queues": list(queues), "seconds": seconds}).scalar_one())


RERING = text("""
UPDATE steps s
SET rung_at = CASE WHEN j.agent || '.' || j.action || '@' || j.version = ANY(:manned)
                        AND NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = :queue) THEN now() END
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

    Those of a paused queue, and of action versions that nobody runs any more, go back into the order instead.
    """
    parameters = {"queue": queue, "after": after, "slice": slice_, "manned": list(manned)}
    return [row for row in session.execute(RERING, parameters).mappings() if row["rung_at"] is not None]


POSTPONE = text("""
UPDATE steps s SET rung_at = LEAST(s.rung_at, now() - make_interval(secs => :age))
FROM jobs j
WHERE s.id = :step_id AND s.status = 'ready' AND s.rung_at IS NOT NULL
  AND j.id = s.job_id AND NOT j.agent || '.' || j.action || '@' || j.version = ANY(:known)
RETURNING s.id, s.job_id, s.queue, s.label, s.name, j.agent, j.action, j.version
""")


def postpone_ring(session: Session, *, step_id: str, known: Sequence[str], age: float) -> Sequence[RowMapping]:
    """The ring of a step came to a worker that does not know its version: let it count as ``age`` seconds old.

    So it is rung again soon. Returns the step if it was so.
    """
    parameters = {"step_id": step_id, "known": list(known), "age": age}
    return session.execute(POSTPONE, parameters).mappings().all()
