"""SQL of the way in: one statement for jobs, the steps that they begin with, and their first events."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.db.session import Direct, rows

# Bounds are looked up by a SELECT of their own. Postgres takes a plan for good when it costs no more than one for the
# values at hand, and a bound that it knows makes the latter look cheap: it would plan anew at each submit, 0.6 ms.
INSERT_JOBS = text("""
WITH asked AS MATERIALIZED (
    SELECT g.* FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS g (
        n int, job_id text, team_id text, key_id text, scopes text[], key text, route text, fingerprint text,
        agent text, action text, version int, priority int, input text, metadata jsonb, request_id text,
        traceparent text, root_id text, retry_of text, forked_from text, batch_id text, schedule_id text,
        run_at timestamptz, deadline timestamptz, progress float8, step_id text, step text, position int,
        iteration int, carry text, queue text, label text, manned bool, attempts int, event_id text,
        event jsonb, parent_id text, parent_step_id text, child_index int, depth int,
        budget jsonb, queue_timeout float8)
    WHERE :may_fan_out
       OR NOT EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = g.team_id)
          AND NOT EXISTS (SELECT FROM limits l WHERE l.scope = ANY(g.scopes))
          AND NOT EXISTS (SELECT FROM idempotency_keys k
                          WHERE k.team_id = g.team_id AND k.key = g.key AND k.route = g.route)
    LIMIT (SELECT CAST(:count AS int))
), kept AS (
    -- In order, as everywhere: two that wait for each other's keys would wait forever. Only a key that is just being
    -- taken for the first time is waited for: one that is there already is looked into outside, for itself alone.
    INSERT INTO idempotency_keys (team_id, key, route, fingerprint, resource_id, status)
    SELECT team_id, key, route, fingerprint, job_id, 202 FROM asked WHERE key IS NOT NULL
    ORDER BY team_id, key, route, n
    ON CONFLICT DO NOTHING
    RETURNING resource_id
), given AS MATERIALIZED (
    SELECT a.*,
           CASE WHEN a.run_at > now() THEN 'scheduled' ELSE 'queued' END AS status,
           row_number() OVER (PARTITION BY a.queue, COALESCE(a.run_at > now(), false)
                              ORDER BY a.priority DESC, a.n) AS nth
    FROM asked a WHERE a.key IS NULL OR a.job_id IN (SELECT resource_id FROM kept)
), job AS (
    INSERT INTO jobs (id, team_id, key_id, agent, action, version, status, priority, input, metadata, traceparent,
                      root_id, retry_of, forked_from, batch_id, schedule_id, run_at, deadline, progress, event_seq,
                      parent_id, parent_step_id, child_index, depth, budget, start_by, request_id)
    SELECT job_id, team_id, key_id, agent, action, version, status, priority, CAST(input AS jsonb), metadata,
           traceparent, COALESCE(root_id, job_id), retry_of, forked_from, batch_id, schedule_id,
           COALESCE(run_at, now()), deadline, COALESCE(progress, 0), 1,
           parent_id, parent_step_id, child_index, COALESCE(depth, 0), budget,
           COALESCE(run_at, now()) + make_interval(secs => queue_timeout), request_id
    FROM given
), room AS MATERIALIZED (
    -- Each queue's window: beyond it nobody rings, and the rows wait in Postgres' order. Nobody jumps a line either.
    SELECT q.queue,
           CAST(:window AS int) - (SELECT count(*) FROM (SELECT FROM steps s
                                            WHERE s.queue = q.queue AND s.status = 'ready' AND s.rung_at IS NOT NULL
                                            LIMIT (SELECT CAST(:window AS int))) rung) AS free
    FROM (SELECT DISTINCT queue FROM given) q
    WHERE NOT EXISTS (SELECT FROM due_steps d WHERE d.queue = q.queue)
      AND NOT EXISTS (SELECT FROM paused_queues p WHERE p.name = q.queue)
), step AS (
    INSERT INTO steps (id, job_id, team_id, name, position, iteration, status, queue, priority, label, max_attempts,
                       carry, run_at, held, rung_at)
    SELECT g.step_id, g.job_id, g.team_id, g.step, g.position, g.iteration, 'ready', g.queue, g.priority, g.label,
           g.attempts, CAST(g.carry AS jsonb), COALESCE(g.run_at, now()),
           CASE WHEN g.status = 'scheduled' THEN 'time' END,
           CASE WHEN g.status = 'queued' AND g.manned AND g.nth <= room.free THEN now() END
    FROM given g LEFT JOIN room ON room.queue = g.queue
    RETURNING id, rung_at
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT event_id, team_id, job_id, 1, 'job.created', event FROM given
)
SELECT ARRAY(SELECT job_id FROM given) AS inserted, ARRAY(SELECT id FROM step WHERE rung_at IS NOT NULL) AS rung,
       now() AS created_at,
       EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = ANY(ARRAY(SELECT team_id FROM given))) AS subscribed
""")


def insert_jobs(
    session: Session | Direct, *, jobs: str, count: int, window: int, may_fan_out: bool
) -> Mapping[str, Any]:
    """Insert ``count`` jobs, given as a JSON list, each with the step that it begins with and its first event.

    Without ``may_fan_out``, those whose team has webhook endpoints or that a limit concerns are not inserted: that
    takes a transaction. Nor are those whose idempotency ``key`` is taken already. Returns the ids of the jobs
    ``inserted`` and of the steps to ``rung``, ``created_at``, and whether one of the teams has webhook endpoints
    (``subscribed``): then the caller goes on to make the deliveries.
    """
    parameters = {"jobs": jobs, "count": count, "window": window, "may_fan_out": may_fan_out}
    (found,) = rows(session, INSERT_JOBS, parameters)
    return found


PLAN_INSERT = text(f"EXPLAIN {INSERT_JOBS.text}")


def plan_insert(session: Direct) -> None:
    """Let a fresh session learn of the tables that a submit is about; inserts nothing."""
    session.rows(PLAN_INSERT, {"jobs": "[]", "count": 0, "window": 0, "may_fan_out": False})
