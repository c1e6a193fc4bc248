"""SQL of a running step: claim, renew, record. Each guards itself by state and fence; none commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

CLAIM = text("""
WITH due AS (
    SELECT s.id, s.job_id, j.status AS job_status
    FROM steps s
    JOIN jobs j ON j.id = s.job_id
    WHERE s.id = :step_id
      AND s.status = 'ready'
      AND s.run_at <= now()
      AND j.status IN ('queued', 'running')
      AND j.cancel_requested_at IS NULL
      AND (j.deadline IS NULL OR j.deadline > now())
      AND j.agent || '.' || j.action || '@' || j.version = ANY(:known)
    FOR UPDATE OF s SKIP LOCKED
), claimed AS (
    UPDATE steps s
    SET status = 'running',
        fence = :fence,
        worker_id = :worker_id,
        attempt = s.attempt + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease),
        started_at = now(),
        rung_at = NULL
    FROM due
    WHERE s.id = due.id
    RETURNING s.*, due.job_status
), begun AS (
    UPDATE jobs j
    SET status = 'running', started_at = now(), event_seq = j.event_seq + 1
    FROM claimed c
    WHERE j.id = c.job_id AND c.job_status = 'queued' AND j.status = 'queued'
    RETURNING j.id, j.team_id, j.event_seq, j.agent, j.action, j.version, j.metadata
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT :event_id, team_id, id, event_seq, 'job.started',
           jsonb_build_object('job_id', id, 'agent', agent, 'action', action, 'version', version, 'status', 'running',
                              'metadata', metadata, 'links', jsonb_build_object('self', '/api/v1/jobs/' || id))
    FROM begun
)
SELECT c.id, c.job_id, c.name, c.position, c.iteration, c.item, c.attempt, c.lost_leases, c.carry, c.queue,
       j.team_id, j.agent, j.action, j.version, j.root_id, j.input, j.priority, j.metadata, j.traceparent, j.deadline,
       c.job_status = 'queued' AS first, now() AS claimed_at,
       EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = c.team_id) AS subscribed,
       p.name AS previous_name, p.result AS previous_result,
       -- A claim that writes only the step row need not be durable: if it is lost, the lease was never taken.
       CASE WHEN c.job_status <> 'queued' THEN set_config('synchronous_commit', 'off', true) END
FROM claimed c
JOIN jobs j ON j.id = c.job_id
LEFT JOIN LATERAL (
    SELECT name, result FROM steps
    WHERE job_id = c.job_id AND status = 'succeeded' AND (iteration, position) < (c.iteration, c.position)
    ORDER BY iteration DESC, position DESC
    LIMIT 1
) p ON true
""")


def claim_step(
    session: Session, *, step_id: str, known: Sequence[str], fence: str, worker_id: str, lease: float, event_id: str
) -> RowMapping | None:
    """Take one due step under a fresh fence; None when it is not to be had. ``lease`` is seconds.

    The first claim of a job also records its ``job.started`` under ``event_id``.
    """
    parameters = {
        "step_id": step_id, "known": list(known), "fence": fence, "worker_id": worker_id, "lease": lease,
        "event_id": event_id,
    }  # fmt: skip
    return session.execute(CLAIM, parameters).mappings().one_or_none()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The parameters of one record: what happens to the step, what follows, what becomes of the job.

    JSON fields are texts. ``fence`` None records a suspended step, which nobody runs.
    """

    step_id: str
    from_status: str
    fence: str | None
    step_status: str
    result: str | None = None
    error: str | None = None
    retry_in: float | None = None
    give_back: int = 0
    lost: int = 0
    suspension: str | None = None
    wake_at: datetime | None = None
    attempt_id: str | None = None
    attempt_outcome: str | None = None
    next_id: str | None = None
    next_name: str | None = None
    next_position: int | None = None
    next_iteration: int | None = None
    next_queue: str | None = None
    next_label: str | None = None
    next_attempts: int | None = None
    next_carry: str | None = None
    next_fence: str | None = None
    next_lease: float | None = None
    job_from: Sequence[str] = ()
    job_status: str | None = None
    progress: float | None = None
    output: str | None = None
    events: str = "[]"
    heed_cancel: bool = True


RECORD = text("""
WITH step AS (
    UPDATE steps s
    SET status = :step_status,
        fence = NULL,
        lease_expires_at = NULL,
        attempt = s.attempt - :give_back,
        lost_leases = s.lost_leases + :lost,
        result = CAST(:result AS jsonb),
        error = CAST(:error AS jsonb),
        suspension = CAST(:suspension AS jsonb),
        wake_at = CAST(:wake_at AS timestamptz),
        run_at = CASE WHEN CAST(:retry_in AS float8) IS NULL THEN s.run_at
                      ELSE now() + make_interval(secs => CAST(:retry_in AS float8)) END,
        rung_at = CASE WHEN :step_status = 'ready' AND CAST(:retry_in AS float8) = 0 THEN now() END,
        ended_at = CASE WHEN :step_status IN ('succeeded', 'failed', 'cancelled') THEN now() END
    WHERE s.id = :step_id AND s.status = :from_status AND s.fence IS NOT DISTINCT FROM CAST(:fence AS text)
    RETURNING s.id, s.job_id, s.team_id, s.attempt + :give_back AS tried, s.priority, s.worker_id, s.started_at,
              s.carry
), job AS (
    UPDATE jobs j
    SET status = COALESCE(:job_status, j.status),
        progress = COALESCE(GREATEST(j.progress, CAST(:progress AS float8)), j.progress),
        output = COALESCE(CAST(:output AS jsonb), j.output),
        error = CASE WHEN :job_status = 'failed' THEN CAST(:error AS jsonb) - 'traceback' ELSE j.error END,
        ended_at = CASE WHEN :job_status IN ('succeeded', 'failed', 'cancelled') THEN now() END,
        event_seq = j.event_seq + jsonb_array_length(CAST(:events AS jsonb))
    FROM step
    WHERE j.id = step.job_id
      AND j.status = ANY(:job_from)
      AND (j.cancel_requested_at IS NULL OR NOT :heed_cancel)
    RETURNING j.id, j.event_seq
), tried AS (
    INSERT INTO attempts (id, job_id, step_id, team_id, number, outcome, worker_id, error, started_at)
    SELECT :attempt_id, job_id, id, team_id, tried, :attempt_outcome, worker_id, CAST(:error AS jsonb), started_at
    FROM step
    WHERE CAST(:attempt_id AS text) IS NOT NULL
), following AS (
    -- With a fence, the worker goes on with the next step in the same turn: recording this one claims that one.
    INSERT INTO steps (id, job_id, team_id, name, position, iteration, status, queue, priority, label, max_attempts,
                       carry, rung_at, attempt, fence, worker_id, lease_expires_at, started_at)
    SELECT :next_id, job_id, team_id, :next_name, :next_position, :next_iteration,
           CASE WHEN f.fence IS NULL THEN 'ready' ELSE 'running' END, :next_queue, priority,
           :next_label, :next_attempts, COALESCE(CAST(:next_carry AS jsonb), carry),
           CASE WHEN f.fence IS NULL THEN now() END, CASE WHEN f.fence IS NULL THEN 0 ELSE 1 END, f.fence,
           CASE WHEN f.fence IS NOT NULL THEN worker_id END,
           CASE WHEN f.fence IS NOT NULL
                THEN clock_timestamp() + make_interval(secs => CAST(:next_lease AS float8)) END,
           CASE WHEN f.fence IS NOT NULL THEN now() END
    FROM step, (SELECT CAST(:next_fence AS text) AS fence) f
    WHERE CAST(:next_id AS text) IS NOT NULL
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT e.id, step.team_id, job.id, job.event_seq - jsonb_array_length(CAST(:events AS jsonb)) + e.n,
           e.type, e.data
    FROM step, job, ROWS FROM (jsonb_to_recordset(CAST(:events AS jsonb)) AS (id text, type text, data jsonb))
         WITH ORDINALITY AS e (id, type, data, n)
)
SELECT now() AS recorded_at, (SELECT count(*) FROM job) AS jobs,
       EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = step.team_id) AS subscribed
FROM step
""")


def record_step(session: Session, record: Record) -> RowMapping | None:
    """Write all of a step's outcome in one statement.

    None when the fence no longer holds: nothing was written then. ``jobs`` is 0 when the job had been asked to cancel
    or had left the states of ``job_from``: the caller must roll back.
    """
    parameters = {name: getattr(record, name) for name in Record.__slots__}
    parameters["job_from"] = list(record.job_from)
    return session.execute(RECORD, parameters).mappings().one_or_none()


HOLD = text("SELECT 1 FROM steps WHERE id = :step_id AND fence = :fence AND status = 'running' FOR UPDATE")


def hold_step(session: Session, *, step_id: str, fence: str) -> bool:
    """Lock a step that this fence still owns, for the length of the transaction."""
    return session.execute(HOLD, {"step_id": step_id, "fence": fence}).first() is not None


RENEW = text("""
WITH mine AS (
    SELECT s.id FROM steps s
    WHERE (s.id, s.fence) IN (SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:fences AS text[])))
      AND s.status = 'running'
    -- A row that is locked (a transactional step, a record in flight) is alive; it must not hold up the others.
    FOR UPDATE SKIP LOCKED
), renewed AS (
    UPDATE steps s
    SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
    FROM mine
    WHERE s.id = mine.id
)
SELECT s.id, j.cancel_requested_at IS NOT NULL AS cancelled,
       j.deadline IS NOT NULL AND j.deadline <= now() AS late,
       set_config('synchronous_commit', 'off', true)
FROM steps s
JOIN jobs j ON j.id = s.job_id
WHERE (s.id, s.fence) IN (SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:fences AS text[])))
""")


def renew_leases(session: Session, *, held: Mapping[str, str], lease: float) -> Sequence[RowMapping]:
    """Extend the leases of ``{step id: fence}``; returns those that are still held, with cancel and deadline flags."""
    parameters = {"ids": list(held), "fences": list(held.values()), "lease": lease}
    return session.execute(RENEW, parameters).mappings().all()


RESULT = text("""
SELECT result FROM steps
WHERE job_id = :job_id AND name = :name AND iteration <= :iteration AND item = 0 AND status = 'succeeded'
ORDER BY iteration DESC
LIMIT 1
""")


def find_result(session: Session, *, job_id: str, name: str, iteration: int) -> RowMapping | None:
    """The stored result of an earlier step of the job, of the newest iteration up to this one."""
    return session.execute(RESULT, {"job_id": job_id, "name": name, "iteration": iteration}).mappings().one_or_none()


PROGRESS = text("""
WITH held AS (
    SELECT job_id, team_id FROM steps WHERE id = :step_id AND fence = :fence AND status = 'running' FOR KEY SHARE
), job AS (
    UPDATE jobs j
    SET progress = GREATEST(j.progress, :fraction),
        progress_message = COALESCE(CAST(:message AS text), j.progress_message),
        event_seq = j.event_seq + jsonb_array_length(CAST(:events AS jsonb))
    FROM held
    WHERE j.id = held.job_id AND j.status = 'running'
    RETURNING j.id, j.event_seq
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT e.id, held.team_id, job.id, job.event_seq - jsonb_array_length(CAST(:events AS jsonb)) + e.n,
           e.type, e.data
    FROM held, job, ROWS FROM (jsonb_to_recordset(CAST(:events AS jsonb)) AS (id text, type text, data jsonb))
         WITH ORDINALITY AS e (id, type, data, n)
)
SELECT now() AS recorded_at, set_config('synchronous_commit', 'off', true) FROM job
""")


def report_progress(
    session: Session, *, step_id: str, fence: str, fraction: float, message: str | None, events: str
) -> RowMapping | None:
    """Write progress and events of a running step; None when the fence no longer holds."""
    parameters = {
        "step_id": step_id, "fence": fence, "fraction": fraction, "message": message, "events": events,
    }  # fmt: skip
    return session.execute(PROGRESS, parameters).mappings().one_or_none()


NOTE = text("SELECT value FROM step_notes WHERE step_id = :step_id AND key = :key")


def find_note(session: Session, *, step_id: str, key: str) -> RowMapping | None:
    """What ``ctx.once`` stored under ``key``."""
    return session.execute(NOTE, {"step_id": step_id, "key": key}).mappings().one_or_none()


ADD_NOTE = text("""
INSERT INTO step_notes (step_id, key, value)
SELECT id, :key, CAST(:value AS jsonb) FROM steps
WHERE id = :step_id AND fence = :fence AND status = 'running'
FOR KEY SHARE
""")


def add_note(session: Session, *, step_id: str, fence: str, key: str, value: str) -> bool:
    """Store a note of a step that this fence still owns; False when it no longer does."""
    parameters = {"step_id": step_id, "fence": fence, "key": key, "value": value}
    return session.execute(ADD_NOTE, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]


GIVE_BACK = text("""
UPDATE steps
SET status = 'ready', fence = NULL, lease_expires_at = NULL, attempt = attempt - 1, rung_at = NULL
WHERE id IN (SELECT id FROM steps WHERE status = 'running' AND worker_id = :worker_id FOR UPDATE SKIP LOCKED)
""")


def give_back_leases(session: Session, *, worker_id: str) -> int:
    """Make ready again what a stopping worker still held; its fences are gone, so that it writes nothing more."""
    return session.execute(GIVE_BACK, {"worker_id": worker_id}).rowcount  # type: ignore[attr-defined,no-any-return]
