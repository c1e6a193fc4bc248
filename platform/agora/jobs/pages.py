"""What belongs to the jobs of a page and is shown when asked for: one statement of each kind for the whole page."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from sqlalchemy.orm import Session

from agora.jobs import page_queries, views
from agora.jobs.models import JobRow
from agora.jobs.types import Job, ToldJob
from agora.webhooks import service as webhooks

STEPS, DELIVERIES = "steps", "deliveries"
INCLUDES: Final = (STEPS, DELIVERIES)
MOST = 50
"""Jobs of a page that includes what belongs to them."""


def views_of(session: Session, rows: Sequence[JobRow], include: Collection[str], *, team_id: str) -> list[Job]:
    """Jobs as callers get them in a list."""
    jobs = [views.job(row) for row in rows]
    if STEPS in include:
        jobs = _with_steps(session, jobs, team_id=team_id)
    return with_deliveries(session, jobs, team_id=team_id) if DELIVERIES in include else jobs


def _with_steps(session: Session, jobs: Sequence[Job], *, team_id: str) -> list[Job]:
    ids = [job.id for job in jobs]
    if not ids:
        return []
    steps = _by_job(page_queries.find_steps(session, team_id=team_id, job_ids=ids))
    attempts = _by_job(page_queries.find_attempts(session, team_id=team_id, job_ids=ids))
    items = _by_job(page_queries.count_items(session, team_id=team_id, job_ids=ids))
    usage = _by_job(page_queries.list_usage(session, team_id=team_id, job_ids=ids))
    return [
        replace(
            job,
            steps=views.steps_of(steps[job.id], attempts[job.id], items[job.id], usage[job.id]),
            question=next(filter(None, map(views.question, steps[job.id])), None),
        )
        for job in jobs
    ]


def _by_job(rows: Iterable[Any]) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row["job_id"] if isinstance(row, Mapping) else row.job_id].append(row)
    return found


def with_deliveries(session: Session, jobs: Sequence[Job], *, team_id: str) -> list[Job]:
    """Jobs with the newest webhook deliveries about each."""
    told = webhooks.deliveries_of(session, [job.id for job in jobs], team_id=team_id)
    return [
        ToldJob(**{one.name: getattr(job, one.name) for one in fields(job)}, deliveries=told.get(job.id, ()))
        for job in jobs
    ]
