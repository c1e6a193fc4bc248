"""What a key may is bounded by who made it: nobody gives more than they have, and what they gave ends with them.

Nor does a key make one that lives longer than itself.

So do open invitations, whether they gave them themselves or by a key.

A key that a user made, or a key of theirs and so on, is theirs in this sense: it may no more than their present role
allows, nothing while their account is disabled, and is revoked when they leave the team. One that nobody but the
operator stands behind is bounded by its scopes alone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.errors import Forbidden
from agora.identity import member_queries, queries, user_queries
from agora.identity.models import ApiKeyRow
from agora.identity.roles import Role, permissions_of, permissions_of_scopes, wanted_by

NOTHING = frozenset[str]()
USER = "usr_"
LEFT = "the user behind it left the team"


def permissions(session: Session, row: ApiKeyRow) -> frozenset[str] | None:
    """What a key may just now; None: nothing at all, as the account of the user behind it is disabled.

    Keys of users who left before there was this rule go on as they were.
    """
    given = permissions_of_scopes(frozenset(row.scopes))
    behind = queries.find_user_behind(session, team_id=row.team_id, maker=row.created_by) if row.created_by else None
    if behind is None:
        return given
    if behind.disabled_at is not None:
        return None
    return given if behind.role is None else given & permissions_of(Role(behind.role))


def check_givable(session: Session, scopes: Sequence[str], *, team_id: str, maker: str | None) -> None:
    """Refuse scopes that somebody cannot give. The operator, None, gives any.

    The team is locked, so that nobody gives anything while they are removed or get another role. Raises Forbidden.
    """
    if maker is None:
        return
    member_queries.lock_team(session, team_id=team_id)
    having = held(session, maker, team_id=team_id)
    beyond = [scope for scope in scopes if not wanted_by(scope) <= having]
    if beyond:
        raise Forbidden(f"you cannot give the scopes {', '.join(beyond)}")


def held(session: Session, maker: str, *, team_id: str) -> frozenset[str]:
    """What a user or a key may in a team just now, which the transaction has locked. Who is gone may nothing."""
    if maker.startswith(USER):
        role = user_queries.find_role(session, team_id=team_id, user_id=maker)
        return permissions_of(Role(role)) if role is not None else NOTHING
    row = queries.lock_valid_key(session, team_id=team_id, key_id=maker)
    return (permissions(session, row) or NOTHING) if row is not None else NOTHING


def lives_until(session: Session, maker: str | None, *, team_id: str) -> datetime | None:
    """Until when a key may live that somebody makes. Only one that a key makes is bounded: by what that one was to."""
    row = queries.find_key(session, team_id=team_id, key_id=maker) if maker and not maker.startswith(USER) else None
    return meant_until(row) if row is not None else None


def meant_until(row: ApiKeyRow) -> datetime | None:
    """Until when a key was to live, whatever a rotation has made of it."""
    return row.expires_at if row.rotated_at is None else row.meant_until


def end_what_they_gave(session: Session, user_id: str, *, team_id: str) -> None:
    """Revoke the keys that a user made in a team, and those that were made by these, and so on; and invitations.

    In the transaction in which they leave it, which has locked the team.
    """
    end_invitations(session, user_id, team_id=team_id)
    rows = queries.lock_made_by(session, team_id=team_id, maker=user_id)
    for row in rows:
        queries.revoke_key(session, team_id=team_id, key_id=row.id)
    changes = {row.id: (told(row), {"reason": LEFT}) for row in rows}
    audit.record_all(session, "key.revoked", changes, team_id=team_id)


def end_invitations(session: Session, user_id: str, *, team_id: str) -> None:
    """Take back the open invitations that a user gave, or such a key did: also one that is valid no more."""
    made = queries.list_made_by(session, team_id=team_id, maker=user_id)
    member_queries.revoke_open(session, team_id=team_id, invited_by=[user_id, *made])


def end_of_user(session: Session, user_id: str) -> None:
    """End what a user who is about to go for good gave in every team of theirs."""
    for team_id in sorted(user_queries.list_team_ids(session, user_id)):
        member_queries.lock_team(session, team_id=team_id)
        end_what_they_gave(session, user_id, team_id=team_id)


def told(row: ApiKeyRow) -> Mapping[str, Any]:
    """A key as the audit log tells of it."""
    return {
        "name": row.name, "prefix": row.prefix, "scopes": row.scopes, "expires_at": row.expires_at,
        "api_version": row.api_version, "requests_per_minute": row.requests_per_minute,
    }  # fmt: skip
