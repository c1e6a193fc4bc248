"""SQL of what belongs to the jobs of a page: one statement for all of them, whatever their number."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from agora.ids import made_at, month_id
from agora.jobs.models import AttemptRow, StepRow

MOST_STEPS, MOST_TRIES = 200, 200
"""Of one job."""

STEPS = text("""
SELECT s.* FROM unnest(CAST(:job_ids AS text[])) AS j (id)
CROSS JOIN LATERAL (
    SELECT * FROM steps s WHERE s.job_id = j.id AND s.team_id = :team_id AND s.item = 0
    ORDER BY s.iteration, s.position LIMIT :most
) s
ORDER BY s.job_id, s.iteration, s.position
""")


def find_steps(session: Session, *, team_id: str, job_ids: Sequence[str]) -> Sequence[StepRow]:
    """The first 200 steps of each job in the order in which they came to be, without the items of map steps."""
    parameters = {"team_id": team_id, "job_ids": list(job_ids), "most": MOST_STEPS}
    return session.scalars(select(StepRow).from_statement(STEPS), parameters).all()


ATTEMPTS = text("""
SELECT a.* FROM unnest(CAST(:job_ids AS text[])) AS j (id)
CROSS JOIN LATERAL (
    SELECT * FROM attempts a WHERE a.job_id = j.id AND a.team_id = :team_id AND a.id >= :since
    ORDER BY a.id || '' DESC LIMIT :most  -- in an order that no index has, as queries.find_attempts does
) a
ORDER BY a.id
""")


def find_attempts(session: Session, *, team_id: str, job_ids: Sequence[str]) -> Sequence[AttemptRow]:
    """The newest 200 tries of each job, oldest first. No try is older than the oldest of these jobs."""
    since = month_id("att", made_at(min(job_ids)))
    parameters = {"team_id": team_id, "job_ids": list(job_ids), "most": MOST_TRIES, "since": since}
    return session.scalars(select(AttemptRow).from_statement(ATTEMPTS), parameters).all()


ITEMS = text("""
SELECT job_id, name, iteration, status, count(*) AS n FROM steps
WHERE job_id = ANY(:job_ids) AND team_id = :team_id AND item > 0
GROUP BY job_id, name, iteration, status
""")


def count_items(session: Session, *, team_id: str, job_ids: Sequence[str]) -> Sequence[RowMapping]:
    """How many items of the jobs' map steps stand in each state."""
    return session.execute(ITEMS, {"team_id": team_id, "job_ids": list(job_ids)}).mappings().all()


SPENT = text("""
SELECT s.job_id, s.name, s.iteration, u.attempt, u.model, sum(u.tokens_in)::bigint AS tokens_in,
       sum(u.tokens_out)::bigint AS tokens_out,
       CAST(trim_scale(sum(u.cost_usd)) AS text) AS cost_usd, count(*) AS calls
FROM steps s
JOIN step_usage u ON u.step_id = s.id
WHERE s.job_id = ANY(:job_ids) AND s.team_id = :team_id AND u.attempt > 0  -- 0: counted by the job that this retries
GROUP BY s.job_id, s.name, s.iteration, u.attempt, u.model
ORDER BY s.job_id, s.name, s.iteration, u.attempt, u.model
""")


def list_usage(session: Session, *, team_id: str, job_ids: Sequence[str]) -> Sequence[RowMapping]:
    """What the steps of the jobs spent, by step, try and model."""
    return session.execute(SPENT, {"team_id": team_id, "job_ids": list(job_ids)}).mappings().all()


# Of a row, xmin is the transaction that wrote it last: another one after each change, the same until then.
VERSION = text("""
SELECT CAST(j.xmin AS text) AS written, s.written AS steps,
       j.ended_at IS NOT NULL OR COALESCE(s.running, false) OR NOT COALESCE(s.in_line, false) AS of_rows,
       EXISTS (SELECT FROM jobs c WHERE c.parent_id = j.id) AS has_children
FROM jobs j
CROSS JOIN LATERAL (
    SELECT md5(string_agg(id || ' ' || CAST(xmin AS text), ',' ORDER BY id)) AS written,
           bool_or(item = 0 AND status = 'running') AS running,
           bool_or(item = 0 AND status = 'ready' AND held IS DISTINCT FROM 'time') AS in_line
    FROM steps WHERE job_id = j.id AND team_id = j.team_id
) s
WHERE j.id = :job_id AND j.team_id = :team_id
""")


def find_version(session: Session, *, team_id: str, job_id: str) -> RowMapping | None:
    """When a job and its steps were last written, whether no queue or limit has a say in it, and has it children."""
    return session.execute(VERSION, {"team_id": team_id, "job_id": job_id}).mappings().one_or_none()
