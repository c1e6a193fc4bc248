"""Write a decision: one guarded statement for step, next step, job, attempt and events; then webhooks' deliveries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.orm import Session

from agora.events.queries import as_json
from agora.events.types import JobRef, NewEvent, job_event, step_event
from agora.ids import new_id
from agora.jobs import step_queries, values
from agora.jobs.announce import Announcement, Claimed
from agora.jobs.chronicle import fan_out
from agora.jobs.decide import Decision, Position, cancelled
from agora.jobs.states import JobState, StepState, may_become
from agora.jobs.step_queries import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The worker would go on in place with a next step of this queue; ``lease`` is seconds."""

    queue: str
    lease: float


class CancelSeen(Exception):
    """The job was asked to cancel, or left the states that the record expects, while its step ran."""


class FenceLost(Exception):
    """Another worker owns the step, or the job has ended: nothing was written."""


def record(
    session: Session,
    decision: Decision,
    *,
    step_id: str,
    fence: str | None,
    job: JobRef,
    at: Position,
    stored: str | None,
    turn: Turn | None = None,
) -> Announcement:
    """Write ``decision`` in the caller's transaction. ``stored`` is the packed result.

    Raises:
        FenceLost: the step is no longer this owner's.
        CancelSeen: the job is to be cancelled instead; roll back.
    """
    events = _events(decision, job, at)
    announcement = Announcement(jobs={job.id})
    parameters = _parameters(decision, step_id=step_id, fence=fence, at=at, stored=stored, events=events)
    parameters = _with_next(parameters, decision, job, announcement, turn)
    row = step_queries.record_step(session, Record(**parameters))  # type: ignore[arg-type]
    if row is None:
        raise FenceLost
    if row["jobs"] == 0:
        raise CancelSeen
    if decision.step_status is StepState.READY and decision.retry_in == 0:
        label = f"{job.agent}.{job.action}.{at.step.name}"
        announcement.ring_step(step_id, job_id=job.id, spec=at.step, label=label)
    if row["subscribed"]:
        announcement.deliveries = fan_out(session, job, events, row["recorded_at"])
    return announcement


def as_cancelled(decision: Decision) -> Decision:
    """The decision to write when CancelSeen was raised."""
    return cancelled(decision)


def _parameters(
    decision: Decision,
    *,
    step_id: str,
    fence: str | None,
    at: Position,
    stored: str | None,
    events: Sequence[NewEvent],
) -> dict[str, object]:
    final = decision.job_status is JobState.SUCCEEDED
    done = decision.step_status is StepState.SUCCEEDED
    return {
        "step_id": step_id,
        "fence": fence,
        "from_status": StepState.SUSPENDED if fence is None else StepState.RUNNING,
        "step_status": decision.step_status,
        "result": stored,
        "error": json.dumps(decision.error.as_json()) if decision.error else None,
        "retry_in": decision.retry_in if decision.step_status is StepState.READY else None,
        "give_back": 0 if decision.burns_attempt else 1,
        "lost": int(decision.lost_lease),
        "suspension": json.dumps(decision.suspension) if decision.suspension else None,
        "wake_at": decision.wake_at,
        # The try that succeeded is on the step's own row: number, worker, start and end.
        "attempt_id": new_id("att") if decision.attempt_outcome and not done else None,
        "attempt_outcome": decision.attempt_outcome,
        "job_from": may_become(decision.job_status) if decision.job_status else [JobState.RUNNING],
        "job_status": decision.job_status,
        "progress": (at.index + 1) / len(at.action.steps) if done else None,
        "output": stored if final else None,
        "events": as_json(events),
        "heed_cancel": decision.job_status is not JobState.CANCELLED,
    }


def _with_next(
    parameters: dict[str, object], decision: Decision, job: JobRef, announcement: Announcement, turn: Turn | None
) -> dict[str, object]:
    following = decision.next_step
    if following is None:
        return parameters
    step_id = new_id("stp")
    label = f"{job.agent}.{job.action}.{following.spec.name}"
    carry = None
    if following.new_carry:
        carry = values.pack(following.carry, team_id=job.team_id, what="the carry")
    fence = uuid4().hex if turn is not None and turn.queue == following.spec.queue else None
    if fence is None:
        announcement.ring_step(step_id, job_id=job.id, spec=following.spec, label=label)
    else:
        announcement.claimed = Claimed(step_id=step_id, fence=fence, following=following)
    return parameters | {
        "next_id": step_id,
        "next_name": following.spec.name,
        "next_position": following.position,
        "next_iteration": following.iteration,
        "next_queue": following.spec.queue,
        "next_label": label,
        "next_attempts": following.spec.attempts,
        "next_carry": carry,
        "next_fence": fence,
        "next_lease": turn.lease if turn is not None and fence is not None else None,
    }


def _events(decision: Decision, job: JobRef, at: Position) -> list[NewEvent]:
    made = []
    error = decision.error.as_json() | {"traceback": None} if decision.error else None
    if error:
        del error["traceback"]
    kinds = {StepState.SUCCEEDED: "step.succeeded", StepState.FAILED: "step.failed"}
    kind = kinds.get(decision.step_status)
    if kind is None and decision.step_status is StepState.READY and error:
        kind = "step.retrying"
    if kind:
        retry_in = round(decision.retry_in, 3) if kind == "step.retrying" else None
        more = {"error": error, "retry_in": retry_in}
        made.append(step_event(kind, job, step=at.step.name, iteration=at.iteration, attempt=at.attempt, **more))
    if decision.job_status is not None:
        made.append(_job_event(decision, job, at, error))
    return made


def _job_event(decision: Decision, job: JobRef, at: Position, error: dict[str, object] | None) -> NewEvent:
    status = decision.job_status
    if status is JobState.WAITING:
        until = decision.wake_at.isoformat() if decision.wake_at else None
        suspension = dict(decision.suspension or {})
        return job_event(
            "job.waiting", job, status=status, step=at.step.name, until=until,
            waits_for=suspension.get("kind"), prompt=suspension.get("prompt"),
        )  # fmt: skip
    kind = "job.resumed" if status is JobState.RUNNING else f"job.{status}"
    return job_event(kind, job, status=str(status), error=error, reason=decision.reason or None)
