"""What the operator does about users, with `agora users`: no HTTP request leads here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.caching.generations import changing
from agora.clock import now
from agora.db.session import transaction
from agora.errors import Conflict
from agora.identity import administrators, passwords, service, user_queries
from agora.identity.models import MemberRow, UserRow
from agora.identity.roles import Role
from agora.identity.users import User, check_email, check_name, insert_user, view


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A user as the operator sees them."""

    id: str
    email: str
    name: str
    verified_at: datetime | None
    disabled_at: datetime | None
    created_at: datetime


def create_user(email: str, password: str, *, name: str = "", team: str | None = None, role: Role = Role.OWNER) -> User:
    """Make an account whose address counts as confirmed; with a ``team``'s handle, also a member of that team.

    Raises:
        Invalid: names the field.
        Conflict: there is one with this address.
    """
    email, name = check_email(email), check_name(name)
    passwords.check(password, known=(email, email.partition("@")[0], name))
    team_id = service.ensure_team(team) if team is not None else None
    hashed = passwords.hash_of(password)
    with transaction("auth") as session:
        row = insert_user(session, email, name, hashed)
        if row is None:
            raise Conflict(f"there is a user {email}")
        row.verified_at = now()
        if team_id is not None:
            session.add(MemberRow(team_id=team_id, user_id=row.id, role=role))
            told = {"email": email, "role": role}
            audit.record(session, "member.joined", row.id, team_id=team_id, after=told)
        session.flush()
        return view(session, row)


def list_users() -> list[Account]:
    """All users, the newest last."""
    with transaction("auth") as session:
        return [
            Account(
                id=row.id, email=row.email, name=row.name, verified_at=row.verified_at, disabled_at=row.disabled_at,
                created_at=row.created_at,
            )
            for row in user_queries.list_users(session)
        ]  # fmt: skip


def set_disabled(email: str, *, disabled: bool) -> None:
    """Disable an account, whose sessions end at once, or let it in again.

    Raises NotFound, Conflict for the last super administrator.
    """
    change = administrators.disable if disabled else administrators.enable
    try:
        _change(email, change)
    except IntegrityError as error:
        raise administrators.super_missing(error) from None


def remove_second_factor(email: str) -> None:
    """Take somebody's second factor away, whose device is lost; every session of theirs ends. Raises NotFound."""
    _change(email, administrators.drop_second_factor)


def _change(email: str, change: Callable[[Session, UserRow], None]) -> None:
    user_id = administrators.id_of(email)
    with changing(*administrators.tags_of(user_id)), transaction("auth") as session:
        change(session, administrators.lock_user(session, user_id))
