"""What the dispatcher does for steps and jobs: one function per duty, each one transaction over a bounded slice.

A duty returns how much it did, so that the loop goes round again at once while there is work.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.agents import QUEUES
from agora.clock import now
from agora.db.partitions import ensure_partitions
from agora.db.session import transaction
from agora.dispatcher import queries
from agora.errors import Conflict
from agora.events.types import job_event
from agora.idempotency import queries as idempotency_queries
from agora.jobs import (
    catalogue,
    catalogue_queries,
    child_queries,
    children,
    fan_out,
    gate,
    item_queries,
    limit_queries,
    rings,
    unique_queries,
    views,
)
from agora.jobs import queries as job_queries
from agora.jobs.announce import Announcement
from agora.jobs.apart import settle_each
from agora.jobs.budgets import heed, queue_timeout
from agora.jobs.chronicle import record as record_events
from agora.jobs.decide import Position, cancelled, decide_lost
from agora.jobs.record import CancelSeen, FenceLost, Try, record
from agora.jobs.resume import resume_by_time
from agora.jobs.states import JobState, may_become
from agora.settings import get_settings

SLICE = 200
PARTITIONED = {"events": "evt", "attempts": "att", "webhook_attempts": "wha"}
WORKER_SILENT_SECONDS = 300.0


def refill_rings() -> int:
    """Ring for due steps, in Postgres' order, as far as each queue's window has room."""
    return sum(rings.parked.release(queue) + rings.refill(queue) for queue in QUEUES)


def rering_unheard() -> int:
    """Ring again for steps whose ring nobody answered."""
    rings.rering()
    return 0


def return_lost_leases() -> int:
    """Take steps back from workers that went silent."""
    limit = get_settings().lost_lease_limit
    with transaction() as session:
        announcements = [_take_back(session, row, limit) for row in queries.lock_expired(session, slice_=SLICE)]
    return _announce(announcements)


def _take_back(session: Session, row: RowMapping, limit: int) -> Announcement | None:
    job = queries.get_job(session, job_id=row["job_id"])
    spec = catalogue.find(session, job.agent, job.action, job.version).spec
    at = Position(
        action=spec, step=spec.step(row["name"]), iteration=row["iteration"], item=row["item"],
        attempt=row["attempt"], lost_leases=row["lost_leases"],
    )  # fmt: skip
    decision = decide_lost(at, limit=limit)
    attempt = Try(step_id=row["id"], fence=row["fence"], job=views.ref(job), at=at, decision=decision)
    try:
        return record(session, attempt if job.budget is None else heed(session, attempt))
    except CancelSeen:
        with suppress(FenceLost, CancelSeen):
            return record(session, replace(attempt, decision=cancelled(decision)))
    except FenceLost:
        pass
    return None


def wake_suspended() -> int:
    """End naps that are over and questions that were not answered in time."""
    announcements = []
    with transaction() as session:
        for row in queries.lock_woken(session, slice_=SLICE):
            job = queries.get_job(session, job_id=row["job_id"])
            with suppress(Conflict), session.begin_nested():
                announcements.append(resume_by_time(session, job, row, now()))
    return _announce(announcements)


def settle_parts() -> int:
    """Go on with map steps and parents whose items or children have ended, where the worker that should died."""
    with transaction() as session:
        heads = item_queries.find_any_over(session, slice_=SLICE)
        parents = child_queries.find_any_over(session, slice_=SLICE)
    return settle_each(fan_out.settle_head, heads) + settle_each(children.settle_step, parents)


def release_due() -> int:
    """Steps whose time has come, of retries and of scheduled jobs, take their place in the order."""
    with transaction() as session:
        released, scopes = queries.release_due(session, slice_=SLICE)
    gate.look(scopes)
    return released


def admit_waiting() -> int:
    """Let in whom rates let in now."""
    with transaction() as session:
        scopes = limit_queries.find_next(session, slice_=SLICE)
    return len(gate.look(scopes))


def mend_lines() -> int:
    """Let in whoever waits although there is room: those who made it died before they could look."""
    with transaction() as session:
        stale = limit_queries.find_stale(session, slice_=SLICE)
    gate.free(stale)
    with transaction() as session:
        scopes = limit_queries.find_open(session, slice_=SLICE)
    return len(gate.look(scopes))


def fail_late_jobs() -> int:
    """Jobs whose deadline has passed fail, whatever their steps do."""
    with transaction() as session:
        late = queries.find_late(session, slice_=SLICE)
    error = '{"code":"deadline-exceeded","type":"Deadline","message":"the deadline has passed","retryable":false}'
    return _announce(end_job(row, JobState.FAILED, error=error) for row in late)


def fail_unstarted_jobs() -> int:
    """Jobs of which no step began within their budget's queue_timeout fail."""
    with transaction() as session:
        late = queries.find_unstarted(session, slice_=SLICE)
    never_began = [JobState.SCHEDULED, JobState.QUEUED]
    return _announce(
        end_job(row, JobState.FAILED, error=queue_timeout(row["seconds"]), sources=never_began) for row in late
    )


def finish_cancels() -> int:
    """Jobs that were asked to cancel and of which no step runs any more are cancelled."""
    with transaction() as session:
        asked = queries.find_unattended_cancels(session, slice_=SLICE)
    return _announce(end_job(row, JobState.CANCELLED, reason=row["cancel_reason"]) for row in asked)


def end_job(
    row: RowMapping,
    target: JobState,
    *,
    error: str | None = None,
    reason: str | None = None,
    sources: Sequence[str] | None = None,
) -> Announcement | None:
    """End one job from outside its steps, in a transaction of its own; None when it has left ``sources`` meanwhile.

    Without ``sources``: when it has ended. None as well when somebody has locked one of its steps: a transactional one
    is for as long as it runs, and all other jobs would wait for it. The duty comes again.
    """
    job_id, team_id = row["id"], row["team_id"]
    with transaction() as session:
        if job_queries.try_lock_open_steps(session, team_id=team_id, job_id=job_id) is None:
            return None
        job_queries.end_open_steps(session, team_id=team_id, job_id=job_id)
        moved = job_queries.move_job(
            session, team_id=team_id, job_id=job_id, target=target, sources=sources or may_become(target),
            error=error, reason=reason,
        )  # fmt: skip
        if not moved:
            session.rollback()
            return None
        job = queries.get_job(session, job_id=job_id)
        event = job_event(f"job.{target}", views.ref(job), status=target, error=job.error, reason=reason or None)
        deliveries = record_events(session, views.ref(job), [event])
        return Announcement(jobs={job_id}, deliveries=deliveries, ended={job_id} if job.limited else set())


def make_partitions() -> int:
    """Make the partitions of this and the next months."""
    with transaction() as session:
        if not queries.try_duty(session, duty=1):
            return 0
        for table, prefix in PARTITIONED.items():
            ensure_partitions(session, table, prefix, moment=datetime.now(UTC))
    return 0


def tidy() -> int:
    """Forget old idempotency keys and workers that have long been silent."""
    with transaction() as session:
        catalogue_queries.forget_workers(session, silent=WORKER_SILENT_SECONDS)
        return idempotency_queries.forget_keys(session, limit=1_000) + unique_queries.forget_unique(
            session, limit=1_000
        )


def _announce(announcements: Iterable[Announcement | None]) -> int:
    made = [one for one in announcements if one is not None]
    for one in made:
        one.make()
    return len(made)
