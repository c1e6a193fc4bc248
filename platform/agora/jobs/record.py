"""Write decisions: one guarded statement for steps, next steps, jobs, attempts and events; then the deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from agora.db.session import Direct
from agora.events.types import JobRef, NewEvent, job_event, step_event
from agora.ids import new_id
from agora.jobs import budget_queries
from agora.jobs.announce import Announcement, Claimed
from agora.jobs.chronicle import fan_out
from agora.jobs.decide import Decision, NextStep, Position
from agora.jobs.item_queries import ItemRecord, record_items
from agora.jobs.record_queries import Record, record_steps
from agora.jobs.states import JOB_ENDED, JobState, StepState, may_become


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """How a try of a step is to be recorded. ``stored`` is the packed result.

    ``lease`` is set when the worker would go on in place with the step that follows: its seconds.
    """

    step_id: str
    fence: str | None
    job: JobRef
    at: Position
    decision: Decision
    stored: str | None = None
    lease: float | None = None


class CancelSeen(Exception):
    """The job was asked to cancel, or left the states that the record expects, while its step ran."""


class FenceLost(Exception):
    """Another worker owns the step, or the job has ended: nothing was written."""


class MayFanOut(Exception):
    """Somebody subscribed to the team's events meanwhile: nothing was written; record in a transaction."""


Recorded = Announcement | CancelSeen | FenceLost | MayFanOut


def record(session: Session, attempt: Try) -> Announcement:
    """Write one try in the caller's transaction.

    Raises:
        FenceLost: the step is no longer this owner's.
        CancelSeen: the job is to be cancelled instead.
    """
    (recorded,) = record_all(session, [attempt], may_fan_out=True)
    if isinstance(recorded, Exception):
        raise recorded
    return recorded


def record_all(session: Session | Direct, tries: Sequence[Try], *, may_fan_out: bool) -> list[Recorded]:
    """Write tries of different jobs; for each, what to announce after the commit, or why it was not written.

    Without ``may_fan_out`` this is a single statement, and tries of teams with webhook endpoints are not written.
    """
    found = _record_items(session, [attempt for attempt in tries if attempt.at.item])
    steps = [attempt for attempt in tries if not attempt.at.item]
    prepared = [_prepare(attempt) for attempt in steps]
    rows = record_steps(session, [record for record, _, _ in prepared], may_fan_out=may_fan_out) if steps else {}
    for attempt, (made, announcement, events) in zip(steps, prepared, strict=True):
        row = rows.get(attempt.step_id)
        found[attempt.step_id] = _recorded(session, attempt, row, announcement, events, may_fan_out=may_fan_out)
        if isinstance(found[attempt.step_id], Announcement):
            _halt(session, attempt, made)
    return [found[attempt.step_id] for attempt in tries]


def _record_items(session: Session | Direct, tries: Sequence[Try]) -> dict[str, Recorded]:
    """Write how items of map steps ended. Their job's row and its events are left alone, whatever they come to."""
    if not tries:
        return {}
    written = record_items(session, [_prepare_item(attempt) for attempt in tries])
    return {one.step_id: _announce_item(one) if one.step_id in written else FenceLost() for one in tries}


def _prepare_item(attempt: Try) -> ItemRecord:
    decision = attempt.decision
    done = decision.step_status is StepState.SUCCEEDED
    return ItemRecord(
        step_id=attempt.step_id,
        fence=attempt.fence,
        step_status=decision.step_status,
        result=attempt.stored,
        error=decision.error.as_json() if decision.error else None,
        retry_in=decision.retry_in if decision.step_status is StepState.READY else None,
        give_back=0 if decision.burns_attempt else 1,
        lost=int(decision.lost_lease),
        attempt_id=new_id("att") if decision.attempt_outcome and not done else None,
        attempt_outcome=decision.attempt_outcome,
    )


def _announce_item(attempt: Try) -> Announcement:
    announcement = Announcement()
    if attempt.decision.step_status is StepState.READY and attempt.decision.retry_in == 0:
        step = attempt.at.step
        announcement.ring_step(attempt.step_id, job_id=attempt.job.id, spec=step, label=_label(attempt, step.name))
    return announcement


def _recorded(
    session: Session | Direct,
    attempt: Try,
    row: Mapping[str, Any] | None,
    announcement: Announcement,
    events: Sequence[NewEvent],
    *,
    may_fan_out: bool,
) -> Recorded:
    if row is None:
        return FenceLost()
    if not row["fits"]:
        return CancelSeen()
    if row["subscribed"]:
        if not may_fan_out or isinstance(session, Direct):
            return MayFanOut()
        announcement.deliveries = fan_out(session, attempt.job, events, row["recorded_at"])
    if not row["onward"]:
        announcement.claimed = None  # the queue was paused meanwhile: the step that follows waits
    return announcement


def _halt(session: Session | Direct, attempt: Try, made: Record) -> None:
    """What a job that is over its budget needs besides its record; rare, so that the record need not carry it."""
    suspension = attempt.decision.next_step.suspension if attempt.decision.next_step else None
    error = attempt.decision.job_error
    scope = {"team_id": attempt.job.team_id}
    if suspension is not None and made.next_id is not None:
        budget_queries.suspend_step(_whole(session), step_id=made.next_id, suspension=suspension, **scope)
    if error is not None:
        budget_queries.explain_failure(_whole(session), job_id=attempt.job.id, error=error.as_json(), **scope)


def _whole(session: Session | Direct) -> Session:
    if isinstance(session, Direct):
        raise TypeError("a job that is over its budget is recorded in a transaction")
    return session


def _prepare(attempt: Try) -> tuple[Record, Announcement, list[NewEvent]]:
    decision, at = attempt.decision, attempt.at
    events = events_of(decision, attempt.job, at)
    announcement = Announcement(jobs={attempt.job.id})
    if attempt.job.limited and decision.job_status in JOB_ENDED:
        announcement.ended.add(attempt.job.id)
    if decision.step_status is StepState.READY and decision.retry_in == 0:
        announcement.ring_step(
            attempt.step_id, job_id=attempt.job.id, spec=at.step, label=_label(attempt, at.step.name)
        )
    final = decision.job_status is JobState.SUCCEEDED
    done = decision.step_status is StepState.SUCCEEDED
    following = {} if decision.next_step is None else _following(attempt, decision.next_step, announcement)
    made = Record(
        step_id=attempt.step_id,
        fence=attempt.fence,
        from_status=StepState.SUSPENDED if attempt.fence is None else StepState.RUNNING,
        step_status=decision.step_status,
        result=attempt.stored,
        is_output=final,
        error=decision.error.as_json() if decision.error else None,
        retry_in=decision.retry_in if decision.step_status is StepState.READY else None,
        give_back=0 if decision.burns_attempt else 1,
        lost=int(decision.lost_lease),
        suspension=decision.suspension or None,
        wake_at=decision.wake_at,
        # The try that succeeded is on the step's own row: number, worker, start and end.
        attempt_id=new_id("att") if decision.attempt_outcome and not done else None,
        attempt_outcome=decision.attempt_outcome,
        job_from=may_become(decision.job_status) if decision.job_status else [JobState.RUNNING],
        job_status=decision.job_status,
        progress=(at.index + 1) / len(at.action.steps) if done else None,
        events=[{"id": event.id, "type": event.type, "data": event.data} for event in events],
        heed_cancel=decision.job_status is not JobState.CANCELLED,
        **following,
    )
    return made, announcement, events


def _label(attempt: Try, step: str) -> str:
    return f"{attempt.job.agent}.{attempt.job.action}.{step}"


def _following(attempt: Try, following: NextStep, announcement: Announcement) -> dict[str, Any]:
    step_id, label = new_id("stp"), _label(attempt, following.spec.name)
    fence = uuid4().hex if attempt.lease is not None else None
    if following.suspension is not None:
        fence = None
    elif fence is None:
        announcement.ring_step(step_id, job_id=attempt.job.id, spec=following.spec, label=label)
    else:
        announcement.claimed = Claimed(step_id=step_id, fence=fence, following=following)
    return {
        "next_id": step_id,
        "next_name": following.spec.name,
        "next_position": following.position,
        "next_iteration": following.iteration,
        "next_queue": following.spec.queue,
        "next_label": label,
        "next_attempts": following.spec.attempts,
        "next_carry": following.stored_carry,
        "next_fence": fence,
        "next_lease": attempt.lease,
    }


def events_of(decision: Decision, job: JobRef, at: Position) -> list[NewEvent]:
    """The events that a decision makes true, in order."""
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
        failure = decision.job_error
        made.append(_job_event(decision, job, at, failure.as_json() if failure else error))
    return made


def _job_event(decision: Decision, job: JobRef, at: Position, error: dict[str, object] | None) -> NewEvent:
    status = decision.job_status
    if status is JobState.WAITING:
        until = decision.wake_at.isoformat() if decision.wake_at else None
        following = decision.next_step
        suspended = following.suspension if following else decision.suspension
        suspension = dict(suspended or {})
        return job_event(
            "job.waiting", job, status=status, step=following.spec.name if following else at.step.name, until=until,
            waits_for=suspension.get("kind"), prompt=suspension.get("prompt"), approval=suspension.get("id"),
            budget=suspension.get("budget"),
        )  # fmt: skip
    kind = "job.resumed" if status is JobState.RUNNING else f"job.{status}"
    return job_event(kind, job, status=str(status), error=error, reason=decision.reason or None)
