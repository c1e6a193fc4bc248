"""SQL of jobs that come in many at once, or not from the beginning: one statement for jobs, first steps and events."""

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

INSERT_JOBS = text("""
WITH given AS MATERIALIZED (
    SELECT g.*,
           CASE WHEN g.run_at > now() THEN 'scheduled' ELSE 'queued' END AS status,
           row_number() OVER (PARTITION BY g.queue, g.run_at > now() ORDER BY g.priority DESC, g.n) AS nth
    FROM jsonb_to_recordset(CAST(:jobs AS jsonb)) AS g (
        n int, job_id text, agent text, action text, version int, priority int, input text, metadata jsonb,
        traceparent text, root_id text, retry_of text, forked_from text, batch_id text, schedule_id text,
        run_at timestamptz, deadline timestamptz, progress float8, step_id text, step text, position int,
        iteration int, carry text, queue text, label text, manned bool, attempts int, event_id text,
        event jsonb, parent_id text, parent_step_id text, child_index int, depth int,
        budget jsonb, queue_timeout float8)
    LIMIT :count
), job AS (
    INSERT INTO jobs (id, team_id, key_id, agent, action, version, status, priority, input, metadata, traceparent,
                      root_id, retry_of, forked_from, batch_id, schedule_id, run_at, deadline, progress, event_seq,
                      parent_id, parent_step_id, child_index, depth, budget, start_by)
    SELECT job_id, :team_id, :key_id, agent, action, version, status, priority, CAST(input AS jsonb), metadata,
           traceparent, COALESCE(root_id, job_id), retry_of, forked_from, batch_id, schedule_id,
           COALESCE(run_at, now()), deadline, COALESCE(progress, 0), 1,
           parent_id, parent_step_id, child_index, COALESCE(depth, 0), budget,
           COALESCE(run_at, now()) + make_interval(secs => queue_timeout)
    FROM given
), room AS MATERIALIZED (
    -- Each queue's window: beyond it nobody rings, and the rows wait in Postgres' order. Nobody jumps a line either.
    SELECT q.queue,
           :window - (SELECT count(*) FROM (SELECT FROM steps s
                                            WHERE s.queue = q.queue AND s.status = 'ready' AND s.rung_at IS NOT NULL
                                            LIMIT :window) rung) AS free
    FROM (SELECT DISTINCT queue FROM given) q
    WHERE NOT EXISTS (SELECT FROM due_steps d WHERE d.queue = q.queue)
      AND NOT EXISTS (SELECT FROM paused_queues p WHERE p.name = q.queue)
), step AS (
    INSERT INTO steps (id, job_id, team_id, name, position, iteration, status, queue, priority, label, max_attempts,
                       carry, run_at, held, rung_at)
    SELECT g.step_id, g.job_id, :team_id, g.step, g.position, g.iteration, 'ready', g.queue, g.priority, g.label,
           g.attempts, CAST(g.carry AS jsonb), COALESCE(g.run_at, now()),
           CASE WHEN g.status = 'scheduled' THEN 'time' END,
           CASE WHEN g.status = 'queued' AND g.manned AND g.nth <= room.free THEN now() END
    FROM given g LEFT JOIN room ON room.queue = g.queue
    RETURNING id, rung_at
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT event_id, :team_id, job_id, 1, 'job.created', event FROM given
)
SELECT ARRAY(SELECT id FROM step WHERE rung_at IS NOT NULL) AS rung, now() AS created_at,
       EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = :team_id) AS subscribed
""")


def insert_jobs(
    session: Session, *, team_id: str, key_id: str | None, jobs: str, count: int, window: int
) -> RowMapping:
    """Insert ``count`` jobs, given as a JSON list, each with the step that it begins with and its first event.

    Returns the ids of the steps to ``rung``, ``created_at``, and whether the team has webhook endpoints
    (``subscribed``): then the caller goes on to make the deliveries.
    """
    parameters = {"team_id": team_id, "key_id": key_id, "jobs": jobs, "count": count, "window": window}
    return session.execute(INSERT_JOBS, parameters).mappings().one()
