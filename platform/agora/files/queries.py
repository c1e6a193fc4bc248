"""SQL about files."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.files.models import FileRow
from agora.paging import Span


def insert_file(session: Session, *, team_id: str, file_id: str, **columns: str | int) -> bool:
    """Insert a file; False when a file of that id exists already."""
    statement = insert(FileRow).values(id=file_id, team_id=team_id, **columns).on_conflict_do_nothing()
    return session.scalar(statement.returning(FileRow.id)) is not None


def find_file(session: Session, *, team_id: str, file_id: str) -> FileRow | None:
    """One file of the team."""
    return session.scalar(select(FileRow).where(FileRow.id == file_id, FileRow.team_id == team_id))


def list_files(session: Session, *, team_id: str, span: Span) -> Sequence[FileRow]:
    """A page of the team's files."""
    statement = select(FileRow).where(FileRow.team_id == team_id)
    return session.scalars(span.of(statement, FileRow.id)).all()
