"""What callers do with jobs: submit, look, list, cancel, answer. API handlers and the CLI's back end call only this."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.clock import now
from agora.db.session import fill_pool, transaction
from agora.errors import AgoraError, IllegalTransition, NotFound, invalid_field
from agora.events import queries as event_queries
from agora.events.types import job_event
from agora.idempotency.keys import IdempotencyKey, earlier, forward
from agora.ids import is_id, new_id
from agora.jobs import (
    catalogue,
    catalogue_queries,
    list_queries,
    manned,
    page_queries,
    pages,
    queries,
    usage_queries,
    views,
)
from agora.jobs.accept import Accepted, insert_plain
from agora.jobs.announce import Announcement
from agora.jobs.chronicle import record as record_events
from agora.jobs.intake import check
from agora.jobs.intake_queries import plan_insert
from agora.jobs.models import JobRow
from agora.jobs.resume import resume_with_answer
from agora.jobs.states import JOB_ENDED, JobState, may_become
from agora.jobs.types import (
    CatalogueAction,
    Event,
    ItemView,
    Job,
    JobFilter,
    Submission,
    Submitted,
)
from agora.jobs.waits import waits_of
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.quotas.daily import Allowance, allowance
from agora.telemetry import get_logger
from agora.webhooks import service as webhooks

MAX_ATTEMPTS_SHOWN = 1_000
MAX_USAGE_SHOWN = 1_000

log = get_logger(__name__)


def get_ready() -> None:
    """Open this process's connections, and read the catalogue, before the first submits come.

    Raises SQLAlchemyError when Postgres is away.
    """
    fill_pool(plan_insert)
    catalogue.warm_up()


def submit(
    submission: Submission, *, team_id: str, key_id: str | None = None, idempotency: IdempotencyKey | None = None
) -> Submitted:
    """Accept a job: one transaction, then one ring. Plain submits that come at once share one.

    Raises:
        Invalid: agent, action, version, input, priority, times or metadata are not acceptable; names the field.
        IdempotencyKeyReused: the key stands for another request.
        DailyQuotaExceeded: the team has made as many jobs today as its tier allows.
    """
    job_id = new_id("job")
    registered = catalogue.look_up(submission.agent, submission.action, submission.version)
    check(submission, registered)
    if submission.debounce is not None:
        submission = replace(submission, run_at=now() + timedelta(seconds=submission.debounce.window))
    accepted = Accepted(submission, registered, team_id=team_id, key_id=key_id, job_id=job_id, idempotency=idempotency)
    with allowance(team_id) as room:
        if submission.is_plain and room.has_room():
            job = insert_plain(accepted)
            if job is not None:
                room.use()
                accepted.announcement.make()
                return Submitted(job=job)
        return _submit(submission, accepted, room, team_id=team_id, job_id=job_id, idempotency=idempotency)


def _submit(
    submission: Submission, accepted: Accepted, room: Allowance, *, team_id: str, job_id: str,
    idempotency: IdempotencyKey | None,
) -> Submitted:  # fmt: skip
    """As :func:`submit`, in a transaction of its own. What makes no job, a repeat or a twin, needs no room."""
    with transaction() as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=job_id)
        if known is not None:
            return Submitted(job=_view(session, known, team_id=team_id), replayed=True)
        twin = accepted.find_twin(session)
        if twin is not None:
            forward(session, idempotency, team_id=team_id, resource_id=twin)
            found = Submitted(job=_view(session, twin, team_id=team_id), deduplicated=True)
        else:
            room.take(session=session)
            secret = None
            if submission.webhook is not None:
                secret = webhooks.create_inline(session, team_id=team_id, job_id=job_id, webhook=submission.webhook)
            found = Submitted(job=accepted.insert_in(session), webhook_secret=secret)
    if not found.deduplicated:
        room.use()
    _tell(accepted, team_id=team_id)
    return found


def _tell(accepted: Accepted, *, team_id: str) -> None:
    """Tell the world, after the commit; whom this job replaces is cancelled now."""
    accepted.announcement.make()
    for older in accepted.replaced:
        try:
            request_cancel(older, team_id=team_id)
        except IllegalTransition:  # it has ended by itself
            continue
        except (AgoraError, SQLAlchemyError) as error:
            # The job is made, and that the older one shall stop was committed with it: its worker sees that, or else
            # the dispatcher cancels it.
            log.warning("a replaced job was not cancelled at once", job_id=older, error=type(error).__name__)


def get_job(job_id: str, *, team_id: str, whole: bool = True, deliveries: bool = False) -> Job:
    """A job with its steps and their tries; what is not its own is looked up only when ``whole``. Raises NotFound."""
    with transaction() as session:
        if whole:
            job = _view(session, job_id, team_id=team_id)
        else:
            job = views.job(find(session, job_id, team_id=team_id), whole=True)
        return pages.with_deliveries(session, [job], team_id=team_id)[0] if deliveries else job


def version_of(job_id: str, *, team_id: str) -> str | None:
    """Names what ``get_job`` would answer, at the cost of one look-up; None when that does not lie in its rows alone.

    So of a job in line for workers or limits, whose answer says how long the line is, and of one with children. Raises
    NotFound.
    """
    with transaction() as session:
        row = page_queries.find_version(session, team_id=team_id, job_id=job_id) if is_id(job_id, "job") else None
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return f"{job_id} {row['written']} {row['steps']}" if row["of_rows"] and not row["has_children"] else None


def _view(session: Session, job_id: str, *, team_id: str) -> Job:
    row = find(session, job_id, team_id=team_id)
    steps = queries.find_steps(session, team_id=team_id, job_id=job_id)
    parts = views.Parts(
        steps=steps,
        attempts=queries.find_attempts(
            session, team_id=team_id, job_id=job_id, created_at=row.created_at, limit=MAX_ATTEMPTS_SHOWN
        ),
        items=queries.count_items(session, team_id=team_id, job_id=job_id),
        usage=usage_queries.list_usage(session, team_id=team_id, job_id=job_id, limit=MAX_USAGE_SHOWN),
        run_seconds=usage_queries.find_run_seconds(session, team_id=team_id, job_id=job_id),
        children=usage_queries.sum_children(session, team_id=team_id, job_id=job_id),
        waits=waits_of(session, row, steps),
    )
    return views.whole_job(row, parts)


def find(session: Session, job_id: str, *, team_id: str) -> JobRow:
    """The row of a job of the team. Raises NotFound."""
    row = queries.find_job(session, team_id=team_id, job_id=job_id) if is_id(job_id, "job") else None
    if row is None:
        raise NotFound(f"there is no job {job_id}")
    return row


def list_jobs(
    filters: JobFilter, *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST,
    include: Collection[str] = (),
) -> Page[Job]:  # fmt: skip
    """A page of jobs with what of ``pages.INCLUDES`` is asked for. Raises Invalid."""
    if include and limit > pages.MOST:
        raise invalid_field("/limit", "range", f"limit must be 1 to {pages.MOST} together with include", limit)
    span = Span.of_ids("job", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        page = cut(list_queries.list_jobs(session, team_id=team_id, filters=filters, span=span), span)
        items = pages.views_of(session, page.items, include, team_id=team_id)
    return Page(items=items, next_cursor=page.next_cursor)


def list_items(
    job_id: str, *, team_id: str, step: str, iteration: int = 0, statuses: Sequence[str] = (), after: int = -1,
    limit: int = 50,
) -> Page[ItemView]:  # fmt: skip
    """A page of a map step's items, in input order, behind index ``after``. Raises NotFound for job or step."""
    with transaction() as session:
        find(session, job_id, team_id=team_id)
        found = queries.list_items(
            session, team_id=team_id, job_id=job_id, step=step, iteration=iteration, statuses=statuses,
            after=after + 1, limit=limit + 1,
        )  # fmt: skip
        if not found and not queries.has_step(session, team_id=team_id, job_id=job_id, step=step, iteration=iteration):
            raise NotFound(f"job {job_id} has no step {step!r} in iteration {iteration}")
        items = [views.item(row) for row in found[:limit]]
    return Page(items=items, next_cursor=str(items[-1].index) if len(found) > limit else None)


def cancel_job(job_id: str, *, team_id: str, reason: str = "") -> Job:
    """Cancel a job: at once when none of its steps runs, else as soon as its step notices.

    Raises:
        NotFound: the team has no such job.
        IllegalTransition: it has ended.
    """
    request_cancel(job_id, team_id=team_id, reason=reason)
    return get_job(job_id, team_id=team_id)


def request_cancel(job_id: str, *, team_id: str, reason: str = "") -> None:
    """As :func:`cancel_job`, for whoever has no use for the job."""
    with transaction() as session:
        announcement = cancel_in(session, job_id, team_id=team_id, reason=reason)
        audit.record(session, "job.cancelled", job_id, team_id=team_id, after={"reason": reason})
    announcement.make()


def cancel_in(session: Session, job_id: str, *, team_id: str, reason: str) -> Announcement:
    """As :func:`cancel_job`, in the caller's transaction; what to tell after the commit."""
    announcement = Announcement(jobs={job_id})
    find(session, job_id, team_id=team_id)
    open_steps = queries.try_lock_open_steps(session, team_id=team_id, job_id=job_id)
    # Whoever has a step, or just records it, is not waited for: the record heeds the request, or the dispatcher does.
    if open_steps is None or any(step["status"] == "running" for step in open_steps):
        if not queries.request_cancel(session, team_id=team_id, job_id=job_id, reason=reason):
            raise _cannot_cancel(find(session, job_id, team_id=team_id))
    else:
        _cancel_now(session, job_id, announcement, team_id=team_id, reason=reason)
    return announcement


def _cannot_cancel(row: JobRow) -> IllegalTransition:
    sources = ", ".join(may_become(JobState.CANCELLED))
    message = f"job {row.id} is {row.status}; only {sources} jobs can be cancelled"
    return IllegalTransition(message, state=row.status, allowed=[])


def _cancel_now(session: Session, job_id: str, announcement: Announcement, *, team_id: str, reason: str) -> None:
    queries.end_open_steps(session, team_id=team_id, job_id=job_id)
    moved = queries.move_job(
        session, team_id=team_id, job_id=job_id, target=JobState.CANCELLED,
        sources=may_become(JobState.CANCELLED), error=None, reason=reason,
    )  # fmt: skip
    row = find(session, job_id, team_id=team_id)
    if not moved:
        raise _cannot_cancel(row)
    if row.limited:
        announcement.ended.add(job_id)
    event = job_event(
        "job.cancelled", views.ref(row), status=JobState.CANCELLED, reason=reason or row.cancel_reason or None
    )  # fmt: skip
    announcement.deliveries = record_events(session, views.ref(row), [event])


def give_input(job_id: str, *, team_id: str, value: Any, question: str | None = None) -> Job:
    """Answer what a waiting job asks; the first valid answer wins, and the same one again changes nothing.

    ``question`` is the id of the question that is answered, as the job shows it; without it, whatever is asked now.

    Raises:
        NotFound: the team has no such job.
        Conflict: it asks nothing now.
        AlreadyAnswered: the question has another answer, or timed out.
        Invalid: the answer does not satisfy the JSON Schema of the question, or the job never asked it.
    """
    with transaction() as session:
        row = find(session, job_id, team_id=team_id)
        announcement = resume_with_answer(session, row, value, question=question)
        if announcement is not None:
            told = {"question": question, "answer": "given"}
            audit.record(session, "job.answered", job_id, team_id=team_id, after=told)
    if announcement is not None:
        announcement.make()
    return get_job(job_id, team_id=team_id)


def list_events(job_id: str, *, team_id: str, after: int = 0, limit: int = 200) -> list[Event]:
    """Events of a job with a sequence number above ``after``, in order. Raises NotFound."""
    return follow_events(job_id, team_id=team_id, after=after, limit=limit)[0]


def follow_events(job_id: str, *, team_id: str, after: int, limit: int) -> tuple[list[Event], bool]:
    """As :func:`list_events`, and whether that is over: there are none, and the job has ended, so none will come."""
    with transaction() as session:
        row = find(session, job_id, team_id=team_id)  # first: an end that is seen here has its events
        found = event_queries.list_events(
            session, team_id=team_id, job_id=job_id, created_at=row.created_at, after=after, limit=limit
        )
        return [views.event(one) for one in found], not found and JobState(row.status) in JOB_ENDED


def list_agents(name: str | None = None) -> list[CatalogueAction]:
    """Every registered action version."""
    with transaction() as session:
        rows = catalogue_queries.list_versions(session, agent=name, alive=manned.ALIVE_SECONDS)
    return [views.catalogue_action(row) for row in rows]


def get_agent(name: str) -> list[CatalogueAction]:
    """The registered action versions of one agent. Raises NotFound."""
    found = list_agents(name)
    if not found:
        raise NotFound(f"no worker has registered an agent {name!r}")
    return found
