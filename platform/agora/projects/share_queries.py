"""SQL about shares of projects, and what a team can reach by them. Every function is scoped by team."""

from collections.abc import Sequence

from sqlalchemy import Row, delete, func, literal, null, select, text, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.paging import Span
from agora.projects.models import ConflictRow, ProjectRow, ProjectShareRow, SpecificationRow


def find_access(session: Session, *, team_id: str, project_id: str, lock: bool = False) -> tuple[str, str] | None:
    """Whose a project is, and `own` or how it is shared with this team; None when it is neither."""
    share = select(ProjectShareRow.team_id, ProjectShareRow.access).where(
        ProjectShareRow.project_id == project_id, ProjectShareRow.with_team_id == team_id
    )
    own = select(ProjectRow.team_id).where(ProjectRow.id == project_id, ProjectRow.team_id == team_id)
    owner = session.scalar(own)
    if owner is not None:
        return owner, "own"
    found = session.execute(share.with_for_update(read=True) if lock else share).one_or_none()
    return None if found is None else (found.team_id, found.access)


def find_project_of(
    session: Session, *, team_id: str, kind: type[SpecificationRow | ConflictRow], item_id: str
) -> str | None:
    """The project that a specification or conflict is of, if the team can reach it."""
    shared = select(ProjectShareRow.project_id).where(ProjectShareRow.with_team_id == team_id)
    statement = select(kind.project_id).where(
        kind.id == item_id, (kind.team_id == team_id) | kind.project_id.in_(shared)
    )
    return session.scalar(statement)


def list_reachable(session: Session, *, team_id: str, span: Span) -> Sequence[Row[ProjectRow, str | None]]:
    """The projects of a team and those that are shared with it, each with the share's access."""
    own = select(ProjectRow.id, null().label("access")).where(ProjectRow.team_id == team_id)
    shared = select(ProjectShareRow.project_id, ProjectShareRow.access).where(ProjectShareRow.with_team_id == team_id)
    both = union_all(
        select(span.of(own, ProjectRow.id).subquery()), select(span.of(shared, ProjectShareRow.project_id).subquery())
    ).subquery()
    statement = select(ProjectRow, both.c.access).join(both, both.c.id == ProjectRow.id)
    return session.execute(span.of(statement, ProjectRow.id)).all()


def count_of(session: Session, *, team_id: str, project_id: str) -> tuple[int, int]:
    """How many current specifications and open conflicts a project of the team has."""
    specifications = select(func.count()).where(
        SpecificationRow.team_id == team_id, SpecificationRow.project_id == project_id, SpecificationRow.current
    )
    conflicts = select(func.count()).where(
        ConflictRow.team_id == team_id, ConflictRow.project_id == project_id, ConflictRow.status == literal("open")
    )
    found = session.execute(select(specifications.scalar_subquery(), conflicts.scalar_subquery())).one()
    return found[0], found[1]


LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


def lock_share(session: Session, *, team_id: str, project_id: str, with_team_id: str) -> None:
    """Let nobody else set or end a share before this transaction has ended, also one that is not there yet."""
    session.execute(LOCK, {"name": f"share {team_id} {project_id} {with_team_id}"})


def find_share(session: Session, *, team_id: str, project_id: str, with_team_id: str) -> ProjectShareRow | None:
    """How a project of the team is shared with another."""
    statement = select(ProjectShareRow).where(
        ProjectShareRow.team_id == team_id, ProjectShareRow.project_id == project_id,
        ProjectShareRow.with_team_id == with_team_id,
    )  # fmt: skip
    return session.scalar(statement)


def put_share(
    session: Session, *, team_id: str, project_id: str, with_team_id: str, access: str, created_by: str
) -> ProjectShareRow:
    """Share a project, or change the access of a share that there is."""
    statement = insert(ProjectShareRow).values(
        project_id=project_id, team_id=team_id, with_team_id=with_team_id, access=access, created_by=created_by
    )
    statement = statement.on_conflict_do_update(
        index_elements=["project_id", "with_team_id"], set_={"access": statement.excluded.access}
    )
    return session.scalars(statement.returning(ProjectShareRow)).one()


def list_shares(session: Session, *, team_id: str, project_id: str) -> Sequence[ProjectShareRow]:
    """With whom a project of the team is shared, the first share first."""
    statement = select(ProjectShareRow).where(
        ProjectShareRow.team_id == team_id, ProjectShareRow.project_id == project_id
    )
    return session.scalars(statement.order_by(ProjectShareRow.created_at, ProjectShareRow.with_team_id)).all()


def delete_share(session: Session, *, team_id: str, project_id: str, with_team_id: str) -> None:
    """End a share."""
    statement = delete(ProjectShareRow).where(
        ProjectShareRow.team_id == team_id, ProjectShareRow.project_id == project_id,
        ProjectShareRow.with_team_id == with_team_id,
    )  # fmt: skip
    session.execute(statement)
