"""SQL about entries of the audit log: written in either database, listed, copied, removed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.dialects.postgresql import insert as insert_new
from sqlalchemy.orm import Session

from agora.audit.models import EntryRow, OfUserRow, OutboxRow
from agora.audit.types import Filter
from agora.ids import floor_id
from agora.paging import Span

INSERT = {"auth": insert(EntryRow), "main": insert(OutboxRow)}
COLUMNS = tuple(column.key for column in OutboxRow.__table__.columns)
COLUMNS_OF_USERS = tuple(column.key for column in OfUserRow.__table__.columns)
MARGIN = timedelta(seconds=1)
"""An id is made a moment after the time that its entry notes."""
EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Ids know no time before 1970, and Python none behind 9999."""
ALLOW = text("SELECT set_config('agora.audit_before', :moment, true)")
FOR_GOOD = "infinity"


def insert_entries(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write entries into the log, or in main into what is copied to it."""
    session.execute(INSERT[session.info["database"]], list(rows))


def insert_of_user(session: Session, row: Mapping[str, Any]) -> None:
    """Write an entry about a user, which is to come into the log of each of their teams."""
    session.execute(insert(OfUserRow), [row])


def list_entries(session: Session, *, team_id: str, filters: Filter, span: Span) -> Sequence[EntryRow]:
    """A page of a team's entries."""
    statement = select(EntryRow).where(EntryRow.team_id == team_id)
    if filters.actor is not None:
        statement = statement.where(EntryRow.actor_id == filters.actor)
    if filters.action is not None and filters.action.endswith("*"):
        statement = statement.where(EntryRow.action.startswith(filters.action[:-1], autoescape=True))
    elif filters.action is not None:
        statement = statement.where(EntryRow.action == filters.action)
    for name in ("object_type", "object_id", "address"):
        if getattr(filters, name) is not None:
            statement = statement.where(getattr(EntryRow, name) == getattr(filters, name))
    if filters.since is not None:
        statement = statement.where(EntryRow.at >= filters.since, EntryRow.id >= _id_at(filters.since, -MARGIN))
    if filters.until is not None:
        statement = statement.where(EntryRow.at < filters.until, EntryRow.id < _id_at(filters.until, MARGIN))
    return session.scalars(span.of(statement, EntryRow.id)).all()


def _id_at(moment: datetime, margin: timedelta) -> str:
    return floor_id("aud", min(max(moment, EARLIEST), LATEST) + margin)


def lock_outbox(session: Session, *, slice_: int) -> list[dict[str, Any]]:
    """The oldest entries that are still to be copied, locked; not those that another dispatcher has."""
    statement = select(OutboxRow).order_by(OutboxRow.id).limit(slice_).with_for_update(skip_locked=True)
    return [{name: getattr(row, name) for name in COLUMNS} for row in session.scalars(statement)]


def lock_of_users(session: Session, *, slice_: int) -> list[dict[str, Any]]:
    """Likewise the oldest entries about users."""
    statement = select(OfUserRow).order_by(OfUserRow.id).limit(slice_).with_for_update(skip_locked=True)
    return [{name: getattr(row, name) for name in COLUMNS_OF_USERS} for row in session.scalars(statement)]


def insert_copied(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what came from main into the log; what is there already stays as it is."""
    session.execute(insert_new(EntryRow).on_conflict_do_nothing(index_elements=["id"]), list(rows))


def forget_copied(session: Session, ids: Sequence[str]) -> None:
    """Remove from main what the log has."""
    allow_removal(session, before=None)
    session.execute(delete(OutboxRow).where(OutboxRow.id.in_(ids)))


def forget_of_users(session: Session, ids: Sequence[str]) -> None:
    """Remove what the logs of teams have."""
    allow_removal(session, before=None)
    session.execute(delete(OfUserRow).where(OfUserRow.id.in_(ids)))


def allow_removal(session: Session, *, before: datetime | None) -> None:
    """Let this transaction remove entries that are older than a moment; None: any. Nothing else may."""
    session.execute(ALLOW, {"moment": FOR_GOOD if before is None else before.isoformat()})


def remove_entries(session: Session, *, team_id: str, up_to: int, before: datetime) -> int:
    """Remove the beginning of a team's chain, of which every entry is older than a moment; how many."""
    allow_removal(session, before=before)
    old = delete(EntryRow).where(EntryRow.team_id == team_id, EntryRow.seq <= up_to)
    return len(session.scalars(old.returning(EntryRow.id)).all())
