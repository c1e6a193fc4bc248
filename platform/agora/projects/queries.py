"""SQL about projects. Every function is scoped by team."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult, Update, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.projects.models import ConflictRow, ProjectRow, SessionRow, SpecificationRow


def insert_project(session: Session, *, team_id: str, project_id: str, origin: str, **columns: Any) -> bool:
    """Insert a project; False when its origin has made one already."""
    statement = insert(ProjectRow).values(id=project_id, team_id=team_id, origin=origin, **columns)
    return session.scalar(statement.on_conflict_do_nothing().returning(ProjectRow.id)) is not None


def find_project_of(session: Session, *, team_id: str, origin: str) -> ProjectRow | None:
    """The project that a root job has made."""
    return session.scalar(select(ProjectRow).where(ProjectRow.team_id == team_id, ProjectRow.origin == origin))


def find_project(session: Session, *, team_id: str, project_id: str) -> ProjectRow | None:
    """One project of the team."""
    return session.scalar(select(ProjectRow).where(ProjectRow.id == project_id, ProjectRow.team_id == team_id))


def hold_project(session: Session, *, team_id: str, project_id: str) -> ProjectRow | None:
    """One project of the team, locked."""
    statement = select(ProjectRow).where(ProjectRow.id == project_id, ProjectRow.team_id == team_id)
    return session.scalar(statement.with_for_update(key_share=True))


def set_project(session: Session, *, team_id: str, project_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a project that the caller has locked."""
    statement = update(ProjectRow).where(ProjectRow.id == project_id, ProjectRow.team_id == team_id)
    session.execute(statement.values(dict(values)))


def move_project(session: Session, *, team_id: str, project_id: str, phase: str, sources: Sequence[str]) -> bool:
    """Move a project to a phase; False when it is in none of the phases ``sources``."""
    statement = update(ProjectRow).where(
        ProjectRow.id == project_id, ProjectRow.team_id == team_id, ProjectRow.phase.in_(sources)
    )
    return _changes(session, statement.values(phase=phase))


def _changes(session: Session, statement: Update) -> bool:
    result = session.execute(statement)
    return isinstance(result, CursorResult) and result.rowcount > 0


def insert_session(session: Session, *, team_id: str, project_id: str, session_id: str, **columns: Any) -> None:
    """Insert a session of a project."""
    session.execute(insert(SessionRow).values(id=session_id, team_id=team_id, project_id=project_id, **columns))


def find_sessions(session: Session, *, team_id: str, project_id: str) -> Sequence[SessionRow]:
    """The sessions of a project, oldest first."""
    statement = select(SessionRow).where(SessionRow.project_id == project_id, SessionRow.team_id == team_id)
    return session.scalars(statement.order_by(SessionRow.id)).all()


def insert_specifications(session: Session, *, team_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert specifications, all at once."""
    if rows:
        session.execute(insert(SpecificationRow), [{**row, "team_id": team_id} for row in rows])


def insert_conflicts(session: Session, *, team_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert conflicts, all at once."""
    if rows:
        session.execute(insert(ConflictRow), [{**row, "team_id": team_id} for row in rows])


def list_specifications(session: Session, *, team_id: str, project_id: str) -> Sequence[SpecificationRow]:
    """The current specifications of a project, in the order in which they came to be."""
    statement = select(SpecificationRow).where(
        SpecificationRow.team_id == team_id, SpecificationRow.project_id == project_id, SpecificationRow.current
    )
    return session.scalars(statement.order_by(SpecificationRow.id)).all()


def find_specification(
    session: Session, *, team_id: str, project_id: str, specification_id: str
) -> SpecificationRow | None:
    """A specification of a project, whatever its state."""
    statement = select(SpecificationRow).where(
        SpecificationRow.team_id == team_id, SpecificationRow.project_id == project_id,
        SpecificationRow.id == specification_id,
    )  # fmt: skip
    return session.scalar(statement)


def list_conflicts(session: Session, *, team_id: str, project_id: str) -> Sequence[ConflictRow]:
    """The open conflicts of a project."""
    statement = select(ConflictRow).where(
        ConflictRow.team_id == team_id, ConflictRow.project_id == project_id, ConflictRow.status == "open"
    )
    return session.scalars(statement.order_by(ConflictRow.id)).all()


def hold_specification(session: Session, *, team_id: str, specification_id: str) -> SpecificationRow | None:
    """One specification of the team, locked."""
    statement = select(SpecificationRow).where(
        SpecificationRow.id == specification_id, SpecificationRow.team_id == team_id
    )
    return session.scalar(statement.with_for_update(key_share=True))


def set_specification(session: Session, *, team_id: str, specification_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a specification that the caller has locked."""
    statement = update(SpecificationRow).where(
        SpecificationRow.id == specification_id, SpecificationRow.team_id == team_id
    )
    session.execute(statement.values(dict(values)))


def supersede_specification(
    session: Session, *, team_id: str, specification_id: str, superseded_by: str, sources: Sequence[str]
) -> bool:
    """Note that another specification stands for its key; False when it is in none of the states ``sources``."""
    statement = update(SpecificationRow).where(
        SpecificationRow.id == specification_id, SpecificationRow.team_id == team_id,
        SpecificationRow.status.in_(sources),
    )  # fmt: skip
    return _changes(session, statement.values(status="superseded", current=False, superseded_by=superseded_by))


def hold_conflict(session: Session, *, team_id: str, conflict_id: str) -> ConflictRow | None:
    """One conflict of the team, locked."""
    statement = select(ConflictRow).where(ConflictRow.id == conflict_id, ConflictRow.team_id == team_id)
    return session.scalar(statement.with_for_update(key_share=True))


def move_conflict(session: Session, *, team_id: str, conflict_id: str, status: str, sources: Sequence[str]) -> bool:
    """Move a conflict; False when it is in none of the states ``sources``."""
    statement = update(ConflictRow).where(
        ConflictRow.id == conflict_id, ConflictRow.team_id == team_id, ConflictRow.status.in_(sources)
    )
    return _changes(session, statement.values(status=status))
