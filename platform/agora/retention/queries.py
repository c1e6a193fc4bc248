"""SQL about legal holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from agora.paging import Span
from agora.retention.models import HoldRow

SPACE, REMOVING = 0x0A60, 20
WAIT = text("SELECT pg_advisory_xact_lock(:space, :lock)")


def wait_for_removals(session: Session) -> None:
    """Wait for the removal that is under way, and keep the next one waiting until this transaction has ended."""
    session.execute(WAIT, {"space": SPACE, "lock": REMOVING})


def insert_hold(
    session: Session, *, team_id: str, hold_id: str, name: str, metadata: Mapping[str, Any], key_id: str | None
) -> HoldRow:
    """Insert a hold."""
    row = HoldRow(id=hold_id, team_id=team_id, name=name, labels=dict(metadata), created_by=key_id)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def find_hold(session: Session, *, team_id: str, hold_id: str, lock: bool = False) -> HoldRow | None:
    """One hold of the team."""
    statement = select(HoldRow).where(HoldRow.id == hold_id, HoldRow.team_id == team_id)
    return session.scalar(statement.with_for_update() if lock else statement)


def list_holds(session: Session, *, team_id: str, span: Span, released: bool) -> Sequence[HoldRow]:
    """Holds; those in force, or with ``released`` all."""
    statement = select(HoldRow).where(HoldRow.team_id == team_id)
    if not released:
        statement = statement.where(HoldRow.released_at.is_(None))
    return session.scalars(span.of(statement, HoldRow.id)).all()


def release_hold(session: Session, *, team_id: str, hold_id: str, key_id: str | None) -> bool:
    """End a hold; False when it has ended before."""
    statement = (
        update(HoldRow)
        .where(HoldRow.id == hold_id, HoldRow.team_id == team_id, HoldRow.released_at.is_(None))
        .values(released_at=func.now(), released_by=key_id)
    )
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined,no-any-return]
