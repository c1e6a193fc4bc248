"""Retry and fork: a new job that takes over what another one has done, and begins in the middle.

An ended job never changes. A retry goes on where it ended: same input, same root, so that outside systems see the same
idempotency keys. A fork tries something else from some step on: its input may be another, and it is a root of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.agents import ActionSpec, StepSpec
from agora.audit import acting
from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import FieldError, IllegalTransition, Invalid, NotFound, invalid_field
from agora.events.types import JobRef, job_event
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import is_id, new_id
from agora.jobs import budgets, catalogue, concurrency, lineage_queries, queries, values
from agora.jobs.announce import Announcement
from agora.jobs.intake import Lineage, NewJob, check_metadata, insert_all
from agora.jobs.models import JobRow, StepRow
from agora.jobs.service import get_job
from agora.jobs.states import STEP_DONE, JobState
from agora.jobs.types import Submitted
from agora.quotas.daily import allowance

RETRIED = (JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is wanted of a new job that goes on from another; None means as the other.

    ``from_step`` None is where the other ended, for a retry. ``input`` is the whole new input, for a fork.
    """

    fork: bool = False
    from_step: str | None = None
    input: Mapping[str, Any] | None = None
    version: int | None = None
    priority: int | None = None
    deadline: datetime | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """Where the new job begins. ``unfinished`` is the step of the other job that did not come to its end there."""

    step: StepSpec
    position: int
    iteration: int
    carry: Any = None
    unfinished: StepRow | None = None


def go_on(
    job_id: str, wish: Wish, *, team_id: str, key_id: str | None = None, idempotency: IdempotencyKey | None = None
) -> Submitted:
    """Make a retry or a fork of a job.

    Raises:
        NotFound: the team has no such job.
        IllegalTransition: a job that has not ended, or has succeeded, is not retried.
        Invalid: names the field: no such step, no results to begin there with, another version's steps differ, …
        DailyQuotaExceeded: the team has made as many jobs today as its tier allows.
    """
    made = new_id("job")
    with allowance(team_id) as room:
        with transaction() as session:
            known = earlier(session, idempotency, team_id=team_id, resource_id=made)
            if known is None:
                room.take(session=session)
                announcement = go_on_in(session, job_id, wish, team_id=team_id, key_id=key_id, new_job_id=made)
                _note(session, job_id, wish, team_id=team_id, new_job_id=made)
        room.use()
    if known is not None:
        return Submitted(job=get_job(known, team_id=team_id), replayed=True)
    announcement.make()
    return Submitted(job=get_job(made, team_id=team_id))


def _note(session: Session, job_id: str, wish: Wish, *, team_id: str, new_job_id: str) -> None:
    told = {name: value for name in Wish.__slots__ if (value := getattr(wish, name)) is not None and name != "fork"}
    action = "job.forked" if wish.fork else "job.retried"
    audit.record(session, action, job_id, team_id=team_id, after={"new_job_id": new_job_id, **told})


def go_on_in(
    session: Session, job_id: str, wish: Wish, *, team_id: str, key_id: str | None, new_job_id: str
) -> Announcement:
    """As :func:`go_on`, in the caller's transaction; what to tell after the commit."""
    row = queries.find_job(session, team_id=team_id, job_id=job_id, keep=True) if is_id(job_id, "job") else None
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    if not wish.fork and row.status not in RETRIED:
        message = f"job {job_id} is {row.status}; only {' and '.join(RETRIED)} jobs can be retried"
        raise IllegalTransition(message, state=row.status, allowed=[])
    steps = queries.find_steps(session, team_id=team_id, job_id=job_id)
    registered = catalogue.find(session, row.agent, row.action, row.version if wish.version is None else wish.version)
    old = catalogue.find(session, row.agent, row.action, row.version).spec
    begin = _beginning(old, steps, wish)
    spec = registered.spec
    _check_chain(old, spec, steps, begin)
    given = _input_of(row, wish, registered)
    if wish.metadata is not None:
        check_metadata(wish.metadata)
    new = replace(_new_job(row, wish, spec, begin, given, new_job_id=new_job_id), key_id=key_id)
    if row.concurrency_key is not None:
        concurrency.take_over(session, row.concurrency_key, team_id=team_id)
    announcement = insert_all(session, [new], team_id=team_id, concurrency_key=row.concurrency_key)
    lineage_queries.copy_steps(
        session, team_id=team_id, source=job_id, job_id=new_job_id, iteration=begin.iteration, position=begin.position
    )
    if begin.unfinished is not None and not wish.fork:
        lineage_queries.copy_notes(session, team_id=team_id, source=begin.unfinished.id, step_id=new.step_id)
        lineage_queries.copy_paid(session, team_id=team_id, source=begin.unfinished.id, step_id=new.step_id)
        if begin.step.over is not None:
            lineage_queries.copy_items(
                session, team_id=team_id, source=job_id, job_id=new_job_id, name=begin.step.name,
                iteration=begin.iteration,
            )  # fmt: skip
    return announcement


def _input_of(row: JobRow, wish: Wish, registered: catalogue.Registered) -> str:
    """The stored input of the new job. Raises Invalid when a new one, or one for a new version, does not fit."""
    if wish.input is not None:
        registered.check_input(wish.input)
        return values.pack(wish.input, team_id=row.team_id, what="the input")
    if registered.spec.version != row.version:
        registered.check_input(values.unpack(row.input))
    return json.dumps(row.input)


def _new_job(row: JobRow, wish: Wish, spec: ActionSpec, begin: Beginning, given: str, *, new_job_id: str) -> NewJob:
    metadata = row.labels if wish.metadata is None else dict(wish.metadata)
    job = JobRef(
        id=new_job_id, team_id=row.team_id, agent=row.agent, action=row.action, version=spec.version, metadata=metadata
    )
    origin: dict[str, Any] = {"forked_from": row.id} if wish.fork else {"retry_of": row.id}
    root_id = None if wish.fork else row.root_id
    return NewJob(
        job=job, spec=spec, step=spec.step(begin.step.name), input=given, iteration=begin.iteration,
        carry=None if begin.carry is None else json.dumps(begin.carry), deadline=wish.deadline,
        priority=row.priority if wish.priority is None else wish.priority, traceparent=row.traceparent,
        request_id=acting.actor().request_id,
        lineage=Lineage(root_id=root_id, **origin), budget=budgets.afresh(row.budget),
        created=job_event("job.created", job, status=JobState.QUEUED, from_step=begin.step.name, **origin),
    )  # fmt: skip


def _beginning(spec: ActionSpec, steps: Sequence[StepRow], wish: Wish) -> Beginning:
    heads = [row for row in steps if row.item == 0]
    if wish.from_step is None:
        return _where_it_ended(spec, heads)
    try:
        step = spec.step(wish.from_step)
    except LookupError:
        known = ", ".join(one.name for one in spec.steps)
        message = f"{spec.agent}.{spec.action} version {spec.version} has no step {wish.from_step!r}, only {known}"
        raise invalid_field("/from_step", "known-step", message, wish.from_step) from None
    position = spec.steps.index(step)
    seen = [row for row in heads if row.name == step.name]
    if seen:
        return _at(step, position, seen[-1])
    before = [row for row in heads if row.position == position - 1 and row.status in STEP_DONE]
    if not before:
        message = f"the job has no result of {spec.steps[position - 1].name}, which comes before {step.name}"
        raise invalid_field("/from_step", "has-results", message, step.name)
    return Beginning(step=step, position=position, iteration=before[-1].iteration, carry=before[-1].carry)


def _where_it_ended(spec: ActionSpec, heads: Sequence[StepRow]) -> Beginning:
    """At the last step, unless it is done and its result is kept: then after it.

    A result of null says too little to go on: a step that gave its job up, or asked to repeat, has it as well.
    """
    last = heads[-1]
    step = spec.step(last.name)
    following = spec.after(last.name)
    kept = last.status in STEP_DONE and last.result not in (None, {"v": None})
    if kept and following is not None:
        return Beginning(step=following, position=last.position + 1, iteration=last.iteration, carry=last.carry)
    return _at(step, last.position, last)


def _at(step: StepSpec, position: int, row: StepRow) -> Beginning:
    unfinished = None if row.status in STEP_DONE else row
    return Beginning(step=step, position=position, iteration=row.iteration, carry=row.carry, unfinished=unfinished)


def _check_chain(old: ActionSpec, new: ActionSpec, steps: Sequence[StepRow], begin: Beginning) -> None:
    """Refuse a version whose steps differ in what is taken over: results are read by the names of their steps."""
    taken = [row.position for row in steps if (row.iteration, row.position) < (begin.iteration, begin.position)]
    count = max([begin.position, *taken]) + 1
    before, after = ([step.name for step in spec.steps[:count]] for spec in (old, new))
    if before != after:
        message = (
            f"version {new.version} begins with the steps {', '.join(after)}; the job took {', '.join(before)} "
            f"of version {old.version}"
        )
        raise Invalid(
            message, errors=[FieldError(pointer="/version", rule="same-steps", message=message, value=new.version)]
        )
