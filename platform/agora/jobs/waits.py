"""Why a job does not go on: one reason, since when, and what it would take. At a bounded cost.

- ``queue``: it is due; workers are busy, or about to take it. ``ahead`` counts what stands before it.
- ``concurrency``, ``rate``: ``limit`` says which one stops it; for a rate, the next job may start at ``until``.
- ``paused``: its queue is paused; ``detail`` says why.
- ``no-worker``: no living worker runs its ``version``.
- ``scheduled``, ``retry``: its time is ``until``.
- ``approval``: it is over its ``budget``; ``approval`` is the id to give to approve.
- ``input``, ``snooze``, ``items``, ``children``: a step waits for that; a time-out is ``until``.

``ahead`` counts what is of the same team and stands before it, up to 1,000; ``more`` says that there is more.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.jobs import manned, wait_queries
from agora.jobs.budgets import APPROVAL
from agora.jobs.models import JobRow, StepRow
from agora.jobs.states import JobState, StepState

BOUND = 1_000
HOLDERS = 10

Waits = Mapping[str, Any]


def waits_of(session: Session, row: JobRow, steps: Sequence[StepRow]) -> Waits | None:
    """Why a job waits; None when one of its steps runs, or it has ended."""
    if row.ended_at is not None or any(step.status == StepState.RUNNING for step in steps):
        return None
    ready = next((step for step in steps if step.status == StepState.READY), None)
    if ready is not None:
        return _ready(session, row, ready)
    suspended = next((step for step in steps if step.status == StepState.SUSPENDED), None)
    return None if suspended is None else _suspended(suspended)


def _waits(reason: str, step: StepRow, since: datetime | None = None, **more: Any) -> Waits:
    said = {name: value for name, value in more.items() if value is not None}
    return {"reason": reason, "since": since or step.run_at, "step": step.name, "queue": step.queue, **said}


def _suspended(step: StepRow) -> Waits:
    suspension = step.suspension or {}
    kind = suspension.get("kind", "")
    if kind == APPROVAL:
        return {
            "reason": APPROVAL, "since": datetime.fromisoformat(suspension["since"]), "step": step.name,
            "approval": suspension["id"], "budget": suspension["budget"],
        }  # fmt: skip
    return _waits(kind, step, step.started_at or step.created_at, until=step.wake_at)


def _ready(session: Session, row: JobRow, step: StepRow) -> Waits:
    if step.held == "time":
        reason = "scheduled" if row.status == JobState.SCHEDULED else "retry"
        return _waits(reason, step, step.started_at or step.created_at, until=step.run_at)
    if step.held in {"concurrency", "rate"}:
        return _stopped(session, row, step, step.held)
    if f"{row.agent}.{row.action}@{row.version}" not in manned.labels(step.queue, session):
        return _waits("no-worker", step, version=row.version)
    pause = wait_queries.find_pause(session, team_id=row.team_id, queue=step.queue)
    if pause is not None:
        return _waits("paused", step, max(pause["paused_at"], step.run_at), detail=pause["reason"])
    ahead = 0
    if step.rung_at is None:
        ahead = wait_queries.count_ahead(
            session, team_id=row.team_id, queue=step.queue, place=step.place, step_id=step.id, bound=BOUND + 1
        )
    return _waits("queue", step, **_counted(ahead))


def _counted(ahead: int) -> Mapping[str, Any]:
    return {"ahead": min(ahead, BOUND), "more": ahead > BOUND}


def _stopped(session: Session, row: JobRow, step: StepRow, reason: str) -> Waits:
    found = wait_queries.find_stop(session, team_id=row.team_id, job_id=row.id, bound=BOUND + 1)
    if found is None:  # it is let in just now
        return _waits(reason, step)
    target = ".".join(part for part in (found["agent"], found["action"]) if part) or "*"
    limit = {
        "target": None if found["key"] else target, "key": found["key"],
        "owner": "team" if found["owner"] else "operator", "max_running": found["max_running"],
        "rate": found["rate"], "running": found["running"],
        "holders": wait_queries.list_holders(session, team_id=row.team_id, scope=found["scope"], most=HOLDERS),
    }  # fmt: skip
    until = found["next_at"] if reason == "rate" else None
    return _waits(reason, step, found["since"], limit=limit, until=until, **_counted(found["ahead"]))
