"""Who calls: a key of a team, or a user in one of their teams; and what they may do."""

import threading
import time
from dataclasses import dataclass

from agora.db.session import transaction
from agora.errors import NotFound, Unauthenticated
from agora.identity import access_tokens, revoked, session_queries, user_queries
from agora.identity.roles import (
    EVERYTHING,
    OPERATORS,
    PERMISSIONS,
    Role,
    SystemRole,
    permissions_of,
    system_permissions_of,
)

REMEMBER_SECONDS = 3.0
"""How long a process trusts what it has read: a role that was taken away works at most so much longer."""
REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A caller. ``actor_id`` is the key's id or the user's; users have a session and, in their team, a role.

    ``name`` is the key's name or the user's address: what people know them by.
    ``api_version`` is what a key is pinned to; users are to nothing, since their program says what it speaks.
    ``system_permissions`` are about the whole platform, and count only with a ``second_factor``.
    """

    team_id: str
    actor_id: str
    permissions: frozenset[str]
    name: str = ""
    user_id: str | None = None
    session_id: str | None = None
    role: Role | None = None
    api_version: str | None = None
    second_factor: bool = False
    system_permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """Whether they may do it. What no table knows, nobody may."""
        return permission in self.permissions or (self.second_factor and permission in self.system_permissions)

    def lacks_second_factor(self, permission: str) -> bool:
        """Whether only that keeps them from it."""
        return permission in self.system_permissions and not self.may(permission)

    def may_give(self, scope: str) -> bool:
        """Whether they may make a key with this scope: nobody gives what they have not.

        Nor what a system role gives: a key would outlive it, and needs no second factor.
        """
        wanted = PERMISSIONS.keys() - OPERATORS if scope == EVERYTHING else {scope}
        return wanted <= self.permissions


_lock = threading.Lock()
_remembered: dict[tuple[str, str, str | None], tuple[float, Principal]] = {}


def of_user(token: str, team_id: str | None) -> Principal:
    """The user of an access token, in one of their teams: their own, where none is named.

    Raises:
        Unauthenticated: the token is not valid, or its session has ended.
        NotFound: they are no member of that team.
    """
    claims = access_tokens.verify(token)
    return of_session(claims.user_id, claims.session_id, team_id)


def of_session(user_id: str, session_id: str, team_id: str | None) -> Principal:
    """Likewise, of a session whose token was good when it came: a stream outlives that.

    Raises Unauthenticated, NotFound.
    """
    ended = revoked.knows(session_id)
    if ended:
        raise Unauthenticated("the session has ended; sign in again")
    key = user_id, session_id, team_id
    with _lock:
        kept = _remembered.get(key)
    if kept is not None and ended is not None and time.monotonic() - kept[0] < REMEMBER_SECONDS:
        return kept[1]
    found = _read(user_id, session_id, team_id)
    with _lock:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        _remembered[key] = time.monotonic(), found
    return found


def forget() -> None:
    """Read anew what is asked for next."""
    with _lock:
        _remembered.clear()


def _read(user_id: str, session_id: str, team_id: str | None) -> Principal:
    with transaction("auth") as session:
        second_factor = session_queries.find_open(session, session_id=session_id, user_id=user_id)
        if second_factor is None:
            raise Unauthenticated("the session has ended; sign in again")
        team = team_id or user_queries.find_personal_team(session, user_id)
        role = user_queries.find_role(session, team_id=team, user_id=user_id) if team is not None else None
        system = user_queries.list_system_roles(session, user_id)
        user = user_queries.find(session, user_id)
    if team is None or role is None:
        raise NotFound(f"there is no team {team_id}")
    return Principal(
        team_id=team, actor_id=user_id, permissions=permissions_of(Role(role)), user_id=user_id,
        session_id=session_id, role=Role(role), name=user.email if user is not None else "",
        second_factor=second_factor, system_permissions=system_permissions_of(SystemRole(one) for one in system),
    )  # fmt: skip
