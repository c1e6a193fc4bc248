"""What callers do with schedules: make, look, change, pause, resume, run now, delete."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.db.session import transaction
from agora.editions import ANYTHING, Expected
from agora.errors import Conflict, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import is_id, new_id
from agora.jobs import budgets, catalogue, values
from agora.jobs.intake import check
from agora.jobs.types import Submission
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.schedules import queries
from agora.schedules.models import RunRow, ScheduleRow
from agora.schedules.times import Timetable, check_timetable
from agora.schedules.types import ACTIVE, BY_NAME, CATCH_UP, ENDED, PAUSED, NewSchedule, Run, Schedule

SHOWN = 10
"""Fire times that a schedule shows."""
MOST_SHOWN = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KINDS = ("cron", "every", "at")


def create_schedule(
    new: NewSchedule, *, team_id: str, key_id: str | None = None, idempotency: IdempotencyKey | None = None
) -> tuple[Schedule, bool]:
    """Make a schedule; also whether this was a repeat.

    Raises:
        Invalid: names the field that is wrong.
        Conflict: the team has a schedule of this name.
        IdempotencyKeyReused: the key stands for another request.
    """
    schedule_id = new_id("sch")
    columns = _checked(new) | {"input": _packed(new.input, team_id)}
    try:
        with transaction() as session:
            known = earlier(session, idempotency, team_id=team_id, resource_id=schedule_id)
            moment = queries.current_time(session)
            if known is not None:
                return shown(_find(session, known, team_id=team_id), moment), True
            table = _table(new, anchor=moment)
            check_timetable(table, now=moment)
            row = queries.insert_schedule(
                session, team_id=team_id, id=schedule_id, key_id=key_id, created_at=moment,
                paused_at=moment if new.paused else None, next_fire_at=None if new.paused else table.after(moment),
                **columns,
            )  # fmt: skip
            audit.record(session, "schedule.created", row.id, team_id=team_id, after=_told(row))
            return shown(row, moment), False
    except IntegrityError as error:
        raise _name_taken(error, new.name) from None


def _checked(new: NewSchedule) -> dict[str, Any]:
    """The columns but the input. Raises Invalid for what can be said without the database's clock."""
    if not NAME.fullmatch(new.name) or is_id(new.name, "sch"):
        message = "name must be 1 to 100 letters, digits, dots, dashes and underscores, and no id"
        raise invalid_field("/name", "pattern", message, new.name)
    if new.catch_up not in CATCH_UP:
        raise invalid_field("/catch_up", "enum", f"catch_up must be one of {', '.join(CATCH_UP)}", new.catch_up)
    for name in ("at", "ends_at"):
        moment = getattr(new, name)
        if moment is not None and moment.tzinfo is None:
            raise invalid_field(f"/{name}", "time-zone", f"{name} must have a time zone", str(moment))
    check(_submission(new), catalogue.look_up(new.agent, new.action, new.version))
    columns = asdict(new)
    for name in ("input", "paused", "metadata"):
        del columns[name]
    budget = None if new.budget is None else budgets.as_row(new.budget)
    return columns | {"labels": dict(new.metadata), "budget": budget}


def _packed(value: Any, team_id: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(values.pack(value, team_id=team_id, what="the input"))
    return stored


def _table(new: NewSchedule, *, anchor: datetime) -> Timetable:
    return Timetable(
        cron=new.cron, timezone=new.timezone, every=new.every, anchor=anchor, at=new.at, ends_at=new.ends_at
    )


def _submission(new: NewSchedule) -> Submission:
    return Submission(
        agent=new.agent, action=new.action, version=new.version, input=new.input, priority=new.priority,
        metadata=new.metadata, budget=new.budget,
    )  # fmt: skip


def _name_taken(error: IntegrityError, name: str) -> Exception:
    if "schedules_team_id_name_key" in str(error.orig):
        return Conflict(f"the team has a schedule named {name!r}")
    return error


SAID = (
    "name", "agent", "action", "version", "priority", "budget", "cron", "timezone", "every", "at", "ends_at",
    "catch_up", "input",
)  # fmt: skip


def _told(row: ScheduleRow) -> dict[str, Any]:
    """A schedule as the audit log tells of it."""
    return {name: getattr(row, name) for name in SAID} | {"metadata": row.labels, "paused": row.paused_at is not None}


def timetable(row: ScheduleRow) -> Timetable:
    """When a schedule fires."""
    return Timetable(
        cron=row.cron, timezone=row.timezone, every=row.every, anchor=row.created_at, at=row.at, ends_at=row.ends_at
    )


def update_schedule(
    ref: str, changes: Mapping[str, Any], *, team_id: str, expected: Expected = ANYTHING
) -> Schedule:  # fmt: skip
    """Change fields of a schedule, named as in :class:`NewSchedule`; it goes on from now with them.

    Raises:
        NotFound: the team has no such schedule.
        PreconditionFailed: it is not as expected.
        Invalid: names the field that is wrong.
        Conflict: the team has a schedule of the new name, or this one was changed meanwhile.
    """
    with transaction() as session:
        before = _find(session, ref, team_id=team_id)
        seen = before.updated_at
        new = _merged(before, changes)
    columns = _checked(new)
    if "input" in changes:
        columns["input"] = _packed(new.input, team_id)
    try:
        with transaction() as session:
            row = _find(session, before.id, team_id=team_id, lock=True)
            expected.check(row)
            if row.updated_at != seen:
                raise Conflict(f"schedule {ref} was changed by somebody else just now; send it again")
            moment = queries.current_time(session)
            if set(changes) & {*KINDS, "timezone", "ends_at"}:
                check_timetable(_table(new, anchor=row.created_at), now=moment)
            told = _told(row)
            if "input" in changes:
                ref = columns["input"].get("ref")
                queries.note_leftover(session, team_id=team_id, schedule_id=row.id, location=ref)
            queries.update_schedule(session, team_id=team_id, schedule_id=row.id, values=columns)
            audit.record(session, "schedule.updated", row.id, team_id=team_id, before=told, after=_told(row))
            return _set_going(session, row, moment)
    except IntegrityError as error:
        raise _name_taken(error, new.name) from None


def _merged(row: ScheduleRow, changes: Mapping[str, Any]) -> NewSchedule:
    unknown = set(changes) - {field.name for field in fields(NewSchedule)}
    if unknown or "paused" in changes:
        name = min(unknown or {"paused"})
        raise invalid_field(f"/{name}", "unknown-field", f"{name} cannot be changed so", changes[name])
    given = dict(changes)
    if any(given.get(kind) is not None for kind in KINDS):
        given = dict.fromkeys(KINDS) | given  # another kind of timetable replaces the one it had
    kept = {
        field.name: getattr(row, field.name)
        for field in fields(NewSchedule)
        if field.name not in {"input", "metadata", "budget", "paused"}
    }
    budget = None if row.budget is None else budgets.from_row(row.budget)
    whole = {"metadata": row.labels, "budget": budget, **kept, **given}
    if "input" not in given:
        whole["input"] = values.unpack(row.input)
    return NewSchedule(**whole)


def _set_going(session: Session, row: ScheduleRow, moment: datetime) -> Schedule:
    """Let a schedule go on from now: no time before now, and none that it has fired for."""
    following = None
    if row.paused_at is None:
        following = timetable(row).after(max(moment, row.last_fire_at or moment))
    queries.update_schedule(session, team_id=row.team_id, schedule_id=row.id, values={"next_fire_at": following})
    return shown(row, moment)


def get_schedule(ref: str, *, team_id: str) -> Schedule:
    """A schedule by its id or name, with its next ten fire times. Raises NotFound."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id)
        return shown(row, queries.current_time(session), whole=True)


def list_schedules(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[Schedule]:  # fmt: skip
    """A page of schedules in one of ``ORDERS``. Raises Invalid for a cursor that is none."""
    if sort in BY_NAME:
        span, key = Span(limit=limit + 1, after=cursor, sort=sort), attrgetter("name")
    else:
        span, key = Span.of_ids("sch", limit=limit, cursor=cursor, sort=sort), attrgetter("id")
    with transaction() as session:
        rows = queries.list_schedules(session, team_id=team_id, span=span)
        moment = queries.current_time(session)
    return cut([shown(row, moment) for row in rows], span, key)


def next_times(ref: str, *, team_id: str, count: int = SHOWN) -> list[datetime]:
    """The next fire times, up to a hundred; none while it is paused. Raises NotFound."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id)
        return upcoming(row, queries.current_time(session), min(count, MOST_SHOWN))


def upcoming(row: ScheduleRow, moment: datetime, count: int) -> list[datetime]:
    """The fire times that a schedule has before it, its overdue one among them."""
    if row.next_fire_at is None or count < 1:
        return []
    return [row.next_fire_at, *timetable(row).upcoming(max(row.next_fire_at, moment), count - 1)]


def pause_schedule(ref: str, *, team_id: str) -> Schedule:
    """Let a schedule fire no more until it is resumed. Raises NotFound."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        moment = queries.current_time(session)
        if row.paused_at is None:
            paused = {"paused_at": moment, "next_fire_at": None}
            queries.update_schedule(session, team_id=team_id, schedule_id=row.id, values=paused)
            audit.record(session, "schedule.paused", row.id, team_id=team_id, after={"name": row.name})
        return shown(row, moment)


def resume_schedule(ref: str, *, team_id: str) -> Schedule:
    """Let a schedule fire again, from now on: times that passed in its pause are not made up. Raises NotFound."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        if row.paused_at is not None:
            queries.update_schedule(session, team_id=team_id, schedule_id=row.id, values={"paused_at": None})
            audit.record(session, "schedule.resumed", row.id, team_id=team_id, after={"name": row.name})
            return _set_going(session, row, queries.current_time(session))
        return shown(row, queries.current_time(session))


def delete_schedule(ref: str, *, team_id: str, expected: Expected = ANYTHING) -> None:
    """Delete a schedule; the jobs that it made stay. Raises NotFound, PreconditionFailed."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        expected.check(row)
        audit.record(session, "schedule.deleted", row.id, team_id=team_id, before=_told(row))
        queries.note_leftover(session, team_id=team_id, schedule_id=row.id, location=None)
        queries.delete_schedule(session, team_id=team_id, schedule_id=row.id)


def list_runs(ref: str, *, team_id: str, limit: int = 50, before: datetime | None = None) -> list[Run]:
    """What became of a schedule's fire times, newest first. Raises NotFound."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id)
        found = queries.list_runs(session, team_id=team_id, schedule_id=row.id, before=before, limit=limit)
        return [_run(one) for one in found]


def _find(session: Session, ref: str, *, team_id: str, lock: bool = False) -> ScheduleRow:
    row = queries.find_schedule(session, team_id=team_id, ref=ref, lock=lock)
    if row is None:
        raise NotFound(f"there is no schedule {ref}")
    return row


def status_of(row: ScheduleRow) -> str:
    """Where a schedule stands."""
    if row.paused_at is not None:
        return PAUSED
    return ENDED if row.next_fire_at is None else ACTIVE


def shown(row: ScheduleRow, moment: datetime, *, whole: bool = False) -> Schedule:
    """A schedule as callers get it; ``whole`` reads a large input from the file store."""
    read = values.unpack if whole else values.peek
    return Schedule(
        id=row.id, team_id=row.team_id, name=row.name, agent=row.agent, action=row.action, version=row.version,
        input=read(row.input), priority=row.priority, metadata=row.labels, budget=row.budget, cron=row.cron,
        timezone=row.timezone, every=row.every, at=row.at, ends_at=row.ends_at, catch_up=row.catch_up,
        status=status_of(row), paused_at=row.paused_at, next_fire_at=row.next_fire_at, last_fire_at=row.last_fire_at,
        next=upcoming(row, moment, SHOWN), failures=row.failures, last_error=row.last_error,
        created_at=row.created_at, updated_at=row.updated_at,
    )  # fmt: skip


def _run(row: RunRow) -> Run:
    return Run(
        fire_at=row.fire_at, outcome=row.outcome, manual=row.manual, job_id=row.job_id, error=row.error,
        created_at=row.created_at,
    )  # fmt: skip
