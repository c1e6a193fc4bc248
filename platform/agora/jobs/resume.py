"""A suspended step gets its result: somebody's answer, a time that has come, a time-out. Needs no agent code."""

from datetime import datetime
from typing import Any

import jsonschema_rs
from pydantic import TypeAdapter
from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.clock import now
from agora.errors import Conflict
from agora.jobs import catalogue, queries, values, views
from agora.jobs.announce import Announcement
from agora.jobs.catalogue import raise_faults
from agora.jobs.decide import Position, advance
from agora.jobs.models import JobRow
from agora.jobs.record import CancelSeen, FenceLost, Try, record
from agora.outcomes import Answer, TimedOut

RESULTS = TypeAdapter[Answer | TimedOut](Answer | TimedOut)


def resume_with_answer(session: Session, row: JobRow, value: Any) -> Announcement:
    """Give a job's question its answer. Raises Conflict when it asks nothing, Invalid when the answer does not fit."""
    steps = queries.lock_open_steps(session, team_id=row.team_id, job_id=row.id)
    asking = [step for step in steps if step["status"] == "suspended" and step["suspension"]["kind"] == "input"]
    if not asking:
        raise Conflict(f"job {row.id} is {row.status} and asks nothing now", state=row.status)
    step = asking[0]
    raise_faults(jsonschema_rs.validator_for(step["suspension"]["schema"]), value, "/value")
    return resume(session, row, step, Answer(value=value, answered_at=now()))


def resume_by_time(session: Session, row: JobRow, step: RowMapping, moment: datetime) -> Announcement:
    """A suspended step's time has come: a nap is over (null), or a question was not answered in time (TimedOut)."""
    result = TimedOut(at=moment) if step["suspension"]["kind"] == "input" else None
    return resume(session, row, step, result)


def resume(session: Session, row: JobRow, step: RowMapping, result: Answer | TimedOut | None) -> Announcement:
    """Record the result of a suspended step; the next one becomes ready, or the job has succeeded."""
    spec = catalogue.find(session, row.agent, row.action, row.version).spec
    at = Position(action=spec, step=spec.step(step["name"]), iteration=step["iteration"])
    value = None if result is None else RESULTS.dump_python(result, mode="json")
    stored = values.pack(value, team_id=row.team_id, what="the answer")
    try:
        decision = advance(value, at, resumed=True)
        return record(
            session, Try(step_id=step["id"], fence=None, job=views.ref(row), at=at, decision=decision, stored=stored)
        )
    except (CancelSeen, FenceLost):
        raise Conflict(f"job {row.id} is no longer waiting", state=row.status) from None
