"""A suspended step gets its result: somebody's answer, a time that has come, a time-out. Needs no agent code."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jsonschema_rs
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from agora.clock import now
from agora.db.session import Row, transaction
from agora.errors import Conflict, invalid_field
from agora.events.types import job_event, step_event
from agora.jobs import catalogue, queries, step_queries, values, views
from agora.jobs.announce import Announcement
from agora.jobs.budgets import heed
from agora.jobs.catalogue import compile_schema, raise_faults
from agora.jobs.chronicle import record as record_events
from agora.jobs.decide import Failure, Position, advance
from agora.jobs.models import JobRow
from agora.jobs.record import CancelSeen, FenceLost, Try, record
from agora.jobs.states import JobState, may_become
from agora.outcomes import Answer, Permanent, TimedOut

RESULTS = TypeAdapter[Answer | TimedOut](Answer | TimedOut)
NO_SCHEMA = (ValueError, jsonschema_rs.ReferencingError)
"""What compiling says of something that is no JSON Schema, or that refers to one that is not in it."""


class AlreadyAnswered(Conflict):
    """The question has another answer already, or its time has passed."""

    slug = "already-answered"


def check_suspension(suspension: Mapping[str, Any] | None) -> None:
    """Raise Permanent, as the step's failure, when it asks a question that nobody could answer."""
    if suspension is None or suspension["kind"] != "input":
        return
    try:
        compile_schema(suspension["schema"])
    except NO_SCHEMA as error:
        message = f"the schema of the question cannot be used: {_reason(error)}"
        raise Permanent(message, code="invalid-schema") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error))


def resume_with_answer(session: Session, row: JobRow, value: Any, *, question: str | None) -> Announcement | None:
    """Give a job's question its answer; None when it has this very answer already.

    ``question`` names the question (its step's id), so that an answer that is sent twice, or late, never goes to the
    next one.

    Raises:
        Conflict: the job asks nothing now, or what nobody can answer.
        AlreadyAnswered: the question has another answer, or timed out.
        Invalid: the answer does not satisfy the question's schema.
    """
    steps: Sequence[Row] = ()
    if row.status == JobState.WAITING:  # no other asks, and a step that runs may be locked for as long as it does
        steps = queries.lock_open_steps(session, team_id=row.team_id, job_id=row.id)
    asking = [step for step in steps if step["status"] == "suspended" and step["suspension"]["kind"] == "input"]
    if question is not None and question not in [step["id"] for step in asking]:
        _check_repeated(session, row, value, question=question)
        return None
    if not asking:
        raise Conflict(f"job {row.id} is {row.status} and asks nothing now", state=row.status)
    step = asking[0]
    try:
        validator = compile_schema(step["suspension"]["schema"])
    except NO_SCHEMA as error:
        message = f"job {row.id} asks what nobody can answer, its question's schema cannot be used: {_reason(error)}"
        raise Conflict(message, state=row.status) from error
    raise_faults(validator, value, "/value")
    return resume(session, row, step, Answer(value=value, answered_at=now()))


def _check_repeated(session: Session, row: JobRow, value: Any, *, question: str) -> None:
    step = queries.find_step(session, team_id=row.team_id, job_id=row.id, step_id=question)
    if step is None or (step.suspension or {}).get("kind") not in {None, "input"}:
        raise invalid_field("/question", "exists", f"job {row.id} asks no question {question}", question)
    given = values.unpack(step.result)
    if not isinstance(given, dict) or given.get("kind") != "answer" or given.get("value") != value:
        raise AlreadyAnswered(f"question {question} of job {row.id} is no longer open", state=row.status)


def resume_by_time(session: Session, row: JobRow, step: Row, moment: datetime) -> Announcement:
    """A suspended step's time has come: a nap is over (null), or a question was not answered in time (TimedOut)."""
    result = TimedOut(at=moment) if step["suspension"]["kind"] == "input" else None
    return resume(session, row, step, result)


def resume(session: Session, row: JobRow, step: Row, result: Answer | TimedOut | None) -> Announcement:
    """Record the answer, or the passed time, of a suspended step."""
    value = None if result is None else RESULTS.dump_python(result, mode="json")
    return resume_with(session, row, step, value)


def resume_with(
    session: Session, row: JobRow, step: Row, value: Any, *, state: JobState = JobState.WAITING
) -> Announcement:
    """Record the result of a suspended step; the next one becomes ready, or the job has succeeded.

    ``state`` is the state in which its job has been meanwhile.

    Raises:
        Conflict: the job is in another state.
        TooLarge: the value cannot be stored.
    """
    spec = catalogue.find(session, row.agent, row.action, row.version).spec
    at = Position(action=spec, step=spec.step(step["name"]), iteration=step["iteration"])
    stored = values.pack(value, team_id=row.team_id, what="the answer")
    try:
        decision = advance(value, at, resumed=state)
        attempt = Try(step_id=step["id"], fence=None, job=views.ref(row), at=at, decision=decision, stored=stored)
        return record(session, attempt if row.budget is None else heed(session, attempt))
    except (CancelSeen, FenceLost):
        raise Conflict(f"job {row.id} is no longer {state}", state=row.status) from None


def fail_job(row: JobRow, step: Row, failure: Failure) -> bool:
    """A suspended step fails, and its job with it: too much of what it waited for has failed."""
    error = failure.as_json()
    with transaction() as session:
        locked = queries.lock_open_steps(session, team_id=row.team_id, job_id=row.id)
        if step["id"] not in [one["id"] for one in locked]:
            return False
        step_queries.fail_suspended(session, step_id=step["id"], error=json.dumps(error))
        queries.end_open_steps(session, team_id=row.team_id, job_id=row.id)
        moved = queries.move_job(
            session, team_id=row.team_id, job_id=row.id, target=JobState.FAILED, sources=may_become(JobState.FAILED),
            error=json.dumps(error), reason=None,
        )  # fmt: skip
        if not moved:
            session.rollback()
            return False
        job = views.ref(row)
        events = [
            step_event("step.failed", job, step=step["name"], iteration=step["iteration"], attempt=1, error=error),
            job_event("job.failed", job, status=JobState.FAILED, error=error),
        ]
        ended = {row.id} if row.limited else set()
        announcement = Announcement(jobs={row.id}, ended=ended, deliveries=record_events(session, job, events))
    announcement.make()
    return True
