"""SQL of a running step: claim, renew, note, give back. Each guards itself by state and fence; none commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.orm import Session

from agora.db.session import Direct, Rows, rows
from agora.ids import new_id
from agora.jobs.order import FAIR_ORDER

ONE = """
    SELECT s.id, s.xmin, s.job_id, j.status AS job_status
    FROM steps s
    JOIN jobs j ON j.id = s.job_id
    WHERE s.id = :step_id
      AND s.status = 'ready'
      AND s.held IS NULL
      AND NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = s.queue)
      AND j.status IN ('queued', 'running')
      AND j.cancel_requested_at IS NULL
      AND (j.deadline IS NULL OR j.deadline > now())
      AND j.agent || '.' || j.action || '@' || j.version = ANY(:known)
    FOR UPDATE OF s SKIP LOCKED
"""

QUICK = """(
        -- Looked up by id, one by one, until there are enough. Its lock keeps Postgres from planning it as a join: with
        -- statistics from a long queue that joins all of it.
        SELECT s.id, s.xmin, s.job_id, j.status AS job_status
        FROM steps s
        JOIN jobs j ON j.id = s.job_id
        WHERE s.id = front.id
          AND s.label = ANY(:quick)
          AND s.lost_leases = 0
          AND s.status = 'ready'
          AND s.rung_at IS {rung}
          AND s.held || '' IS NULL
          AND j.status IN ('queued', 'running')
          AND j.cancel_requested_at IS NULL
          AND (j.deadline IS NULL OR j.deadline > now())
          AND j.agent || '.' || j.action || '@' || j.version = ANY(:known)
        FOR UPDATE OF s SKIP LOCKED
    )"""

NEXT = f"""
    SELECT s.*
    FROM front, LATERAL {QUICK.format(rung="NULL")} s
    WHERE NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = :queue)
    ORDER BY turn, place, front.id
    LIMIT :count
"""

RUNG = """
front AS MATERIALIZED (
    SELECT id, rung_at FROM steps
    WHERE queue = :queue AND status = 'ready' AND rung_at IS NOT NULL
    ORDER BY rung_at LIMIT :most
),
"""

SHARE = f"""
    SELECT s.*
    FROM front, LATERAL {QUICK.format(rung="NOT NULL")} s
    WHERE NOT EXISTS (SELECT FROM paused_queues q WHERE q.name = :queue)
    ORDER BY front.rung_at
    LIMIT LEAST(:count, (SELECT (count(*) + 1) / 2 FROM front))
"""

CLAIM = """
WITH {order} due AS (
    {due}
), numbered AS (
    SELECT *, row_number() OVER () AS n,
           due.job_status = 'queued'
               AND EXISTS (SELECT FROM webhook_endpoints w JOIN jobs j ON j.team_id = w.team_id WHERE j.id = due.job_id)
               AS fans_out
    FROM due
), claimed AS (
    UPDATE steps s
    SET status = 'running',
        fence = :fence,
        worker_id = :worker_id,
        attempt = s.attempt + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease),
        started_at = now(),
        rung_at = NULL
    FROM numbered d
    -- What was locked is the row of now, this reads that of the snapshot. Was it written in between, then its job may
    -- have been moved to another version, of which the snapshot knows nothing. So it is looked at once more.
    WHERE s.id = d.id AND s.xmin = d.xmin AND (:may_fan_out OR NOT d.fans_out)
    RETURNING s.*, d.job_status, d.n
), begun AS (
    UPDATE jobs j
    SET status = 'running', started_at = now(), event_seq = j.event_seq + 1
    FROM claimed c
    WHERE j.id = c.job_id AND c.job_status = 'queued' AND j.status = 'queued'
    RETURNING j.id, j.team_id, j.event_seq, j.agent, j.action, j.version, j.metadata, c.n
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT (CAST(:event_ids AS text[]))[n], team_id, id, event_seq, 'job.started',
           jsonb_build_object('job_id', id, 'agent', agent, 'action', action, 'version', version, 'status', 'running',
                              'metadata', metadata, 'links', jsonb_build_object('self', '/api/v1/jobs/' || id))
    FROM begun
)
SELECT d.id, d.fans_out, c.id IS NOT NULL AS claimed, (CAST(:event_ids AS text[]))[d.n] AS event_id,
       d.job_id, c.name, c.position, c.iteration, c.item, c.attempt, c.lost_leases, c.carry, c.value, c.queue,
       j.team_id, j.agent, j.action, j.version, j.limited, j.root_id, j.input, j.priority, j.metadata, j.traceparent,
       j.request_id, j.parent_id, j.budget IS NOT NULL AS budgeted,
       d.job_status = 'queued' AS first, now() AS claimed_at,
       EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = j.team_id) AS subscribed,
       d.n = 1 AND EXISTS (SELECT FROM due_steps b WHERE b.queue = c.queue) AS backlog,  -- asked once
       d.n = 1 AND (SELECT count(*) = {crowd} FROM (SELECT FROM steps r
                                            WHERE r.queue = c.queue AND r.status = 'ready' AND r.rung_at IS NOT NULL
                                            LIMIT {crowd}) rung) AS crowd,
       p.name AS previous_name, p.result AS previous_result,
       -- A claim that nobody was told of need not be durable: if it is lost, the lease was never taken.
       CASE WHEN NOT bool_or(d.fans_out) OVER () THEN set_config('synchronous_commit', 'off', true) END
FROM numbered d
JOIN jobs j ON j.id = d.job_id
LEFT JOIN claimed c ON c.id = d.id
LEFT JOIN LATERAL (
    SELECT name, result FROM steps
    WHERE c.item = 0 AND job_id = c.job_id AND item = 0 AND status IN ('succeeded', 'copied')
      AND (iteration, position) < (c.iteration, c.position)
    ORDER BY iteration DESC, position DESC
    LIMIT 1
) p ON true
ORDER BY d.n
"""

CROWD = 4
"""So many steps of a queue that were rung for, with the one that is claimed, are a burst: its others may be shared."""
CLAIM_ONE = text(CLAIM.format(order="", due=ONE, crowd=CROWD))
CLAIM_NEXT = text(CLAIM.format(order=FAIR_ORDER, due=NEXT, crowd=CROWD))
CLAIM_RUNG = text(CLAIM.format(order=RUNG, due=SHARE, crowd=CROWD))
FRONT = 200
"""How far into a queue's backlog a claim looks for quick steps: slow ones must not make it walk through all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """Who claims: its actions (``agent.action@version``), its fresh fence, its lease in seconds.

    A step whose team has webhook endpoints and whose job begins with it makes a delivery; it is claimed only with
    ``may_fan_out``, in a transaction that goes on to make it. Nor is a step claimed that was written while the
    statement was on its way to it. Both are told as rows that are not ``claimed``: another look is to be taken.
    """

    known: Sequence[str]
    worker_id: str
    fence: str
    lease: float
    may_fan_out: bool


def claim_step(session: Session | Direct, claimant: Claimant, *, step_id: str) -> Rows:
    """Take one due step; no row when it is not to be had, ``claimed`` false when that takes another look."""
    return _claim(session, CLAIM_ONE, claimant, 1, step_id=step_id)


def claim_next(
    session: Session | Direct, claimant: Claimant, *, queue: str, quick: Sequence[str], count: int, after: str
) -> Rows:
    """Take up to ``count`` due steps that nobody was rung for, in the queue's order, of the labels in ``quick``.

    ``after`` is where the look at the teams begins, as in :data:`FAIR_ORDER`.

    A step that lost a worker before is left alone: it shall not take others with it.
    """
    return _claim(session, CLAIM_NEXT, claimant, count, queue=queue, quick=quick, after=after, most=FRONT + count)


def claim_rung(session: Session | Direct, claimant: Claimant, *, queue: str, quick: Sequence[str], count: int) -> Rows:
    """Take up to ``count`` due steps that were rung for, but no more than half of them, of the labels in ``quick``.

    Their messages will find them taken. The other half is for whoever hears its messages meanwhile.
    """
    return _claim(session, CLAIM_RUNG, claimant, count, queue=queue, quick=quick, most=FRONT)


def _claim(session: Session | Direct, statement: TextClause, claimant: Claimant, count: int, **more: Any) -> Rows:
    parameters = {
        "known": claimant.known, "worker_id": claimant.worker_id, "fence": claimant.fence, "lease": claimant.lease,
        "may_fan_out": claimant.may_fan_out, "event_ids": [new_id("evt") for _ in range(count)], "count": count,
    }  # fmt: skip
    return rows(session, statement, parameters | more)


HOLD = text("""
SELECT set_config('idle_in_transaction_session_timeout', CAST(:silence AS text), true) FROM steps
WHERE id = :step_id AND fence = :fence AND status = 'running'
FOR UPDATE
""")


def hold_step(session: Session, *, step_id: str, fence: str, silence: float) -> bool:
    """Lock a step that this fence still owns, for the length of the transaction.

    ``silence`` is after how many seconds without a statement Postgres ends the transaction.
    """
    parameters = {"step_id": step_id, "fence": fence, "silence": round(silence * 1000)}
    return session.execute(HOLD, parameters).first() is not None


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


def renew_leases(session: Session | Direct, *, held: Mapping[str, str], lease: float) -> Rows:
    """Extend the leases of ``{step id: fence}``; returns those that are still held, with cancel and deadline flags."""
    parameters = {"ids": list(held), "fences": list(held.values()), "lease": lease}
    return rows(session, RENEW, parameters)


RESULT = text("""
SELECT result FROM steps
WHERE job_id = :job_id AND name = :name AND iteration <= :iteration AND item = 0
  AND status IN ('succeeded', 'copied')
ORDER BY iteration DESC
LIMIT 1
""")


def find_result(session: Session, *, job_id: str, name: str, iteration: int) -> RowMapping | None:
    """The stored result of an earlier step of the job, of the newest iteration up to this one."""
    return session.execute(RESULT, {"job_id": job_id, "name": name, "iteration": iteration}).mappings().one_or_none()


PROGRESS = text("""
WITH held AS (
    SELECT job_id, team_id FROM steps WHERE id = :step_id AND fence = :fence AND status = 'running' FOR KEY SHARE
), before AS (
    SELECT j.partial_output ->> 'ref' AS ref FROM jobs j WHERE j.id = (SELECT job_id FROM held) FOR NO KEY UPDATE
), job AS (
    UPDATE jobs j
    SET progress = GREATEST(j.progress, :fraction),
        progress_message = COALESCE(CAST(:message AS text), j.progress_message),
        partial_output = COALESCE(CAST(:partial AS jsonb), j.partial_output),
        event_seq = j.event_seq + jsonb_array_length(CAST(:events AS jsonb))
    FROM held, before
    WHERE j.id = held.job_id AND j.status = 'running'
    RETURNING j.id, j.event_seq, before.ref AS ref_before
), replaced AS (
    -- The content of a large partial output that this row refers to no longer: retention sees whether another does.
    INSERT INTO leftovers (location, team_id)
    SELECT job.ref_before, held.team_id FROM held, job
    WHERE job.ref_before IS DISTINCT FROM CAST(:partial AS jsonb) ->> 'ref'
      AND job.ref_before IS NOT NULL AND CAST(:partial AS jsonb) IS NOT NULL
    ON CONFLICT DO NOTHING
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
    session: Session, *, step_id: str, fence: str, fraction: float, message: str | None, partial: str | None,
    events: str,
) -> RowMapping | None:  # fmt: skip
    """Write progress, partial output and events of a running step; None when the fence no longer holds."""
    parameters = {
        "step_id": step_id, "fence": fence, "fraction": fraction, "message": message, "partial": partial,
        "events": events,
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


RELEASE = text("""
UPDATE steps s
SET status = 'ready', fence = NULL, lease_expires_at = NULL, started_at = NULL, attempt = s.attempt - 1, rung_at = NULL
FROM unnest(CAST(:ids AS text[]), CAST(:fences AS text[])) AS mine (id, fence)
WHERE s.id = mine.id AND s.fence = mine.fence AND s.status = 'running'
""")


def release_steps(session: Session | Direct, *, held: Mapping[str, str]) -> None:
    """Make ready again what was claimed and not begun, of ``{step id: fence}``, without burning an attempt."""
    rows(session, RELEASE, {"ids": list(held), "fences": list(held.values())})


GIVE_BACK = text("""
UPDATE steps
SET status = 'ready', fence = NULL, lease_expires_at = NULL, started_at = NULL, attempt = attempt - 1, rung_at = NULL
WHERE id IN (SELECT id FROM steps WHERE status = 'running' AND worker_id = :worker_id FOR UPDATE SKIP LOCKED)
""")


def give_back_leases(session: Session, *, worker_id: str) -> int:
    """Make ready again what a stopping worker still held; its fences are gone, so that it writes nothing more."""
    return session.execute(GIVE_BACK, {"worker_id": worker_id}).rowcount  # type: ignore[attr-defined,no-any-return]


FAIL = text("""
UPDATE steps SET status = 'failed', error = CAST(:error AS jsonb), ended_at = now()
WHERE id = :step_id AND status = 'suspended'
""")


def fail_suspended(session: Session, *, step_id: str, error: str) -> bool:
    """A suspended step fails: too much of what it waited for did. False when it is not suspended any more."""
    return session.execute(FAIL, {"step_id": step_id, "error": error}).rowcount == 1  # type: ignore[attr-defined,no-any-return]
