"""The way in for jobs, wherever they come from: a submit, a batch, a retry, a fork, a schedule, a parent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.agents import ActionSpec, StepSpec
from agora.db.session import Direct
from agora.errors import Invalid, invalid_field
from agora.events.queries import add_events
from agora.events.types import JobRef, NewEvent
from agora.ids import new_id
from agora.jobs import budgets, gate, manned
from agora.jobs.announce import Announcement
from agora.jobs.catalogue import Registered
from agora.jobs.conclude import encode
from agora.jobs.intake_queries import insert_jobs
from agora.jobs.types import Submission
from agora.settings import get_settings
from agora.webhooks.fan_out_queries import fan_out_each

MAX_METADATA_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a job comes from: ids, each None when it does not apply. ``root_id`` None makes it a root of its own."""

    root_id: str | None = None
    retry_of: str | None = None
    forked_from: str | None = None
    batch_id: str | None = None
    schedule_id: str | None = None
    parent_id: str | None = None
    parent_step_id: str | None = None
    child_index: int | None = None
    """Its place among the children of its parent's step."""
    depth: int | None = None
    """How many parents it has above it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """A job that is in order. ``input`` and ``carry`` are stored values (JSON texts); it begins with ``step``."""

    job: JobRef
    spec: ActionSpec
    step: StepSpec
    created: NewEvent
    input: str
    priority: int = 5
    run_at: datetime | None = None
    deadline: datetime | None = None
    traceparent: str | None = None
    request_id: str | None = None
    iteration: int = 0
    carry: str | None = None
    budget: Mapping[str, Any] | None = None
    key_id: str | None = None
    lineage: Lineage = Lineage()
    step_id: str = field(default_factory=lambda: new_id("stp"))

    @property
    def label(self) -> str:
        """``agent.action.step``: what people see."""
        return f"{self.job.agent}.{self.job.action}.{self.step.name}"


def check(submission: Submission, registered: Registered) -> None:
    """Raise Invalid, naming the field, unless a submission is acceptable."""
    if not 0 <= submission.priority <= 9:  # noqa: PLR2004  # said in the message
        raise invalid_field("/priority", "range", "priority must be 0 to 9", submission.priority)
    for name in ("run_at", "deadline"):
        moment = getattr(submission, name)
        if moment is not None and moment.tzinfo is None:
            raise invalid_field(f"/{name}", "time-zone", f"{name} must have a time zone", str(moment))
    if submission.deadline and submission.run_at and submission.deadline <= submission.run_at:
        raise invalid_field("/deadline", "after-run-at", "deadline must be after run_at", str(submission.deadline))
    check_metadata(submission.metadata)
    if submission.budget is not None:
        budgets.check(submission.budget)
    if submission.concurrency is not None:
        submission.concurrency.check()
    check_twins(submission)
    registered.check_input(submission.input)


def check_twins(submission: Submission) -> None:
    """Raise Invalid, naming the field, unless what it says of twins is acceptable."""
    if submission.unique is not None:
        submission.unique.check()
    if submission.debounce is not None:
        submission.debounce.check()
        for name in ("unique", "run_at"):
            if getattr(submission, name) is not None:
                raise invalid_field(f"/{name}", "excludes", f"{name} and debounce exclude each other")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise Invalid when metadata is too large, or is nothing that Postgres can hold."""
    if not metadata:
        return
    try:
        encode(dict(metadata), "metadata")
    except (Invalid, ValueError) as error:
        raise invalid_field("/metadata", "json", f"metadata cannot be stored: {error}") from error
    if len(json.dumps(dict(metadata))) > MAX_METADATA_BYTES:
        raise invalid_field("/metadata", "max-bytes", f"metadata must have at most {MAX_METADATA_BYTES} bytes of JSON")


def insert_all(
    session: Session,
    jobs: Sequence[NewJob],
    *,
    team_id: str,
    concurrency_key: str | None = None,
    besides: Sequence[tuple[JobRef, NewEvent]] = (),
) -> Announcement:
    """Insert jobs of one team with their events and deliveries; what to tell after the commit.

    The caller has locked the ``concurrency_key``, in whose line they stand. ``besides``: events of the team's own, each
    with the job that it tells of, in whose stream it is not.
    """
    manned.labels(jobs[0].step.queue, session)  # looked up here, not on a connection of its own
    row = insert(session, [as_record(one) for one in jobs], may_fan_out=True)
    announcement = Announcement()
    rung = set(row["rung"])
    for one in jobs if rung else ():
        if one.step_id in rung:
            announcement.ring_step(one.step_id, job_id=one.job.id, spec=one.step, label=one.label)
    announcement.hold(gate.enter(session, [one.job for one in jobs], team_id=team_id, key=concurrency_key))
    if besides:
        add_events(session, team_id=team_id, events=[event for _, event in besides])
    if row["subscribed"]:
        happened = [*((one.job, one.created) for one in jobs), *besides]
        announcement.deliveries = fan_out_each(
            session, team_id=team_id, happened=happened, occurred_at=row["created_at"]
        )
    return announcement


def insert(session: Session | Direct, records: Sequence[Mapping[str, Any]], *, may_fan_out: bool) -> Mapping[str, Any]:
    """Insert jobs of whatever teams, made ready by :func:`as_record`; what :func:`insert_jobs` returns."""
    given = [{"n": n, **one} for n, one in enumerate(records)]
    for one in given if not may_fan_out else ():
        one["scopes"] = gate.scopes_of(one["team_id"], one["agent"], one["action"])
    text = json.dumps(given, separators=(",", ":"))
    return insert_jobs(
        session, jobs=text, count=len(records), window=get_settings().ring_window, may_fan_out=may_fan_out
    )


def as_record(new: NewJob) -> dict[str, Any]:
    """A job as :func:`insert` takes it. May ask the database who works, on a connection of its own."""
    job, step, lineage = new.job, new.step, new.lineage
    position = new.spec.steps.index(step)
    made = {
        "job_id": job.id, "team_id": job.team_id, "agent": job.agent, "action": job.action, "version": job.version,
        "priority": new.priority, "input": new.input, "metadata": dict(job.metadata), "step_id": new.step_id,
        "step": step.name, "position": position, "iteration": new.iteration, "queue": step.queue, "label": new.label,
        "manned": manned.is_manned(new.spec.label, step.queue),
        "attempts": step.attempts, "event_id": new.created.id, "event": new.created.data,
    }  # fmt: skip
    optional = {
        "carry": new.carry, "traceparent": new.traceparent, "root_id": lineage.root_id, "retry_of": lineage.retry_of,
        "forked_from": lineage.forked_from, "batch_id": lineage.batch_id, "schedule_id": lineage.schedule_id,
        "parent_id": lineage.parent_id, "parent_step_id": lineage.parent_step_id, "child_index": lineage.child_index,
        "depth": lineage.depth,
        "run_at": new.run_at.isoformat() if new.run_at else None,
        "deadline": new.deadline.isoformat() if new.deadline else None,
        "key_id": new.key_id, "request_id": new.request_id, "budget": new.budget,
        "queue_timeout": (new.budget or {}).get("queue_timeout"),
        "progress": position / len(new.spec.steps) if position else None,
    }  # fmt: skip
    return made | {name: value for name, value in optional.items() if value is not None}
