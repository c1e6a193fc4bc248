"""SQL about projects. Every function is scoped by team."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
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


def list_conflicts(session: Session, *, team_id: str, project_id: str) -> Sequence[ConflictRow]:
    """The open conflicts of a project."""
    statement = select(ConflictRow).where(
        ConflictRow.team_id == team_id, ConflictRow.project_id == project_id, ConflictRow.status == "open"
    )
    return session.scalars(statement.order_by(ConflictRow.id)).all()
