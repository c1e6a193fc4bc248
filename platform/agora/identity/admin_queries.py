"""SQL about all teams and users, for administrators of the platform. Of teams: who they are and counts, no content."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ScalarSelect, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from agora.identity.models import ApiKeyRow, MemberRow, SessionRow, SystemRoleRow, TeamRow, UserRow
from agora.paging import Span


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamSummary:
    """A team as administrators see it."""

    id: str
    name: str
    handle: str | None
    personal: bool
    members: int
    keys: int
    created_at: datetime


def list_teams(session: Session, *, span: Span) -> list[TeamSummary]:
    """A page of all teams."""
    return _summaries(session, span.of(_teams(), TeamRow.id))


def find_team(session: Session, team_id: str) -> TeamSummary | None:
    """One team."""
    return next(iter(_summaries(session, _teams().where(TeamRow.id == team_id))), None)


def _teams() -> Select[TeamRow, int, int]:
    keys = select(func.count()).where(ApiKeyRow.team_id == TeamRow.id, ApiKeyRow.revoked_at.is_(None))
    members = select(func.count()).where(MemberRow.team_id == TeamRow.id)
    return select(TeamRow, _number(members), _number(keys))


def _number(statement: Select[int]) -> ScalarSelect[int]:
    return statement.correlate(TeamRow).scalar_subquery()


def _summaries(session: Session, statement: Select[TeamRow, int, int]) -> list[TeamSummary]:
    return [
        TeamSummary(
            id=row.id, name=row.name, handle=row.handle, personal=row.personal_of is not None, members=members,
            keys=keys, created_at=row.created_at,
        )
        for row, members, keys in session.execute(statement)
    ]  # fmt: skip


def list_users(session: Session, *, span: Span, email: str | None) -> Sequence[UserRow]:
    """A page of all users; of one address, if it is given."""
    statement = select(UserRow)
    return session.scalars(
        span.of(statement if email is None else statement.where(UserRow.email == email), UserRow.id)
    ).all()


def list_roles(session: Session, user_ids: Sequence[str] | None = None) -> Sequence[tuple[SystemRoleRow, UserRow]]:
    """Who has which system role, of some users or all, in the order in which they were granted."""
    statement = select(SystemRoleRow, UserRow).join(UserRow, UserRow.id == SystemRoleRow.user_id)
    if user_ids is not None:
        statement = statement.where(SystemRoleRow.user_id.in_(user_ids))
    found = session.execute(statement.order_by(SystemRoleRow.created_at, SystemRoleRow.user_id, SystemRoleRow.role))
    return [(role, user) for role, user in found]


def grant(session: Session, *, user_id: str, role: str, granted_by: str | None) -> bool:
    """Give a user a system role; one that they have stays as it was granted. Whether it is new."""
    statement = insert(SystemRoleRow).values(user_id=user_id, role=role, granted_by=granted_by)
    return session.scalar(statement.on_conflict_do_nothing().returning(SystemRoleRow.role)) is not None


def revoke(session: Session, *, user_id: str, role: str) -> bool:
    """Take a system role away; whether the user had it."""
    statement = delete(SystemRoleRow).where(SystemRoleRow.user_id == user_id, SystemRoleRow.role == role)
    return session.scalar(statement.returning(SystemRoleRow.user_id)) is not None


def count_accounts(session: Session, *, since: datetime) -> dict[str, int]:
    """How many users, teams and keys there are; ``active``: users with a session that was used since then."""
    counts: dict[str, tuple[InstrumentedAttribute[str], tuple[object, ...]]] = {
        "users": (UserRow.id, ()),
        "confirmed": (UserRow.id, (UserRow.verified_at.is_not(None),)),
        "disabled": (UserRow.id, (UserRow.disabled_at.is_not(None),)),
        "with_second_factor": (UserRow.id, (UserRow.totp_since.is_not(None),)),
        "active": (SessionRow.user_id, (SessionRow.used_at >= since,)),
        "teams": (TeamRow.id, ()),
        "personal_teams": (TeamRow.id, (TeamRow.personal_of.is_not(None),)),
        "api_keys": (ApiKeyRow.id, (ApiKeyRow.revoked_at.is_(None),)),
    }
    columns = [
        select(func.count(column.distinct())).where(*wanted).scalar_subquery().label(name)  # type: ignore[arg-type]
        for name, (column, wanted) in counts.items()
    ]
    return dict(session.execute(select(*columns)).one()._mapping)  # noqa: SLF001  # SQLAlchemy's own name for it
