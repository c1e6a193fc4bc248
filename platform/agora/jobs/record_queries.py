"""SQL of a record: what tries came to, a group of them in one statement, each guarded by state and fence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.db.session import Direct, rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What happens to one step, what follows it, what becomes of its job.

    ``result`` and ``next_carry`` are stored values (JSON texts), ``retry_in`` and ``next_lease`` seconds. ``fence``
    None records a suspended step, which nobody runs. ``is_output`` makes the result the job's output too.
    """

    step_id: str
    from_status: str
    fence: str | None
    step_status: str
    result: str | None = None
    is_output: bool = False
    error: Mapping[str, Any] | None = None
    retry_in: float | None = None
    give_back: int = 0
    lost: int = 0
    suspension: Mapping[str, Any] | None = None
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
    events: Sequence[Mapping[str, Any]] = ()
    heed_cancel: bool = True


RECORD = text("""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (
        step_id text, from_status text, fence text, step_status text, result text, is_output bool, error jsonb,
        retry_in float8, give_back int, lost int, suspension jsonb, wake_at timestamptz, attempt_id text,
        attempt_outcome text, next_id text, next_name text, next_position int, next_iteration int,
        next_queue text, next_label text, next_attempts int, next_carry text, next_fence text,
        next_lease float8, job_from text[], job_status text, progress float8, events jsonb, heed_cancel bool
    ) LIMIT :count
), held AS (
    -- Steps are locked before jobs, each in order, here and everywhere: nobody waits in a circle.
    SELECT given.*, s.job_id, s.team_id,
           next_fence IS NOT NULL AND NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = next_queue) AS onward
    FROM given JOIN steps s ON s.id = given.step_id
    WHERE s.status = given.from_status AND s.fence IS NOT DISTINCT FROM given.fence
    ORDER BY s.id
    FOR UPDATE OF s
), owner AS (
    SELECT j.id, j.status, j.cancel_requested_at FROM jobs j
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM held))
    ORDER BY j.id
    FOR NO KEY UPDATE
), known AS (
    SELECT held.*,
           owner.status = ANY(held.job_from) AND (owner.cancel_requested_at IS NULL OR NOT held.heed_cancel) AS fits,
           EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = held.team_id) AS subscribed
    FROM held JOIN owner ON owner.id = held.job_id
), fit AS (
    SELECT * FROM known WHERE fits AND (:may_fan_out OR NOT subscribed)
), step AS (
    UPDATE steps s
    SET status = step_status,
        fence = NULL,
        lease_expires_at = NULL,
        attempt = s.attempt - give_back,
        lost_leases = s.lost_leases + lost,
        result = CAST(f.result AS jsonb),
        error = f.error,
        suspension = f.suspension,
        wake_at = f.wake_at,
        run_at = COALESCE(now() + make_interval(secs => retry_in), s.run_at),
        held = CASE WHEN retry_in > 0 THEN 'time' END,
        rung_at = CASE WHEN retry_in = 0 THEN now() END,
        ended_at = CASE WHEN step_status IN ('succeeded', 'failed', 'cancelled') THEN now() END
    FROM fit f
    WHERE s.id = f.step_id
    RETURNING s.id, s.attempt + give_back AS tried, s.priority, s.worker_id, s.started_at, s.carry
), job AS (
    UPDATE jobs j
    SET status = COALESCE(job_status, j.status),
        progress = COALESCE(GREATEST(j.progress, f.progress), j.progress),
        output = CASE WHEN is_output THEN CAST(f.result AS jsonb) ELSE j.output END,
        error = CASE WHEN job_status = 'failed' THEN f.error - 'traceback' ELSE j.error END,
        ended_at = CASE WHEN job_status IN ('succeeded', 'failed', 'cancelled') THEN now() END,
        event_seq = j.event_seq + COALESCE(jsonb_array_length(f.events), 0)
    FROM fit f
    WHERE j.id = f.job_id
    RETURNING j.id, j.event_seq
), tried AS (
    INSERT INTO attempts (id, job_id, step_id, team_id, number, outcome, worker_id, error, started_at)
    SELECT attempt_id, f.job_id, f.step_id, f.team_id, step.tried, attempt_outcome, step.worker_id, f.error,
           step.started_at
    FROM fit f JOIN step ON step.id = f.step_id
    WHERE attempt_id IS NOT NULL
), following AS (
    -- With a fence, the worker goes on with the next step in the same turn: recording this one claims that one.
    INSERT INTO steps (id, job_id, team_id, name, position, iteration, status, queue, priority, label, max_attempts,
                       carry, rung_at, attempt, fence, worker_id, lease_expires_at, started_at)
    SELECT next_id, f.job_id, f.team_id, next_name, next_position, next_iteration,
           CASE WHEN onward THEN 'running' ELSE 'ready' END, next_queue, step.priority,
           next_label, next_attempts, COALESCE(CAST(next_carry AS jsonb), step.carry),
           CASE WHEN next_fence IS NULL THEN now() END,
           CASE WHEN onward THEN 1 ELSE 0 END,
           CASE WHEN onward THEN next_fence END,
           CASE WHEN onward THEN step.worker_id END,
           CASE WHEN onward THEN clock_timestamp() + make_interval(secs => next_lease) END,
           CASE WHEN onward THEN now() END
    FROM fit f JOIN step ON step.id = f.step_id
    WHERE next_id IS NOT NULL
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT e.id, f.team_id, f.job_id, job.event_seq - jsonb_array_length(f.events) + e.n, e.type, e.data
    FROM fit f
    JOIN job ON job.id = f.job_id
    CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(f.events) AS (id text, type text, data jsonb))
         WITH ORDINALITY AS e (id, type, data, n)
)
SELECT step_id, fits, subscribed, onward, now() AS recorded_at FROM known
""")


def record_steps(
    session: Session | Direct, records: Sequence[Record], *, may_fan_out: bool
) -> dict[str, Mapping[str, Any]]:
    """Write the outcomes of steps of different jobs in one statement; by step id what became of each.

    - A step that is missing there is no longer its owner's: the fence is another, or the state.
    - ``fits`` false: its job was asked to cancel, or has left the states of ``job_from``.
    - ``subscribed``: its team has webhook endpoints. Only with ``may_fan_out``, in a transaction that goes on to make
      the deliveries, is such a step written.

    All the others are written.
    """
    parameters = {"records": _as_json(records), "count": len(records), "may_fan_out": may_fan_out}
    return {row["step_id"]: row for row in rows(session, RECORD, parameters)}


def _as_json(records: Sequence[Record]) -> str:
    made = [{name: value for name in Record.__slots__ if (value := getattr(one, name)) is not None} for one in records]
    return json.dumps(made, separators=(",", ":"), default=datetime.isoformat)
