"""SQL of the dispatcher's duties: over all teams, in bounded slices, each row locked with SKIP LOCKED."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.agents import QUEUES
from agora.jobs.models import JobRow

LOCK = text("SELECT pg_try_advisory_xact_lock(:space, :duty)")
SPACE = 0x0A60


def try_duty(session: Session, *, duty: int) -> bool:
    """Take a duty for this transaction; False while another dispatcher has it."""
    return bool(session.execute(LOCK, {"space": SPACE, "duty": duty}).scalar())


EXPIRED = text("""
SELECT id, job_id, team_id, name, iteration, item, attempt, lost_leases, fence
FROM steps
WHERE status = 'running' AND lease_expires_at < now()
ORDER BY lease_expires_at
LIMIT :slice
FOR UPDATE SKIP LOCKED
""")


def lock_expired(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Running steps whose worker went silent. A locked row is alive: its worker is just recording."""
    return session.execute(EXPIRED, {"slice": slice_}).mappings().all()


DUE = text("""
SELECT id, job_id, name, iteration, suspension
FROM steps
WHERE status = 'suspended' AND wake_at <= now()
ORDER BY wake_at
LIMIT :slice
FOR UPDATE SKIP LOCKED
""")


def lock_woken(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Suspended steps whose time has come."""
    return session.execute(DUE, {"slice": slice_}).mappings().all()


def get_job(session: Session, *, job_id: str) -> JobRow:
    """The job of a step that the dispatcher holds."""
    return session.get_one(JobRow, job_id)


RELEASE = text("""
WITH due AS (
    SELECT s.id, s.job_id, j.limited AND j.status = 'scheduled' AS gated
    FROM steps s JOIN jobs j ON j.id = s.job_id
    WHERE s.status = 'ready' AND s.held = 'time' AND s.run_at <= now()
    ORDER BY s.run_at
    LIMIT :slice
    FOR UPDATE OF s SKIP LOCKED
), started AS (
    UPDATE jobs SET status = 'queued'
    WHERE id = ANY(ARRAY(SELECT job_id FROM due)) AND status = 'scheduled'
), lined AS (
    UPDATE permits SET state = 'waiting'
    WHERE job_id = ANY(ARRAY(SELECT job_id FROM due WHERE gated)) AND state = 'idle'
    RETURNING scope
), released AS (
    UPDATE steps s SET held = CASE WHEN due.gated THEN 'concurrency' END FROM due WHERE s.id = due.id
)
SELECT (SELECT count(*) FROM due) AS released, ARRAY(SELECT DISTINCT scope FROM lined) AS scopes
""")


def release_due(session: Session, *, slice_: int) -> tuple[int, list[str]]:
    """Steps whose time has come take their place in the order; scheduled jobs of theirs become queued.

    Where limits concern those jobs, they stand in line first: how many steps were released, and the lines' scopes.
    """
    row = session.execute(RELEASE, {"slice": slice_}).one()
    return row.released, row.scopes


LATE = text("""
SELECT id, team_id FROM jobs
WHERE deadline <= now() AND ended_at IS NULL AND deadline IS NOT NULL
ORDER BY deadline
LIMIT :slice
""")


def find_late(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Open jobs whose deadline has passed."""
    return session.execute(LATE, {"slice": slice_}).mappings().all()


UNSTARTED = text("""
SELECT id, team_id, CAST(budget ->> 'queue_timeout' AS float8) AS seconds FROM jobs
WHERE start_by <= now() AND start_by IS NOT NULL AND started_at IS NULL AND ended_at IS NULL
ORDER BY start_by
LIMIT :slice
""")


def find_unstarted(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Open jobs that should have begun by now."""
    return session.execute(UNSTARTED, {"slice": slice_}).mappings().all()


CANCELLING = text("""
SELECT j.id, j.team_id, j.cancel_reason FROM jobs j
WHERE j.cancel_requested_at IS NOT NULL AND j.ended_at IS NULL
  AND NOT EXISTS (SELECT FROM steps s WHERE s.job_id = j.id AND s.status = 'running')
LIMIT :slice
""")


def find_unattended_cancels(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Jobs that were asked to cancel, of which no step runs any more."""
    return session.execute(CANCELLING, {"slice": slice_}).mappings().all()


NEXT = text("""
SELECT LEAST(
    (SELECT now() WHERE EXISTS (
        SELECT FROM due_steps
        WHERE queue = ANY(ARRAY(SELECT unnest(CAST(:queues AS text[])) EXCEPT SELECT name FROM paused_queues))
    )),
    (SELECT min(run_at) FROM steps WHERE status = 'ready' AND held = 'time'),
    (SELECT min(next_at) FROM limits),
    (SELECT min(wake_at) FROM steps WHERE status = 'suspended'),
    (SELECT min(next_fire_at) FROM schedules WHERE next_fire_at IS NOT NULL),
    (SELECT min(lease_expires_at) FROM steps WHERE status = 'running')
) AS due, now() AS now
""")


def next_due(session: Session) -> tuple[datetime | None, datetime]:
    """When the next step is due, wakes or loses its lease; and what time it is there."""
    row = session.execute(NEXT, {"queues": list(QUEUES)}).one()
    return row.due, row.now


TICK = text("""
INSERT INTO workers (id, hostname, pid, actions) VALUES ('dispatcher', :hostname, :pid, '{}')
ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), hostname = excluded.hostname, pid = excluded.pid
""")


def note_tick(session: Session, *, hostname: str, pid: int) -> None:
    """Note that a dispatcher has ticked."""
    session.execute(TICK, {"hostname": hostname, "pid": pid})


AGE = text("SELECT extract(epoch FROM clock_timestamp() - seen_at) FROM workers WHERE id = 'dispatcher'")


def tick_age(session: Session) -> float | None:
    """Seconds since a dispatcher last ticked; None when none ever did."""
    age = session.execute(AGE).scalar()
    return None if age is None else float(age)
