"""SQL of usage: what steps spent, written as they spend it, under their fence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.ids import made_at, month_id
from agora.usage import Spent

ADD = text("""
WITH held AS (
    SELECT id, job_id, team_id, attempt FROM steps
    WHERE id = :step_id AND fence = :fence AND status = 'running'
    FOR KEY SHARE
), noted AS (
    -- The same id again is the same call, sent twice; the same key again is a call that an earlier try has counted.
    INSERT INTO step_usage (step_id, id, team_id, attempt, key, model, tokens_in, tokens_out, cost_usd)
    SELECT id, :usage_id, team_id, attempt, :key, :model, :tokens_in, :tokens_out, CAST(:cost_usd AS numeric)
    FROM held
    ON CONFLICT DO NOTHING
    RETURNING tokens_in, tokens_out, cost_usd
), job AS (
    UPDATE jobs j
    SET usage = j.usage || jsonb_build_object(
        'tokens_in', COALESCE(CAST(j.usage ->> 'tokens_in' AS bigint), 0) + n.tokens_in,
        'tokens_out', COALESCE(CAST(j.usage ->> 'tokens_out' AS bigint), 0) + n.tokens_out,
        'tokens', COALESCE(CAST(j.usage ->> 'tokens' AS bigint), 0) + n.tokens_in + n.tokens_out,
        'cost_usd', CAST(trim_scale(COALESCE(CAST(j.usage ->> 'cost_usd' AS numeric), 0) + n.cost_usd) AS text))
    FROM held, noted n
    WHERE j.id = held.job_id
    RETURNING j.usage
)
SELECT COALESCE((SELECT usage FROM job), (SELECT usage FROM jobs WHERE id = held.job_id)) AS usage FROM held
""")


def add_usage(
    session: Session, *, step_id: str, fence: str, usage_id: str, spent: Spent
) -> Mapping[str, Any] | None:  # fmt: skip
    """Count what a running step spent, on its own row and in its job's sums; returns those, None without the fence.

    A repeat with the same ``usage_id``, or of the same key in any try of the step, counts nothing.
    """
    parameters = {"step_id": step_id, "fence": fence, "usage_id": usage_id, **asdict(spent)}
    found = session.execute(ADD, parameters).mappings().one_or_none()
    return None if found is None else found["usage"]


SPENT = text("""
SELECT s.name, s.iteration, u.attempt, u.model, sum(u.tokens_in)::bigint AS tokens_in,
       sum(u.tokens_out)::bigint AS tokens_out,
       CAST(trim_scale(sum(u.cost_usd)) AS text) AS cost_usd, count(*) AS calls
FROM steps s
JOIN step_usage u ON u.step_id = s.id
WHERE s.job_id = :job_id AND s.team_id = :team_id AND u.attempt > 0  -- 0: counted by the job that this one retries
GROUP BY s.name, s.iteration, u.attempt, u.model
ORDER BY s.name, s.iteration, u.attempt, u.model
LIMIT :limit
""")


def list_usage(session: Session, *, team_id: str, job_id: str, limit: int) -> Sequence[RowMapping]:
    """What a job's steps spent, by step, try and model; a map step together with its items."""
    return session.execute(SPENT, {"team_id": team_id, "job_id": job_id, "limit": limit}).mappings().all()


RUN_SECONDS = text("""
SELECT COALESCE(sum(extract(epoch FROM t.ended_at - t.started_at)), 0) AS seconds
FROM (
    SELECT a.started_at, a.ended_at FROM attempts a
    WHERE a.job_id = :job_id AND a.team_id = :team_id AND a.id >= :since AND a.started_at IS NOT NULL
    UNION ALL
    -- The try that runs, or that succeeded, is on the step's row; those before have rows of their own.
    SELECT s.started_at, COALESCE(s.ended_at, now()) FROM steps s
    WHERE s.job_id = :job_id AND s.team_id = :team_id AND s.status IN ('running', 'succeeded', 'failed', 'cancelled')
      AND NOT EXISTS (
          SELECT FROM attempts a
          WHERE a.job_id = :job_id AND a.id >= :since AND a.step_id = s.id AND a.started_at = s.started_at)
) t
""")


def find_run_seconds(session: Session, *, team_id: str, job_id: str) -> float:
    """How long the steps of a job ran, all tries together, the running ones up to now."""
    parameters = {"job_id": job_id, "team_id": team_id, "since": tries_since(job_id)}
    return float(session.execute(RUN_SECONDS, parameters).scalar_one())


def tries_since(job_id: str) -> str:
    """An id below those of all tries of a job: it keeps old partitions out."""
    return month_id("att", made_at(job_id))


CHILDREN = text("""
WITH RECURSIVE descendants AS (
    SELECT id, usage FROM jobs WHERE parent_id = :job_id AND team_id = :team_id
    UNION ALL
    SELECT j.id, j.usage FROM descendants d JOIN jobs j ON j.parent_id = d.id AND j.team_id = :team_id
)
SELECT count(*) AS jobs,
       COALESCE(sum(CAST(usage ->> 'tokens_in' AS bigint)), 0)::bigint AS tokens_in,
       COALESCE(sum(CAST(usage ->> 'tokens_out' AS bigint)), 0)::bigint AS tokens_out,
       COALESCE(sum(CAST(usage ->> 'tokens' AS bigint)), 0)::bigint AS tokens,
       CAST(trim_scale(COALESCE(sum(CAST(usage ->> 'cost_usd' AS numeric)), 0)) AS text) AS cost_usd
FROM descendants
""")


def sum_children(session: Session, *, team_id: str, job_id: str) -> RowMapping:
    """What the jobs spent that a job spawned, and those that they spawned; how many ``jobs`` they are."""
    return session.execute(CHILDREN, {"team_id": team_id, "job_id": job_id}).mappings().one()
