"""Administrators of the platform: users with system roles, and what they see and do of all teams and users.

A system role gives nothing in a team: its jobs and files are its members'. The last super administrator stays, which
the database sees to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.caching.generations import changing, team_tag, user_tag
from agora.clock import now
from agora.db.session import transaction
from agora.errors import Conflict, Forbidden, NotFound
from agora.identity import admin_queries, sessions, totp, trail, user_queries
from agora.identity.admin_queries import TeamSummary
from agora.identity.models import SystemRoleRow, UserRow
from agora.identity.roles import SystemRole
from agora.identity.users import check_email
from agora.ids import is_id
from agora.paging import Page, Span, cut

LAST_SUPER = "must keep a super administrator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A user as administrators see them."""

    id: str
    email: str
    name: str
    verified_at: datetime | None
    disabled_at: datetime | None
    second_factor: bool
    system_roles: Sequence[SystemRole]
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Granted:
    """A system role that a user has; ``granted_by``: a user, or None for the operator's command line."""

    user_id: str
    email: str
    role: SystemRole
    second_factor: bool
    granted_by: str | None
    created_at: datetime


def list_admins() -> list[Granted]:
    """Every system role that was granted, the oldest first."""
    with transaction("auth") as session:
        return [_granted(row, user) for row, user in admin_queries.list_roles(session)]


def _granted(row: SystemRoleRow, user: UserRow) -> Granted:
    return Granted(
        user_id=user.id, email=user.email, role=SystemRole(row.role), granted_by=row.granted_by,
        second_factor=user.totp_since is not None, created_at=row.created_at,
    )  # fmt: skip


def grant(email: str, role: SystemRole, *, by: str | None) -> Granted:
    """Give a user a system role; ``by`` is who does so, None for the operator's command line.

    Raises:
        Conflict: their address is not confirmed, or they are disabled.
        NotFound: there is no such user.
    """
    user_id = id_of(email)
    with changing(user_tag(user_id)), transaction("auth") as session:
        user = lock_user(session, user_id)
        if user.verified_at is None or user.disabled_at is not None:
            raise Conflict("this account is disabled, or its address is not confirmed")
        if admin_queries.grant(session, user_id=user_id, role=role, granted_by=by):
            told = {"email": user.email, "role": role}
            audit.record(session, "administrator.granted", user_id, team_id=PLATFORM, after=told)
        return _granted(session.get_one(SystemRoleRow, (user_id, role)), user)


def id_of(email: str) -> str:
    """The user with an address. Raises NotFound."""
    with transaction("auth") as session:
        user = user_queries.find_by_email(session, check_email(email))
    if user is None:
        raise NotFound(f"there is no user {email}")
    return user.id


def revoke(user_id: str, role: SystemRole) -> None:
    """Take a system role away. Raises NotFound, Conflict for the last super administrator."""
    try:
        with changing(user_tag(user_id)), transaction("auth") as session:
            # Locked, so that who grants a role finds it until they are done.
            user = user_queries.find(session, user_id, lock=True) if is_id(user_id, "usr") else None
            had = user is not None and admin_queries.revoke(session, user_id=user_id, role=role)
            if user is not None and had:
                told = {"email": user.email, "role": role}
                audit.record(session, "administrator.revoked", user_id, team_id=PLATFORM, before=told)
    except IntegrityError as error:
        raise super_missing(error) from None
    if not had:
        raise NotFound(f"{user_id} has no system role {role}")


def revoke_of(email: str, role: SystemRole) -> None:
    """Likewise, of the user with an address. Raises NotFound, Conflict."""
    revoke(id_of(email), role)


def super_missing(error: IntegrityError) -> Exception:
    """What the database's refusal means, if it is that one."""
    if LAST_SUPER in str(error.orig):
        return Conflict("the platform must keep a super administrator: make somebody else one first")
    return error


def list_teams(*, limit: int = 50, cursor: str | None = None) -> Page[TeamSummary]:
    """Teams of the platform, the newest first. Raises Invalid."""
    span = Span.of_ids("team", limit=limit, cursor=cursor)
    with transaction("auth") as session:
        return cut(admin_queries.list_teams(session, span=span), span)


def get_team(team_id: str) -> TeamSummary:
    """One of them. Raises NotFound."""
    with transaction("auth") as session:
        found = admin_queries.find_team(session, team_id) if is_id(team_id, "team") else None
    if found is None:
        raise NotFound(f"there is no team {team_id}")
    return found


def list_users(*, limit: int = 50, cursor: str | None = None, email: str | None = None) -> Page[Account]:
    """Users of the platform, the newest first; of one address, if it is given. Raises Invalid."""
    wanted = check_email(email) if email is not None else None
    span = Span.of_ids("usr", limit=limit, cursor=cursor)
    with transaction("auth") as session:
        return cut(_accounts(session, admin_queries.list_users(session, span=span, email=wanted)), span)


def get_user(user_id: str) -> Account:
    """One of them. Raises NotFound."""
    with transaction("auth") as session:
        row = user_queries.find(session, user_id) if is_id(user_id, "usr") else None
        if row is None:
            raise NotFound(f"there is no user {user_id}")
        return _accounts(session, [row])[0]


def _accounts(session: Session, rows: Sequence[UserRow]) -> list[Account]:
    roles: dict[str, list[SystemRole]] = {row.id: [] for row in rows}
    for granted, _ in admin_queries.list_roles(session, list(roles)):
        roles[granted.user_id].append(SystemRole(granted.role))
    return [
        Account(
            id=row.id, email=row.email, name=row.name, verified_at=row.verified_at, disabled_at=row.disabled_at,
            second_factor=row.totp_since is not None, system_roles=tuple(roles[row.id]), created_at=row.created_at,
        )
        for row in rows
    ]  # fmt: skip


def set_disabled(user_id: str, *, disabled: bool, by: str, over_admins: bool) -> Account:
    """Disable an account, whose sessions end at once, or let it in again.

    Keys that its user made work as long as it does.

    Raises:
        NotFound: there is no such user.
        Forbidden: it is one's own, or an administrator's, and ``over_admins`` is false.
        Conflict: it is the last super administrator's.
    """
    try:
        with changing(*tags_of(user_id)), transaction("auth") as session:
            row = _acted_on(session, user_id, by=by, over_admins=over_admins)
            (disable if disabled else enable)(session, row)
            return _accounts(session, [row])[0]
    except IntegrityError as error:
        raise super_missing(error) from None


def remove_second_factor(user_id: str, *, by: str, over_admins: bool) -> Account:
    """Take somebody's second factor away, whose device is lost; every session of theirs ends.

    Raises NotFound, Forbidden as :func:`set_disabled` does.
    """
    with changing(user_tag(user_id)), transaction("auth") as session:
        row = _acted_on(session, user_id, by=by, over_admins=over_admins)
        drop_second_factor(session, row)
        return _accounts(session, [row])[0]


def tags_of(user_id: str) -> tuple[str, ...]:
    """What is remembered of a user, and of their teams: keys that they made there work no longer than the account."""
    with transaction("auth") as session:
        return user_tag(user_id), *map(team_tag, user_queries.list_team_ids(session, user_id))


def disable(session: Session, row: UserRow) -> None:
    """Disable an account, whose sessions end, in the caller's transaction, which is one that changes its tags."""
    row.disabled_at = row.disabled_at or now()
    _end_sessions(session, row, "user.disabled", why="the account was disabled")


def enable(session: Session, row: UserRow) -> None:
    """Let a disabled account in again, likewise."""
    row.disabled_at = None
    trail.note(session, "user.enabled", row.id)


def drop_second_factor(session: Session, row: UserRow) -> None:
    """Take a second factor away whose device is lost; every session ends, likewise."""
    totp.remove(session, row)
    _end_sessions(session, row, "user.second_factor_removed", why="the second factor was removed")


def _end_sessions(session: Session, row: UserRow, action: str, *, why: str) -> None:
    ended = sessions.end_all(session, row.id, why=why)
    trail.note(session, action, row.id, after={"sessions_ended": ended})


def _acted_on(session: Session, user_id: str, *, by: str, over_admins: bool) -> UserRow:
    """Who helps users gets no power over those who may more: taking a second factor away is half of becoming them."""
    row = lock_user(session, user_id)
    if row.id == by:
        raise Forbidden("nobody does this to their own account here")
    if user_queries.list_system_roles(session, row.id) and not over_admins:
        raise Forbidden("they are an administrator: this needs system:admins:manage", needed="system:admins:manage")
    return row


def lock_user(session: Session, user_id: str) -> UserRow:
    """A user, locked. Raises NotFound."""
    row = user_queries.find(session, user_id, lock=True) if is_id(user_id, "usr") else None
    if row is None:
        raise NotFound(f"there is no user {user_id}")
    return row


def count_accounts(since: datetime) -> Mapping[str, int]:
    """How many users, teams and keys there are; ``active``: users with a session that was used since then."""
    with transaction("auth") as session:
        return admin_queries.count_accounts(session, since=since)
