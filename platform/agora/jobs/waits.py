"""Why a job does not go on: one reason, since when, and what it would take."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.jobs import manned
from agora.jobs.budgets import APPROVAL
from agora.jobs.models import JobRow, StepRow
from agora.jobs.states import StepState


def waits_of(session: Session, row: JobRow, steps: Sequence[StepRow]) -> Mapping[str, Any] | None:
    """Why a job waits; None when one of its steps runs, or it has ended, or is just about to run."""
    if row.ended_at is not None or any(step.status == StepState.RUNNING for step in steps):
        return None
    for step in steps:
        if step.status == StepState.SUSPENDED and (found := _suspended(step)):
            return found
    for step in steps:
        if step.status == StepState.READY and (found := _unmanned(session, row, step)):
            return found
    return None


def _suspended(step: StepRow) -> Mapping[str, Any] | None:
    suspension = step.suspension or {}
    if suspension.get("kind") != APPROVAL:
        return None
    return {
        "reason": APPROVAL, "since": datetime.fromisoformat(suspension["since"]), "step": step.name,
        "approval": suspension["id"], "budget": suspension["budget"],
    }  # fmt: skip


def _unmanned(session: Session, row: JobRow, step: StepRow) -> Mapping[str, Any] | None:
    label = f"{row.agent}.{row.action}@{row.version}"
    if label in manned.labels(step.queue, session):
        return None
    return {"reason": "no-worker", "since": step.run_at, "step": step.name, "queue": step.queue, "version": row.version}
