"""Who calls: a key of a team, or a user in one of their teams; and what they may do."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from agora.caching.cache import Cache
from agora.caching.generations import team_tag, user_tag
from agora.db.session import transaction
from agora.errors import NotFound, Unauthenticated
from agora.identity import access_tokens, session_queries, user_queries
from agora.identity.roles import (
    Role,
    SystemRole,
    permissions_of,
    system_permissions_of,
)

REMEMBER_SECONDS = 30.0
"""How long a process keeps what it has read, if nothing changes meanwhile."""
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
    requests_per_minute: int | None = None
    """Of this key alone."""

    def may(self, permission: str) -> bool:
        """Whether they may do it. What no table knows, nobody may."""
        return permission in self.permissions or (self.second_factor and permission in self.system_permissions)

    def lacks_second_factor(self, permission: str) -> bool:
        """Whether only that keeps them from it."""
        return permission in self.system_permissions and not self.may(permission)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a process remembers of a caller: good while the tags have this stamp. ``hit`` is called when it was."""

    principal: Principal
    tags: tuple[str, ...]
    stamp: str
    hit: Callable[[], None]


class Credential(Protocol):
    """What a caller presents."""

    def kept(self) -> Kept | None:
        """What this process remembers of it, to be trusted only if nothing has changed since."""

    def is_known(self) -> bool:
        """Whether it was right when this process looked last, however long ago."""

    def read(self) -> Principal:
        """Who presents it, as of now. Raises Unauthenticated, NotFound."""


_remembered: Cache[tuple[str, str, str | None], Principal] = Cache("users", seconds=REMEMBER_SECONDS, size=REMEMBERED)
_own: OrderedDict[str, str] = OrderedDict()
"""The personal team of each user, which never changes."""


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """A session of a user, and the team that they name; None: their own."""

    user_id: str
    session_id: str
    team_id: str | None

    @property
    def _key(self) -> tuple[str, str, str | None]:
        return self.user_id, self.session_id, self.team_id

    def _tags(self, team_id: str) -> tuple[str, ...]:
        return team_tag(team_id), user_tag(self.user_id)

    def kept(self) -> Kept | None:
        """What this process remembers of it."""
        entry = _remembered.peek(self._key)
        if entry is None or entry.stamp is None:
            return None
        tags = self._tags(entry.value.team_id)
        return Kept(entry.value, tags, entry.stamp, lambda: _remembered.count_hit(entry))

    def is_known(self) -> bool:
        """Whether it was right when this process looked last, however long ago."""
        return _remembered.has(self._key)

    def read(self) -> Principal:
        """The user, in that team. Raises Unauthenticated: the session has ended; NotFound: they are no member."""
        team_id = self.team_id or _own.get(self.user_id) or _find_own(self.user_id, self.session_id)
        load = partial(_read, self.user_id, self.session_id, self.team_id)
        return _remembered.get(self._key, self._tags(team_id), load)


def of_token(token: str, team_id: str | None) -> SessionCredential:
    """An access token whose signature and time are right. Raises Unauthenticated."""
    claims = access_tokens.verify(token)
    return SessionCredential(claims.user_id, claims.session_id, team_id)


def of_session(user_id: str, session_id: str, team_id: str) -> SessionCredential:
    """A session whose token was good when it came: a stream outlives that."""
    return SessionCredential(user_id, session_id, team_id)


def forget() -> None:
    """Read anew what is asked for next."""
    _remembered.clear()


def _find_own(user_id: str, session_id: str) -> str:
    with transaction("auth") as session:
        if session_queries.find_open(session, session_id=session_id, user_id=user_id) is None:
            raise Unauthenticated("the session has ended; sign in again")
        team_id = user_queries.find_personal_team(session, user_id)
    if team_id is None:
        raise NotFound("there is no team of the user's own")
    _own[user_id] = team_id
    while len(_own) > REMEMBERED:
        _own.popitem(last=False)
    return team_id


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
