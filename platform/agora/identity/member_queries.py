"""SQL about members of teams, and invitations."""

from collections.abc import Sequence

from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from agora.identity.models import InvitationRow, MemberRow, TeamRow, UserRow

OPEN = InvitationRow.accepted_at.is_(None) & InvitationRow.revoked_at.is_(None)


def list_teams(session: Session, user_id: str) -> Sequence[Row[TeamRow, str]]:
    """The teams of a user with their role, their own first."""
    statement = (
        select(TeamRow, MemberRow.role)
        .join(MemberRow, MemberRow.team_id == TeamRow.id)
        .where(MemberRow.user_id == user_id)
        .order_by(TeamRow.personal_of.is_(None), TeamRow.id)
    )
    return session.execute(statement).all()


def list_members(session: Session, *, team_id: str) -> Sequence[Row[MemberRow, UserRow]]:
    """The members of a team, the first to come first."""
    statement = (
        select(MemberRow, UserRow)
        .join(UserRow, UserRow.id == MemberRow.user_id)
        .where(MemberRow.team_id == team_id)
        .order_by(MemberRow.created_at, MemberRow.user_id)
    )
    return session.execute(statement).all()


def lock_team(session: Session, *, team_id: str) -> None:
    """Who changes members or invitations takes the team first, as the trigger that keeps an owner does at the end."""
    session.execute(select(TeamRow.id).where(TeamRow.id == team_id).with_for_update(key_share=True))


def find_member(session: Session, *, team_id: str, user_id: str, lock: bool = False) -> MemberRow | None:
    """A member."""
    return session.get(MemberRow, (team_id, user_id), with_for_update=True if lock else None)


def is_member(session: Session, *, team_id: str, email: str) -> bool:
    """Whether somebody with this address is one."""
    statement = select(MemberRow.user_id).join(UserRow, UserRow.id == MemberRow.user_id)
    return session.scalar(statement.where(MemberRow.team_id == team_id, UserRow.email == email)) is not None


def revoke_open(
    session: Session, *, team_id: str, email: str | None = None, invitation_id: str | None = None,
    invited_by: Sequence[str] | None = None,
) -> int:  # fmt: skip
    """Take open invitations back: that of an address, one by its id, or those that some made; how many."""
    statement = update(InvitationRow).where(InvitationRow.team_id == team_id, OPEN)
    if email is not None:
        statement = statement.where(InvitationRow.email == email)
    if invitation_id is not None:
        statement = statement.where(InvitationRow.id == invitation_id)
    if invited_by is not None:
        statement = statement.where(InvitationRow.invited_by.in_(invited_by))
    return len(session.scalars(statement.values(revoked_at=func.now()).returning(InvitationRow.id)).all())


def count_open(session: Session, *, team_id: str) -> int:
    """How many invitations are open."""
    statement = (
        select(func.count())
        .select_from(InvitationRow)
        .where(InvitationRow.team_id == team_id, OPEN, InvitationRow.expires_at > func.now())
    )
    return session.scalar(statement) or 0


def list_open(session: Session, *, team_id: str) -> Sequence[InvitationRow]:
    """Open invitations that have not run out, the newest first."""
    statement = select(InvitationRow).where(
        InvitationRow.team_id == team_id, OPEN, InvitationRow.expires_at > func.now()
    )  # fmt: skip
    return session.scalars(statement.order_by(InvitationRow.id.desc())).all()


def lock_invitation(session: Session, invitation_id: str) -> InvitationRow | None:
    """An invitation that a token names, and its team before it: whoever invites takes both in this order."""
    named = select(InvitationRow.team_id).where(InvitationRow.id == invitation_id).scalar_subquery()
    session.execute(select(TeamRow.id).where(TeamRow.id == named).with_for_update(key_share=True))
    return session.get(InvitationRow, invitation_id, with_for_update=True)
