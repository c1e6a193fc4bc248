"""SQL of unique and debounced jobs."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

TAKE = text("""
INSERT INTO unique_keys AS u (team_id, agent, action, kind, key, job_id)
VALUES (:team_id, :agent, :action, :kind, :key, :job_id)
ON CONFLICT (team_id, agent, action, kind, key) DO UPDATE SET kind = u.kind
RETURNING job_id
""")


def take_key(session: Session, *, team_id: str, agent: str, action: str, kind: str, key: str, job_id: str) -> str:
    """Lock a key, made for ``job_id`` when there is none; the id of the job that it stands for."""
    parameters = {"team_id": team_id, "agent": agent, "action": action, "kind": kind, "key": key, "job_id": job_id}
    return str(session.execute(TAKE, parameters).scalar_one())


POINT = text("""
UPDATE unique_keys SET job_id = :job_id, taken_at = now()
WHERE team_id = :team_id AND agent = :agent AND action = :action AND kind = :kind AND key = :key
""")


def point_key(session: Session, *, team_id: str, agent: str, action: str, kind: str, key: str, job_id: str) -> None:
    """Let a key that this transaction has locked stand for another job."""
    parameters = {"team_id": team_id, "agent": agent, "action": action, "kind": kind, "key": key, "job_id": job_id}
    session.execute(POINT, parameters)


COUNTS = text("""
SELECT EXISTS (
    SELECT FROM jobs
    WHERE id = :job_id AND team_id = :team_id AND cancel_requested_at IS NULL
      AND (status = ANY(:states)
           OR status <> 'cancelled' AND created_at > now() - make_interval(secs => CAST(:window AS float8)))
)
""")


def counts(session: Session, *, team_id: str, job_id: str, states: Sequence[str], window: float | None) -> bool:
    """Whether a job is in one of these states, or was made within ``window`` seconds and not cancelled."""
    parameters = {"job_id": job_id, "team_id": team_id, "states": list(states), "window": window}
    return bool(session.execute(COUNTS, parameters).scalar_one())


WAITING = text("""
SELECT j.version, j.metadata FROM steps s JOIN jobs j ON j.id = s.job_id
WHERE s.job_id = :job_id AND s.team_id = :team_id AND s.status = 'ready' AND s.held = 'time'
  AND j.status = 'scheduled' AND j.cancel_requested_at IS NULL
FOR UPDATE OF s
""")


def hold_waiting(session: Session, *, team_id: str, job_id: str) -> RowMapping | None:
    """Lock the step of a job that waits for its time; None when it waits no more."""
    return session.execute(WAITING, {"job_id": job_id, "team_id": team_id}).mappings().one_or_none()


PUSH = text("""
WITH replaced AS (
    -- The content of a large input that this row refers to no longer: retention sees whether another does.
    INSERT INTO leftovers (location, team_id)
    SELECT input ->> 'ref', team_id FROM jobs
    WHERE id = :job_id AND team_id = :team_id AND input ? 'ref'
      AND input ->> 'ref' IS DISTINCT FROM CAST(:input AS jsonb) ->> 'ref'
    ON CONFLICT DO NOTHING
), job AS (
    UPDATE jobs
    SET input = CAST(:input AS jsonb), metadata = CAST(:metadata AS jsonb), priority = :priority,
        deadline = COALESCE(CAST(:deadline AS timestamptz), deadline),
        run_at = due.at, start_by = start_by + (due.at - run_at)
    FROM (
        SELECT LEAST(now() + make_interval(secs => :window), created_at + make_interval(secs => :max_wait)) AS at
        FROM jobs WHERE id = :job_id
    ) due
    WHERE id = :job_id AND team_id = :team_id
    RETURNING id, run_at
), step AS (
    UPDATE steps s SET run_at = job.run_at, priority = :priority
    FROM job WHERE s.job_id = job.id AND s.status = 'ready'
    RETURNING s.job_id, s.place
), line AS (
    UPDATE permits p SET place = step.place FROM step WHERE p.job_id = step.job_id
)
SELECT run_at FROM job
""")


def push_job(
    session: Session, *, team_id: str, job_id: str, window: float, max_wait: float, input: str, metadata: str,
    priority: int, deadline: datetime | None,
) -> datetime:  # fmt: skip
    """Give a job that waits for its time another input, and more time; when it is due now."""
    parameters = {
        "job_id": job_id, "team_id": team_id, "window": window, "max_wait": max_wait, "input": input,
        "metadata": metadata, "priority": priority, "deadline": deadline,
    }  # fmt: skip
    due: datetime = session.execute(PUSH, parameters).scalar_one()
    return due


FORGET = text("""
DELETE FROM unique_keys u
WHERE (team_id, agent, action, kind, key) IN (
    SELECT team_id, agent, action, kind, key FROM unique_keys
    WHERE taken_at < now() - interval '24 hours'
      AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = unique_keys.job_id AND j.ended_at IS NULL)
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
""")


def forget_unique(session: Session, *, limit: int) -> int:
    """Delete up to ``limit`` keys that were taken a day ago and whose job has ended, of all teams."""
    return session.execute(FORGET, {"limit": limit}).rowcount  # type: ignore[attr-defined,no-any-return]
