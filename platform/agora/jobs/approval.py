"""Somebody approves that a job goes on which is over its budget."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.db.session import Row, transaction
from agora.errors import Conflict
from agora.events.types import job_event
from agora.jobs import budget_queries, budgets, catalogue, queries, service, views
from agora.jobs.announce import Announcement
from agora.jobs.chronicle import record as record_events
from agora.jobs.models import JobRow
from agora.jobs.states import JobState
from agora.jobs.types import Job


def approve_job(
    job_id: str, *, team_id: str, limits: Mapping[str, Any] | None = None, approval: str | None = None
) -> Job:
    """Let a job go on that waits for approval, with new limits or as much again as it had at first.

    ``approval`` is the id of what the job asks for (in ``waits`` and in its event): with it, an approval that is sent
    twice can never approve the next excess. Without it, one that comes when the job goes on already changes nothing.

    Raises:
        NotFound: the team has no such job.
        Conflict: the job asks for no approval, or for another one.
        Invalid: a new limit is not above what the job has used.
    """
    announcement = Announcement(jobs={job_id})
    with transaction() as session:
        row = service.find(session, job_id, team_id=team_id)
        open_steps: Sequence[Row] = ()
        if row.status == JobState.WAITING:  # no other asks, and a step that runs may be locked for as long
            open_steps = queries.lock_open_steps(session, team_id=team_id, job_id=job_id)
        asking = next((step for step in open_steps if _asks(step)), None)
        pending = asking["suspension"]["id"] if asking else None
        if asking is not None and approval in {None, pending}:
            _go_on(session, row, asking, dict(limits or {}), announcement)
            told = {"approval": pending, "budget": dict(limits or {})}
            audit.record(session, "job.approved", job_id, team_id=team_id, after=told)
        elif not _was_approved(row, approval):
            asks = f"asks for approval {pending}" if pending else f"is {row.status} and asks for no approval"
            raise Conflict(f"job {job_id} {asks}", state=row.status)
    announcement.make()
    return service.get_job(job_id, team_id=team_id)


def _asks(step: Row) -> bool:
    return bool(step["status"] == "suspended" and step["suspension"]["kind"] == budgets.APPROVAL)


def _was_approved(row: JobRow, approval: str | None) -> bool:
    approved: list[str] = (row.budget or {}).get("approved", [])
    return approval in approved if approval is not None else bool(approved)


def _go_on(
    session: Session, row: JobRow, step: Row, limits: Mapping[str, Any], announcement: Announcement
) -> None:  # fmt: skip
    known = budget_queries.find_budget(session, team_id=row.team_id, job_id=row.id)
    if known is None or known["budget"] is None:
        raise Conflict(f"job {row.id} has no budget", state=row.status)
    budget = budgets.raised(known["budget"], limits, known["usage"], float(known["run_seconds"]))
    budget["approved"] = [*budget.get("approved", []), step["suspension"]["id"]]
    budget_queries.set_budget(session, team_id=row.team_id, job_id=row.id, budget=budget)
    budget_queries.readmit_step(session, team_id=row.team_id, step_id=step["id"])
    moved = queries.move_job(
        session, team_id=row.team_id, job_id=row.id, target=JobState.RUNNING, sources=[JobState.WAITING], error=None,
        reason=None,
    )  # fmt: skip
    if not moved:
        raise Conflict(f"job {row.id} is no longer waiting", state=row.status)
    spec = catalogue.find(session, row.agent, row.action, row.version).spec
    announcement.queues.add(spec.step(step["name"]).queue)
    shown = {name: budget[name] for name in budgets.LIMITS if name in budget}
    event = job_event("job.resumed", views.ref(row), status=JobState.RUNNING, step=step["name"], budget=shown)
    announcement.deliveries = record_events(session, views.ref(row), [event])
