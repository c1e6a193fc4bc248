"""SQL about users: they belong to no team, and are found by what only they or the operator know."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from agora.identity.models import (
    InvitationRow,
    MailRow,
    MemberRow,
    OidcFlowRow,
    OneTimeTokenRow,
    SessionRow,
    SigningKeyRow,
    SystemRoleRow,
    TeamRow,
    UserRow,
)


def insert_user(session: Session, *, user_id: str, email: str, name: str, password_hash: str) -> UserRow | None:
    """Insert a user; None when there is one with this address."""
    statement = insert(UserRow).values(id=user_id, email=email, name=name, password_hash=password_hash)
    made = session.scalar(statement.on_conflict_do_nothing().returning(UserRow.id))
    return None if made is None else session.get(UserRow, made)


def find_by_email(session: Session, email: str, *, lock: bool = False) -> UserRow | None:
    """The user with this address."""
    statement = select(UserRow).where(UserRow.email == email)
    return session.scalar(statement.with_for_update() if lock else statement)


def find(session: Session, user_id: str, *, lock: bool = False) -> UserRow | None:
    """The user with this id."""
    return session.get(UserRow, user_id, with_for_update=True if lock else None)


def list_users(session: Session) -> Sequence[UserRow]:
    """All users, the newest last."""
    return session.scalars(select(UserRow).order_by(UserRow.id)).all()


def find_personal_team(session: Session, user_id: str) -> str | None:
    """The id of a user's own team."""
    return session.scalar(select(TeamRow.id).where(TeamRow.personal_of == user_id))


def list_team_ids(session: Session, user_id: str) -> Sequence[str]:
    """The ids of the teams that a user is a member of."""
    return session.scalars(select(MemberRow.team_id).where(MemberRow.user_id == user_id)).all()


def list_team_ids_of(session: Session, user_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Likewise of several users at once; who is in none, or is no user, is left out."""
    found = defaultdict[str, list[str]](list)
    statement = select(MemberRow.user_id, MemberRow.team_id).where(MemberRow.user_id.in_(user_ids))
    for user_id, team_id in session.execute(statement):
        found[user_id].append(team_id)
    return found


def count_teams(session: Session, user_id: str) -> int:
    """How many teams a user is a member of."""
    return session.scalar(select(func.count()).select_from(MemberRow).where(MemberRow.user_id == user_id)) or 0


def find_role(session: Session, *, team_id: str, user_id: str) -> str | None:
    """A user's role in a team; None: not a member."""
    return session.scalar(select(MemberRow.role).where(MemberRow.team_id == team_id, MemberRow.user_id == user_id))


def list_system_roles(session: Session, user_id: str) -> Sequence[str]:
    """What a user is for the whole platform; mostly nothing."""
    return session.scalars(select(SystemRoleRow.role).where(SystemRoleRow.user_id == user_id)).all()


def has_signed_in_from(session: Session, *, email: str, address: str, days: int) -> bool:
    """Whether an account has had a session from an address within so many days."""
    found = (
        select(SessionRow.id)
        .join(UserRow, UserRow.id == SessionRow.user_id)
        .where(UserRow.email == email, SessionRow.address == address)
        .where(SessionRow.used_at > func.now() - func.make_interval(0, 0, 0, days))
    )
    return session.scalar(found.limit(1)) is not None


def lock_due_mail(session: Session) -> MailRow | None:
    """A mail that is due, and that nobody else is sending."""
    due = select(MailRow).where(MailRow.next_at <= func.now()).order_by(MailRow.next_at).limit(1)
    return session.scalar(due.with_for_update(skip_locked=True))


def forget_mail(session: Session, mail_id: str) -> None:
    """Remove a mail: it was sent, or is given up."""
    session.execute(delete(MailRow).where(MailRow.id == mail_id))


def forget_ended(session: Session, *, days: int, slice_: int) -> int:
    """Remove sessions, one-time tokens and invitations that ended so many days ago, up to a slice of each; how many.

    And sign-ins at a provider from which nobody came back in time.
    """
    before = func.now() - func.make_interval(0, 0, 0, days)
    gone = 0
    for kind, ended in (
        (SessionRow, (SessionRow.expires_at < before) | (SessionRow.revoked_at < before)),
        (OneTimeTokenRow, OneTimeTokenRow.expires_at < before),
        (InvitationRow, InvitationRow.expires_at < before),
    ):
        ids = select(kind.id).where(ended).limit(slice_)
        gone += len(session.scalars(delete(kind).where(kind.id.in_(ids)).returning(kind.id)).all())
    over = select(OidcFlowRow.state_hash).where(OidcFlowRow.expires_at < func.now()).limit(slice_)
    flows = delete(OidcFlowRow).where(OidcFlowRow.state_hash.in_(over)).returning(OidcFlowRow.state_hash)
    return gone + len(session.scalars(flows).all())


def lock_sealed(
    session: Session,
    kind: type[UserRow | SigningKeyRow | MailRow],
    column: InstrumentedAttribute[Any],
    *,
    after: str,
    slice_: int,
) -> Sequence[Any]:
    """Rows that have something sealed in a column, in order of their ids."""
    statement = select(kind).where(kind.id > after, column.is_not(None)).order_by(kind.id).limit(slice_)
    return session.scalars(statement.with_for_update()).all()
