"""SQL of budgets: what a job may spend and has spent, its approval, and jobs that did not begin in time."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.jobs.usage_queries import RUN_SECONDS, tries_since

FIND = text(
    """
SELECT j.budget, j.usage, (SELECT seconds FROM ({run_seconds}) ran) AS run_seconds, now() AS at
FROM jobs j
WHERE j.id = :job_id AND j.team_id = :team_id
""".replace("{run_seconds}", RUN_SECONDS.text)
)


def find_budget(session: Session, *, team_id: str, job_id: str) -> RowMapping | None:
    """The budget of a job, its sums of usage, and how long its steps ran, the running ones up to now (``at``)."""
    parameters = {"team_id": team_id, "job_id": job_id, "since": tries_since(job_id)}
    return session.execute(FIND, parameters).mappings().one_or_none()


SET = text("UPDATE jobs SET budget = CAST(:budget AS jsonb) WHERE id = :job_id AND team_id = :team_id")


def set_budget(session: Session, *, team_id: str, job_id: str, budget: Mapping[str, Any]) -> None:
    """Give a job another budget."""
    session.execute(SET, {"team_id": team_id, "job_id": job_id, "budget": json.dumps(budget)})


SUSPEND = text("""
UPDATE steps SET status = 'suspended', suspension = CAST(:suspension AS jsonb), rung_at = NULL
WHERE id = :step_id AND team_id = :team_id AND status = 'ready'
""")


def suspend_step(session: Session, *, team_id: str, step_id: str, suspension: Mapping[str, Any]) -> None:
    """Suspend a step that this transaction made, before anybody can see it."""
    session.execute(SUSPEND, {"team_id": team_id, "step_id": step_id, "suspension": json.dumps(suspension)})


EXPLAIN = text("""
UPDATE jobs SET error = CAST(:error AS jsonb) WHERE id = :job_id AND team_id = :team_id AND status = 'failed'
""")


def explain_failure(session: Session, *, team_id: str, job_id: str, error: Mapping[str, Any]) -> None:
    """Say why a job failed that this transaction failed, when that is not the error of its step."""
    session.execute(EXPLAIN, {"team_id": team_id, "job_id": job_id, "error": json.dumps(error)})


READMIT = text("""
UPDATE steps SET status = 'ready', suspension = NULL, run_at = now(), rung_at = NULL
WHERE id = :step_id AND team_id = :team_id AND status = 'suspended'
""")


def readmit_step(session: Session, *, team_id: str, step_id: str) -> None:
    """An approved step is ready, and takes its place in the order."""
    session.execute(READMIT, {"team_id": team_id, "step_id": step_id})
