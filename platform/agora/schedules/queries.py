"""SQL about schedules."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.paging import Span
from agora.schedules.models import RunRow, ScheduleRow
from agora.schedules.types import BY_NAME


def insert_schedule(session: Session, *, team_id: str, **columns: Any) -> ScheduleRow:
    """Insert a schedule. Raises IntegrityError for a name that the team has already."""
    row = ScheduleRow(team_id=team_id, **columns)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def find_schedule(session: Session, *, team_id: str, ref: str, lock: bool = False) -> ScheduleRow | None:
    """A schedule by its id or name."""
    statement = select(ScheduleRow).where(
        ScheduleRow.team_id == team_id, (ScheduleRow.id == ref) | (ScheduleRow.name == ref)
    )
    return session.scalars(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


def list_schedules(session: Session, *, team_id: str, span: Span) -> Sequence[ScheduleRow]:
    """Schedules, by id or by name: a team has each name once."""
    statement = select(ScheduleRow).where(ScheduleRow.team_id == team_id)
    key = ScheduleRow.name if span.sort in BY_NAME else ScheduleRow.id
    return session.scalars(span.of(statement, key)).all()


def update_schedule(session: Session, *, team_id: str, schedule_id: str, values: Mapping[str, Any]) -> None:
    """Set attributes of a schedule that the caller has locked, and note the moment."""
    row = find_schedule(session, team_id=team_id, ref=schedule_id)
    if row is None:
        raise LookupError(schedule_id)
    for name, value in values.items():
        setattr(row, name, value)
    row.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(row)


def note_fired(session: Session, *, team_id: str, schedule_id: str, values: Mapping[str, Any]) -> None:
    """Set attributes of a schedule that the caller has locked: no edit, so ``updated_at`` stays."""
    statement = update(ScheduleRow).where(ScheduleRow.id == schedule_id, ScheduleRow.team_id == team_id)
    session.execute(statement.values(dict(values)))


LEFT_OVER = text("""
INSERT INTO leftovers (location, team_id)
SELECT input ->> 'ref', team_id FROM schedules
WHERE id = :schedule_id AND team_id = :team_id AND input ? 'ref'
  AND input ->> 'ref' IS DISTINCT FROM CAST(:location AS text)
ON CONFLICT DO NOTHING
""")


def note_leftover(session: Session, *, team_id: str, schedule_id: str, location: str | None) -> None:
    """Note the content of a large input, before its schedule refers to ``location`` instead, or to none.

    Retention sees whether a job refers to it.
    """
    session.execute(LEFT_OVER, {"team_id": team_id, "schedule_id": schedule_id, "location": location})


def delete_schedule(session: Session, *, team_id: str, schedule_id: str) -> None:
    """Delete a schedule with its runs; its jobs stay."""
    session.execute(delete(ScheduleRow).where(ScheduleRow.id == schedule_id, ScheduleRow.team_id == team_id))


def list_runs(
    session: Session, *, team_id: str, schedule_id: str, before: datetime | None, limit: int
) -> Sequence[RunRow]:
    """What became of a schedule's fire times, newest first."""
    statement = select(RunRow).where(RunRow.schedule_id == schedule_id, RunRow.team_id == team_id)
    if before is not None:
        statement = statement.where(RunRow.fire_at < before)
    return session.scalars(statement.order_by(RunRow.fire_at.desc()).limit(limit)).all()


def insert_run(session: Session, *, team_id: str, **columns: Any) -> bool:
    """Note what becomes of a fire time; False when that is noted already: then it is not to be fired."""
    statement = insert(RunRow).values(team_id=team_id, **columns).on_conflict_do_nothing()
    return session.execute(statement.returning(RunRow.schedule_id)).first() is not None


def find_due(session: Session, *, slice_: int) -> Sequence[ScheduleRow]:
    """Schedules whose next fire time has come, of all teams, the longest overdue first."""
    statement = select(ScheduleRow).where(ScheduleRow.next_fire_at <= func.now())
    return session.scalars(statement.order_by(ScheduleRow.next_fire_at).limit(slice_)).all()


def hold_due(session: Session, *, schedule_id: str, fire_at: datetime, updated_at: datetime) -> ScheduleRow | None:
    """Lock a schedule that still has this next fire time and was not edited; None when it has not, or is held."""
    statement = select(ScheduleRow).where(
        ScheduleRow.id == schedule_id, ScheduleRow.next_fire_at == fire_at, ScheduleRow.updated_at == updated_at
    )
    return session.scalars(statement.with_for_update(key_share=True, skip_locked=True)).one_or_none()


NOW = text("SELECT now()")


def current_time(session: Session) -> datetime:
    """What time it is in Postgres: the clock that schedules go by."""
    moment: datetime = session.execute(NOW).scalar_one()
    return moment


FORGET = text("""
DELETE FROM schedule_runs WHERE (schedule_id, fire_at) IN (
    SELECT schedule_id, fire_at FROM schedule_runs
    WHERE created_at < now() - make_interval(days => :days)
    ORDER BY created_at LIMIT :limit)
""")


def forget_runs(session: Session, *, days: int, limit: int) -> int:
    """Delete old runs of all teams."""
    return session.execute(FORGET, {"days": days, "limit": limit}).rowcount  # type: ignore[attr-defined,no-any-return]
