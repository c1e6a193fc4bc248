"""A schedule fires: its job, the note of the fire time and the next fire time are one transaction.

The note's key (schedule, fire time) and the lock of the schedule's row keep two dispatchers from firing twice; a
dispatcher that is killed before the commit has done nothing, and one after it everything.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cronsim import CronSimError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError, TimeoutError  # noqa: A004  # the pool's
from sqlalchemy.orm import Session

from agora.audit import acting
from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import AgoraError, Conflict, NotFound
from agora.events.types import JobRef, NewEvent, job_event
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import new_id
from agora.jobs import catalogue, values
from agora.jobs.announce import Announcement
from agora.jobs.catalogue import Registered
from agora.jobs.chronicle import record_for_team
from agora.jobs.intake import Lineage, NewJob, check, insert_all
from agora.jobs.service import get_job
from agora.jobs.states import JobState
from agora.jobs.types import Submission, Submitted
from agora.quotas.daily import allowance
from agora.schedules import queries
from agora.schedules.models import ScheduleRow
from agora.schedules.service import timetable
from agora.telemetry import get_logger

SLICE = 100
"""Schedules that one tick fires; each is a transaction."""
GRACE = timedelta(minutes=1)
"""``catch_up: skip`` drops a fire time that is later than this."""
MOST_AT_ONCE = 100
"""``catch_up: all`` makes up for at most so many fire times."""

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do about a due schedule: fire times to fire for, the first one passed over, the one that follows."""

    fire: Sequence[datetime]
    missed: datetime | None
    following: datetime | None


def plan(row: ScheduleRow, moment: datetime) -> Plan:
    """What a schedule's catch-up policy says at ``moment``, when ``next_fire_at`` has come."""
    if row.next_fire_at is None:
        raise ValueError("the schedule is not due")
    table = timetable(row)
    count = MOST_AT_ONCE if row.catch_up == "all" else 1
    fire = table.latest(row.next_fire_at, moment, count) or [row.next_fire_at]
    if row.catch_up == "skip" and moment - fire[-1] > GRACE:
        fire = []
    missed = None if fire and fire[0] == row.next_fire_at else row.next_fire_at
    return Plan(fire=fire, missed=missed, following=table.after(max(moment, row.next_fire_at)))


def fire_schedules() -> int:
    """Fire every schedule whose time has come; returns how many."""
    with transaction() as session:
        due = queries.find_due(session, slice_=SLICE)
        moment = queries.current_time(session)
    return sum(_fire(row, moment) for row in due)


def _fire(row: ScheduleRow, moment: datetime) -> bool:
    fire_at = row.next_fire_at or moment
    planned = Plan(fire=[fire_at], missed=None, following=None)  # should its time zone have gone from the database
    try:
        planned = plan(row, moment)
        return _fire_within_quota(row, planned)
    except (OperationalError, InterfaceError, TimeoutError):
        raise  # no database: the whole loop waits
    except (AgoraError, SQLAlchemyError, CronSimError, LookupError, ValueError, OSError) as fault:
        log.warning("a schedule could not fire", schedule_id=row.id, error=str(fault)[:300])
        code = fault.slug if isinstance(fault, AgoraError) else "schedule-failed"
        error = {"code": code, "type": type(fault).__name__, "message": str(fault)[:1_000]}
    return _commit(row, planned, error=error)


def _fire_within_quota(row: ScheduleRow, planned: Plan) -> bool:
    registered = prepare(row)
    with allowance(row.team_id) as room:
        room.take(len(planned.fire))
        fired = _commit(row, planned, registered=registered)
        if fired:
            room.use()
    return fired


def prepare(row: ScheduleRow) -> Registered:
    """The action of a schedule's job. Raises Invalid when it is gone, or no longer takes the input."""
    registered = catalogue.look_up(row.agent, row.action, row.version)
    given = values.unpack(row.input)
    submission = Submission(agent=row.agent, action=row.action, input=given, priority=row.priority, metadata=row.labels)
    check(submission, registered)
    return registered


def _commit(
    row: ScheduleRow, planned: Plan, *, registered: Registered | None = None, error: dict[str, Any] | None = None
) -> bool:
    """Write what a due schedule comes to; False when another dispatcher, or an edit, was first."""
    with transaction() as session:
        held = queries.hold_due(
            session, schedule_id=row.id, fire_at=row.next_fire_at or row.created_at, updated_at=row.updated_at
        )
        if held is None:
            return False
        if planned.missed is not None:
            passed = {"code": "missed", "message": f"nobody fired in time; catch_up is {row.catch_up}"}
            _note(session, row, planned.missed, outcome="missed", error=passed)
        if registered is not None:
            announcement = _make_jobs(session, row, planned.fire, registered)
        else:
            announcement = _note_failures(session, row, planned.fire, error or {})
        done: dict[str, Any] = {"next_fire_at": planned.following}
        if planned.fire:
            failures = row.failures + len(planned.fire) if error else 0
            done |= {"last_fire_at": planned.fire[-1], "failures": failures, "last_error": error}
        queries.note_fired(session, team_id=row.team_id, schedule_id=row.id, values=done)
    announcement.make()
    return True


def _note(session: Session, row: ScheduleRow, fire_at: datetime, **columns: Any) -> bool:
    return queries.insert_run(session, team_id=row.team_id, schedule_id=row.id, fire_at=fire_at, **columns)


def _make_jobs(session: Session, row: ScheduleRow, times: Sequence[datetime], registered: Registered) -> Announcement:
    jobs = [new_job(row, registered, fire_at=moment, job_id=new_id("job")) for moment in times]
    fresh = [
        job
        for job, moment in zip(jobs, times, strict=True)
        if _note(session, row, moment, outcome="fired", job_id=job.job.id)
    ]
    return _insert(session, row, fresh) if fresh else Announcement()


def _insert(session: Session, row: ScheduleRow, jobs: Sequence[NewJob], *, manual: bool = False) -> Announcement:
    """Insert the jobs of fire times, and tell that the schedule has fired."""
    fired = []
    for one in jobs:
        data = _about(row, one.created.data["fire_at"], job=f"/api/v1/jobs/{one.job.id}")
        event = NewEvent(type="schedule.fired", data=data | {"job_id": one.job.id, "manual": manual})
        fired.append((one.job, event))
    return insert_all(session, jobs, team_id=row.team_id, besides=fired)


def _about(row: ScheduleRow, fire_at: str, **links: str) -> dict[str, Any]:
    """What every event of a schedule says."""
    return {
        "schedule_id": row.id, "name": row.name, "agent": row.agent, "action": row.action, "fire_at": fire_at,
        "links": {"self": f"/api/v1/schedules/{row.id}", **links},
    }  # fmt: skip


def _note_failures(
    session: Session, row: ScheduleRow, times: Sequence[datetime], error: dict[str, Any]
) -> Announcement:
    announcement = Announcement()
    for moment in times:
        if _note(session, row, moment, outcome="failed", error=error):
            data = _about(row, moment.isoformat()) | {"error": error, "metadata": row.labels}
            event = NewEvent(type="schedule.failed", data=data)
            announcement.deliveries |= record_for_team(session, event, team_id=row.team_id, agent=row.agent)
    return announcement


def new_job(row: ScheduleRow, registered: Registered, *, fire_at: datetime, job_id: str) -> NewJob:
    """The job of one fire time."""
    spec = registered.spec
    job = JobRef(
        id=job_id, team_id=row.team_id, agent=row.agent, action=row.action, version=spec.version, metadata=row.labels
    )
    created = job_event("job.created", job, status=JobState.QUEUED, schedule_id=row.id, fire_at=fire_at.isoformat())
    return NewJob(
        job=job, spec=spec, step=spec.steps[0], created=created, input=json.dumps(row.input),
        priority=row.priority, budget=row.budget, key_id=row.key_id, lineage=Lineage(schedule_id=row.id),
        request_id=acting.actor().request_id,
    )  # fmt: skip


def run_now(
    ref: str, *, team_id: str, key_id: str | None = None, idempotency: IdempotencyKey | None = None
) -> Submitted:
    """Make a schedule's job now, whether it is paused or not; its fire times stay what they are.

    Raises:
        NotFound: the team has no such schedule.
        Invalid: its action is gone, or no longer takes the input.
        IdempotencyKeyReused: the key stands for another request.
        DailyQuotaExceeded: the team has made as many jobs today as its tier allows.
    """
    with transaction() as session:
        row = queries.find_schedule(session, team_id=team_id, ref=ref)
    if row is None:
        raise NotFound(f"there is no schedule {ref}")
    registered = prepare(row)
    job_id = new_id("job")
    with allowance(team_id) as room:
        with transaction() as session:
            known = earlier(session, idempotency, team_id=team_id, resource_id=job_id)
            if known is None:
                room.take(session=session)
                moment = queries.current_time(session)
                job = new_job(row, registered, fire_at=moment, job_id=job_id)
                if not _note(session, row, moment, outcome="fired", job_id=job_id, manual=True):
                    raise Conflict(f"schedule {ref} fires at this very moment; send it again")
                announcement = _insert(session, row, [replace(job, key_id=key_id)], manual=True)
                told = {"name": row.name, "job_id": job_id}
                audit.record(session, "schedule.run", row.id, team_id=team_id, after=told)
        room.use()
    if known is not None:
        return Submitted(job=get_job(known, team_id=team_id), replayed=True)
    announcement.make()
    return Submitted(job=get_job(job_id, team_id=team_id))
