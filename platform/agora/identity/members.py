"""Teams of users: who is a member, in which role. The last owner stays, which the database sees to."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agora.audit import acting
from agora.audit import service as audit
from agora.caching.generations import changing, team_tag
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import Conflict, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.identity import key_rights, member_queries, user_queries
from agora.identity.models import MemberRow, TeamRow, UserRow
from agora.identity.roles import Role
from agora.identity.users import check_name
from agora.ids import new_id

MOST_TEAMS = 100
"""Of a user who makes another: what is told of a user is told to each of their teams."""
LAST_OWNER = "members_keep_an_owner"


@dataclass(frozen=True, kw_only=True, slots=True)
class Team(Edited):
    """A team, with the caller's role in it where a user asks."""

    HAPPENS: ClassVar[frozenset[str]] = frozenset({"role"})

    id: str
    name: str
    personal: bool
    role: Role | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Member(Edited):
    """A user in a team."""

    HAPPENS: ClassVar[frozenset[str]] = frozenset({"email", "name"})

    user_id: str
    email: str
    name: str
    role: Role
    created_at: datetime


def list_teams(user_id: str) -> list[Team]:
    """The teams of a user, their own first."""
    with transaction("auth") as session:
        return [view_team(row, Role(role)) for row, role in member_queries.list_teams(session, user_id)]


def view_team(row: TeamRow, role: Role | None) -> Team:
    """A row as the value that callers get."""
    return Team(id=row.id, name=row.name, personal=row.personal_of is not None, role=role, created_at=row.created_at)


def create_team(
    user_id: str, name: str, *, idempotency: IdempotencyKey | None = None, team_id: str = ""
) -> tuple[Team, bool]:
    """Make a team; whoever makes it owns it. Returns it and whether this was a repeat.

    ``team_id``: that of the request, in which the ``idempotency`` key counts, for this user only.

    Raises:
        Invalid: the name is none.
        NotFound: it is a repeat, and the user has left the team that the first one made.
        Conflict: the user is in too many teams.
    """
    name = _checked_name(name)
    if idempotency is not None:
        idempotency = replace(idempotency, route=f"{idempotency.route} {user_id}")
    with transaction("auth") as session:
        row = TeamRow(id=new_id("team"), name=name)
        known = earlier(session, idempotency, team_id=team_id, resource_id=row.id)
        if known is not None:
            role = user_queries.find_role(session, team_id=known, user_id=user_id)
            found = session.get(TeamRow, known) if role is not None else None
            if found is None or role is None:
                raise NotFound(f"there is no team {known}")
            return view_team(found, Role(role)), True
        _check_few_teams(session, user_id)
        session.add(row)
        session.flush()
        session.add(MemberRow(team_id=row.id, user_id=user_id, role=Role.OWNER))
        session.flush()
        session.refresh(row)
        audit.record(session, "team.created", row.id, team_id=row.id, after={"name": name})
        return view_team(row, Role.OWNER), False


def _check_few_teams(session: Session, user_id: str) -> None:
    """Those that they do not own count too: else who hands a team over would make the next."""
    user_queries.find(session, user_id, lock=True)  # so that they make no other one meanwhile
    if user_queries.count_teams(session, user_id) >= MOST_TEAMS:
        raise Conflict(f"you are in {MOST_TEAMS} teams or more; who makes another must be in fewer: leave one first")


def _checked_name(name: str) -> str:
    name = check_name(name)
    if not name:
        raise invalid_field("/name", "not-empty", "a team needs a name")
    return name


def get_team(team_id: str, role: Role | None) -> Team:
    """A team. Raises NotFound."""
    with transaction("auth") as session:
        row = session.get(TeamRow, team_id)
        if row is None:
            raise NotFound(f"there is no team {team_id}")
        return view_team(row, role)


def rename_team(team_id: str, name: str, role: Role | None, *, expected: Expected = ANYTHING) -> Team:
    """Change a team's name. Raises Invalid, NotFound, PreconditionFailed."""
    name = _checked_name(name)
    with transaction("auth") as session:
        row = session.get(TeamRow, team_id, with_for_update=True)
        if row is None:
            raise NotFound(f"there is no team {team_id}")
        expected.check(view_team(row, role))
        before, row.name = row.name, name
        audit.record(session, "team.renamed", team_id, team_id=team_id, before={"name": before}, after={"name": name})
        return view_team(row, role)


def list_members(team_id: str) -> list[Member]:
    """The members of a team, the first to come first."""
    with transaction("auth") as session:
        return [_member(row, user) for row, user in member_queries.list_members(session, team_id=team_id)]


def _member(row: MemberRow, user: UserRow) -> Member:
    return Member(
        user_id=user.id, email=user.email, name=user.name, role=Role(row.role), created_at=row.created_at
    )  # fmt: skip


def get_member(team_id: str, user_id: str) -> Member:
    """A member of a team. Raises NotFound."""
    with transaction("auth") as session:
        return _member(*_found_member(session, team_id, user_id))


def change_role(team_id: str, user_id: str, role: Role, *, expected: Expected = ANYTHING) -> Member:
    """Give a member another role. Of who is an owner no more, open invitations end, those by their keys too.

    Raises:
        NotFound: the team has no such member.
        PreconditionFailed: they are not as expected.
        Conflict: the last owner would be none any more.
    """
    try:
        with changing(team_tag(team_id)), transaction("auth") as session:
            member_queries.lock_team(session, team_id=team_id)
            row, user = _found_member(session, team_id, user_id, lock=True)
            expected.check(_member(row, user))
            _check_not_own(session, team_id, user_id)
            if role != Role.OWNER:
                key_rights.end_invitations(session, user_id, team_id=team_id)
            old, new = {"role": row.role}, {"role": role}
            audit.record(session, "member.role_changed", user_id, team_id=team_id, before=old, after=new)
            row.role = role
            return _member(row, user)
    except IntegrityError as error:
        raise _owner_missing(error) from None


def remove_member(team_id: str, user_id: str, *, expected: Expected = ANYTHING) -> None:
    """Take a member out of a team, also oneself. What they gave ends: open invitations, API keys.

    Raises NotFound, PreconditionFailed, and Conflict for the last owner.
    """
    try:
        with changing(team_tag(team_id)), transaction("auth") as session:
            member_queries.lock_team(session, team_id=team_id)
            row, user = _found_member(session, team_id, user_id, lock=True)
            expected.check(_member(row, user))
            _check_not_own(session, team_id, user_id)
            key_rights.end_what_they_gave(session, user_id, team_id=team_id)
            action = "member.left" if acting.actor().id == user_id else "member.removed"
            told = {"email": user.email, "role": row.role}
            audit.record(session, action, user_id, team_id=team_id, before=told)
            session.delete(row)
    except IntegrityError as error:
        raise _owner_missing(error) from None


def _check_not_own(session: Session, team_id: str, user_id: str) -> None:
    team = session.get(TeamRow, team_id)
    if team is not None and team.personal_of == user_id:
        raise Conflict("this team is the user's own: they stay its owner")


def _owner_missing(error: IntegrityError) -> Exception:
    if LAST_OWNER in str(error.orig) or "must keep an owner" in str(error.orig):
        return Conflict("a team must keep an owner: make somebody else one first")
    return error


def _found_member(
    session: Session, team_id: str, user_id: str, *, lock: bool = False
) -> tuple[MemberRow, UserRow]:  # fmt: skip
    row = member_queries.find_member(session, team_id=team_id, user_id=user_id, lock=lock)
    user = user_queries.find(session, user_id) if row is not None else None
    if row is None or user is None:
        raise NotFound(f"the team has no member {user_id}")
    return row, user
