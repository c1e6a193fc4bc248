"""What callers do with batches: submit, look, list, cancel."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.batches import queries
from agora.batches.models import BatchRow
from agora.batches.types import CANCELLING, COMPLETED, RUNNING, Batch, SubmittedBatch
from agora.db.session import transaction
from agora.errors import FieldError, IllegalTransition, Invalid, NotFound, invalid_field
from agora.events.types import JobRef, job_event
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import is_id, new_id
from agora.jobs import budgets, catalogue, values
from agora.jobs.catalogue import Registered
from agora.jobs.intake import Lineage, NewJob, check, check_metadata, insert_all
from agora.jobs.states import JOB_ENDED, JobState
from agora.jobs.types import Submission
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.quotas.daily import allowance

MAX_JOBS = 1_000
CARRIED = frozenset({
    "agent", "action", "version", "input", "priority", "run_at", "deadline", "metadata", "traceparent", "request_id",
    "budget",
})  # fmt: skip
"""What a job of a batch may have of its own."""
MAX_ERRORS = 100
"""Faults that one answer names; what is beyond is found when these are corrected."""


def submit_batch(
    submissions: Sequence[Submission],
    *,
    team_id: str,
    key_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    idempotency: IdempotencyKey | None = None,
) -> SubmittedBatch:
    """Accept up to a thousand jobs, all or none: everything is checked before anything is written.

    Raises:
        Invalid: names each field that is wrong, as ``/jobs/17/input/…``.
        IdempotencyKeyReused: the key stands for another request.
        DailyQuotaExceeded: the team may not make so many more jobs today.
    """
    if not 1 <= len(submissions) <= MAX_JOBS:
        message = f"a batch has 1 to {MAX_JOBS} jobs, not {len(submissions)}"
        raise invalid_field("/jobs", "length", message, len(submissions))
    labels = dict(metadata or {})
    check_metadata(labels)
    registered = _checked(submissions)
    batch_id = new_id("bat")
    jobs = [
        _new_job(one, known, batch_id=batch_id, team_id=team_id, key_id=key_id)
        for one, known in zip(submissions, registered, strict=True)
    ]
    with allowance(team_id) as room:
        with transaction() as session:
            known = earlier(session, idempotency, team_id=team_id, resource_id=batch_id)
            if known is not None:
                job_ids = queries.list_job_ids(session, team_id=team_id, batch_id=known)
                return SubmittedBatch(batch=_view(session, known, team_id=team_id), job_ids=job_ids, replayed=True)
            room.take(len(jobs), session=session)
            row = queries.insert_batch(
                session, team_id=team_id, id=batch_id, key_id=key_id, size=len(jobs), labels=labels,
                agents=sorted({one.agent for one in submissions}),
            )  # fmt: skip
            announcement = insert_all(session, jobs, team_id=team_id)
        room.use()
    announcement.make()
    counts: dict[str, int] = defaultdict(int)
    for one in submissions:
        counts[JobState.SCHEDULED if one.run_at else JobState.QUEUED] += 1
    return SubmittedBatch(batch=_shown(row, counts), job_ids=[one.job.id for one in jobs])


def _checked(submissions: Sequence[Submission]) -> list[Registered]:
    """The action of each submission. Raises Invalid with the faults of them all."""
    errors: list[FieldError] = []
    found: list[Registered] = []
    actions: dict[tuple[str, str, int | None], Registered] = {}
    for number, one in enumerate(submissions):
        key = (one.agent, one.action, one.version)
        try:
            _check_carried(one)
            if key not in actions:
                actions[key] = catalogue.look_up(*key)
            check(one, actions[key])
            found.append(actions[key])
        except Invalid as fault:
            errors += [_inside(number, error) for error in fault.errors]
            if len(errors) >= MAX_ERRORS:
                break
    if errors:
        raise Invalid(f"{errors[0].pointer}: {errors[0].message}", errors=errors[:MAX_ERRORS])
    return found


def _check_carried(submission: Submission) -> None:
    """Refuse, rather than drop, what a job of a batch cannot have."""
    for field in fields(Submission):
        if field.name not in CARRIED and getattr(submission, field.name) != field.default:
            more = "; make an endpoint, which may take batch.completed" if field.name == "webhook" else ""
            message = f"a job of a batch has no {field.name} of its own{more}"
            raise invalid_field(f"/{field.name}", "not-in-batch", message)


def _inside(number: int, error: FieldError) -> FieldError:
    pointer = f"/jobs/{number}{error.pointer}"
    return FieldError(pointer=pointer, rule=error.rule, message=error.message, value=error.value)


def _new_job(
    submission: Submission, registered: Registered, *, batch_id: str, team_id: str, key_id: str | None
) -> NewJob:
    spec = registered.spec
    job = JobRef(
        id=new_id("job"), team_id=team_id, agent=submission.agent, action=submission.action, version=spec.version,
        metadata=submission.metadata,
    )  # fmt: skip
    status = JobState.SCHEDULED if submission.run_at else JobState.QUEUED
    return NewJob(
        job=job, spec=spec, step=spec.steps[0], priority=submission.priority, run_at=submission.run_at,
        created=job_event("job.created", job, status=status, batch_id=batch_id), deadline=submission.deadline,
        input=values.pack(submission.input, team_id=team_id, what="the input"), traceparent=submission.traceparent,
        lineage=Lineage(batch_id=batch_id), budget=budgets.as_row(submission.budget) if submission.budget else None,
        key_id=key_id, request_id=submission.request_id,
    )  # fmt: skip


def get_batch(batch_id: str, *, team_id: str) -> Batch:
    """A batch with its jobs counted by state. Raises NotFound."""
    with transaction() as session:
        return _view(session, batch_id, team_id=team_id)


def list_batches(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[Batch]:  # fmt: skip
    """A page of batches. Raises Invalid for a cursor that is none."""
    span = Span.of_ids("bat", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = queries.list_batches(session, team_id=team_id, span=span)
        page = cut(rows, span)
        return Page(items=_views(session, page.items, team_id=team_id), next_cursor=page.next_cursor)


def cancel_batch(batch_id: str, *, team_id: str, reason: str = "") -> Batch:
    """Cancel every job of a batch that has not ended. It is done behind the call, and survives any outage.

    Raises:
        NotFound: the team has no such batch.
        IllegalTransition: it has completed.
    """
    with transaction() as session:
        row = _find(session, batch_id, team_id=team_id)
        if row.ended_at is not None:
            raise IllegalTransition(f"batch {batch_id} is completed", state=COMPLETED, allowed=[])
        queries.request_cancel(session, team_id=team_id, batch_id=batch_id, reason=reason)
        audit.record(session, "batch.cancelled", batch_id, team_id=team_id, after={"reason": reason})
        session.refresh(row)
        return _views(session, [row], team_id=team_id)[0]


def _find(session: Session, batch_id: str, *, team_id: str) -> BatchRow:
    row = queries.find_batch(session, team_id=team_id, batch_id=batch_id) if is_id(batch_id, "bat") else None
    if row is None:
        raise NotFound(f"there is no batch {batch_id}")
    return row


def _view(session: Session, batch_id: str, *, team_id: str) -> Batch:
    return _views(session, [_find(session, batch_id, team_id=team_id)], team_id=team_id)[0]


def _views(session: Session, rows: Sequence[BatchRow], *, team_id: str) -> list[Batch]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    open_ones = [row.id for row in rows if row.counts is None]
    for found in queries.count_jobs(session, team_id=team_id, batch_ids=open_ones) if open_ones else ():
        counts[found["batch_id"]][found["status"]] = found["jobs"]
    return [_shown(row, row.counts if row.counts is not None else counts[row.id]) for row in rows]


def _shown(row: BatchRow, counts: Mapping[str, int]) -> Batch:
    ended = sum(count for state, count in counts.items() if state in JOB_ENDED)
    open_status = CANCELLING if row.cancel_requested_at else RUNNING
    return Batch(
        id=row.id, team_id=row.team_id, size=row.size, metadata=row.labels, counts=dict(counts),
        status=COMPLETED if row.ended_at else open_status, progress=1.0 if row.ended_at else ended / row.size,
        cancel_requested_at=row.cancel_requested_at, created_at=row.created_at, ended_at=row.ended_at,
    )  # fmt: skip
