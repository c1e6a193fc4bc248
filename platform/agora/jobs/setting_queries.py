"""SQL of what people set: limits and queues."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

# A limit that is new begins with full buckets; xmax tells an insert from an update.
PUT = text("""
INSERT INTO limits AS l (scope, team_id, agent, action, max_running, rate, burst, tokens)
VALUES (:scope, :team_id, :agent, :action, :max_running, :rate, :burst, COALESCE(:burst, 0))
ON CONFLICT (scope) DO UPDATE
SET max_running = excluded.max_running,
    tokens = COALESCE(LEAST(
        excluded.burst,
        COALESCE(l.tokens + l.rate * extract(epoch FROM clock_timestamp() - l.counted_at), excluded.burst)
    ), 0),
    rate = excluded.rate, burst = excluded.burst, counted_at = clock_timestamp(), next_at = NULL,
    removed = false, updated_at = now()
RETURNING xmax = 0 AS is_new
""")


def put_limit(session: Session, *, scope: str, team_id: str | None, **columns: Any) -> bool:
    """Set a limit and lock it; True when it is new."""
    parameters = {"scope": scope, "team_id": team_id, **columns}
    if parameters["rate"] is None:
        parameters["burst"] = None
    return bool(session.execute(PUT, parameters).scalar_one())


LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


def lock_limit(session: Session, *, scope: str, team_id: str | None) -> None:
    """Let nobody else set or lift a limit before this transaction has ended, also one that is not there yet."""
    session.execute(LOCK, {"name": f"limit {team_id} {scope}"})


# What is open when a limit is made: queued jobs that nobody was rung for stand in line, the others count as running.
SWEEP = text("""
WITH open AS (
    SELECT s.id, s.job_id, s.team_id, s.place, s.held, s.rung_at, s.status
    FROM (
        SELECT id FROM steps WHERE status = 'running'
        UNION ALL SELECT id FROM steps WHERE status = 'suspended'
        UNION ALL SELECT id FROM steps WHERE status = 'ready' AND rung_at IS NOT NULL
        UNION ALL SELECT id FROM due_steps
        UNION ALL SELECT id FROM steps WHERE status = 'ready' AND held = 'time'
        UNION ALL SELECT id FROM steps WHERE status = 'ready' AND held = 'worker'
        UNION ALL SELECT s.id FROM permits p JOIN steps s ON s.job_id = p.job_id
                  WHERE p.state = 'waiting' AND s.status = 'ready'
    ) any_open
    JOIN steps s ON s.id = any_open.id
    WHERE CAST(:team_id AS text) IS NULL OR s.team_id = :team_id
    ORDER BY s.id
    FOR UPDATE OF s SKIP LOCKED
), concerned AS (
    SELECT DISTINCT ON (j.id) j.id AS job_id, open.id AS step_id, open.team_id, open.place, open.held,
           j.status = 'queued' AND open.status = 'ready' AND open.held IS NULL AND open.rung_at IS NULL AS waits,
           j.status = 'scheduled' OR open.held IN ('concurrency', 'rate') AS idle
    FROM open JOIN jobs j ON j.id = open.job_id
    WHERE (CAST(:agent AS text) IS NULL OR j.agent = :agent) AND (CAST(:action AS text) IS NULL OR j.action = :action)
      AND j.ended_at IS NULL
    ORDER BY j.id, open.id
), held AS (
    UPDATE steps SET held = 'concurrency' WHERE id = ANY(ARRAY(SELECT step_id FROM concerned WHERE waits))
), marked AS (
    UPDATE jobs SET limited = true WHERE id = ANY(ARRAY(SELECT job_id FROM concerned))
)
INSERT INTO permits (scope, job_id, team_id, place, state)
SELECT :scope, job_id, team_id, place, CASE WHEN waits THEN 'waiting' WHEN idle THEN 'idle' ELSE 'held' END
FROM concerned
ON CONFLICT (scope, job_id) DO NOTHING
""")


def sweep(session: Session, *, scope: str, team_id: str | None, agent: str | None, action: str | None) -> None:
    """Take the open jobs that a new limit concerns into account."""
    session.execute(SWEEP, {"scope": scope, "team_id": team_id, "agent": agent, "action": action})


REMOVE = text("""
UPDATE limits SET removed = true, max_running = NULL, rate = NULL, burst = NULL, next_at = NULL, updated_at = now()
WHERE scope = :scope AND team_id IS NOT DISTINCT FROM :team_id AND NOT removed AND key IS NULL
""")


def remove_limit(session: Session, *, scope: str, team_id: str | None) -> None:
    """Lift a limit; its row goes when nobody waits there any more."""
    session.execute(REMOVE, {"scope": scope, "team_id": team_id})


LIST = text("""
SELECT l.scope, l.team_id, l.agent, l.action, l.max_running, l.rate, l.burst, l.updated_at,
       (SELECT count(*) FROM permits p WHERE p.scope = l.scope AND p.state = 'held'
          AND (CAST(:team_id AS text) IS NULL OR p.team_id = :team_id)) AS running,
       (SELECT count(*) FROM permits p WHERE p.scope = l.scope AND p.state = 'waiting'
          AND (CAST(:team_id AS text) IS NULL OR p.team_id = :team_id)) AS waiting
FROM limits l
WHERE l.key IS NULL AND NOT l.removed
  AND (CAST(:team_id AS text) IS NULL OR l.team_id IS NULL OR l.team_id = :team_id)
ORDER BY l.scope
""")


def list_limits(session: Session, *, team_id: str | None) -> Sequence[RowMapping]:
    """Limits that concern a team, with its own jobs that run and wait there; with None all limits and all jobs."""
    return session.execute(LIST, {"team_id": team_id}).mappings().all()


PAUSE = text("""
INSERT INTO queues (name, paused_at, reason) VALUES (:name, now(), :reason)
ON CONFLICT (name) DO UPDATE SET paused_at = COALESCE(queues.paused_at, now()), reason = excluded.reason
""")
UNRING = text("""
UPDATE steps SET rung_at = NULL
WHERE id IN (SELECT id FROM steps WHERE queue = :name AND status = 'ready' AND rung_at IS NOT NULL
             ORDER BY id FOR UPDATE SKIP LOCKED)
""")


def pause_queue(session: Session, *, name: str, reason: str) -> None:
    """Pause a queue; what was rung goes back into the order."""
    session.execute(PAUSE, {"name": name, "reason": reason})
    session.execute(UNRING, {"name": name})


def resume_queue(session: Session, *, name: str) -> None:
    """Let a queue go on; what became due meanwhile is rung anew."""
    session.execute(text("UPDATE queues SET paused_at = NULL, reason = '' WHERE name = :name"), {"name": name})
    session.execute(UNRING, {"name": name})


QUEUES = text("""
SELECT w.queue AS name, q.paused_at, COALESCE(q.reason, '') AS reason,
       (SELECT count(*) FROM due_steps d WHERE d.queue = w.queue) AS due,
       (SELECT count(*) FROM steps s WHERE s.queue = w.queue AND s.status = 'ready' AND s.rung_at IS NOT NULL) AS rung,
       (SELECT count(*) FROM steps s WHERE s.queue = w.queue AND s.status = 'running') AS running,
       held.by_time, held.by_worker, held.by_limit,
       COALESCE(extract(epoch FROM now() - LEAST(
           (SELECT min(s.run_at) FROM due_steps d JOIN steps s ON s.id = d.id WHERE d.queue = w.queue),
           (SELECT min(s.run_at) FROM steps s WHERE s.queue = w.queue AND s.status = 'ready' AND s.rung_at IS NOT NULL)
       )), 0) AS age,
       (SELECT avg(extract(epoch FROM s.ended_at - s.started_at))
        FROM (SELECT job_id, type, data FROM events WHERE id > :since ORDER BY id DESC LIMIT 2000) e
        JOIN steps s ON s.job_id = e.job_id AND s.name = e.data ->> 'step' AND s.item = 0
        WHERE e.type = 'step.succeeded' AND s.queue = w.queue AND s.status = 'succeeded'
          AND s.iteration = CAST(e.data ->> 'iteration' AS int)) AS seconds
FROM unnest(CAST(:names AS text[])) AS w (queue)
LEFT JOIN queues q ON q.name = w.queue
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.held = 'time') AS by_time, count(*) FILTER (WHERE s.held = 'worker') AS by_worker,
           count(*) FILTER (WHERE s.held IN ('concurrency', 'rate')) AS by_limit
    FROM steps s WHERE s.queue = w.queue AND s.status = 'ready' AND s.held IS NOT NULL
) held
""")


def list_queues(session: Session, *, names: Sequence[str], since: str) -> Sequence[RowMapping]:
    """Each queue: paused or not, its steps by where they stand, the age of the oldest due one in seconds.

    ``seconds`` is what a step took on average, of those that succeeded among the last 2,000 events behind the id
    ``since``; None when there were none.
    """
    return session.execute(QUEUES, {"names": list(names), "since": since}).mappings().all()
