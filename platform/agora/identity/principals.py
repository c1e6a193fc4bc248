"""Who calls: a key of a team, or a user in one of their teams; and what they may do."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agora.caching.cache import Cache
from agora.caching.generations import session_tag, team_tag
from agora.db.session import transaction
from agora.errors import NotFound, Unauthenticated
from agora.identity import access_tokens, session_queries, user_queries
from agora.identity.access_tokens import Claims
from agora.identity.roles import EVERYTHING, OPERATORS, PERMISSIONS, Role, permissions_of

REMEMBER_SECONDS = 30.0
"""How long a process keeps what it has read, if nothing changes meanwhile."""
REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A caller. ``actor_id`` is the key's id or the user's; users have a session and, in their team, a role."""

    team_id: str
    actor_id: str
    permissions: frozenset[str]
    user_id: str | None = None
    session_id: str | None = None
    role: Role | None = None
    requests_per_minute: int | None = None
    """Of this key alone."""

    def may(self, permission: str) -> bool:
        """Whether they may do it. What no table knows, nobody may."""
        return permission in self.permissions

    def may_give(self, scope: str) -> bool:
        """Whether they may make a key with this scope: nobody gives what they have not."""
        wanted = PERMISSIONS.keys() - OPERATORS if scope == EVERYTHING else {scope}
        return wanted <= self.permissions


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

    def read(self) -> Principal:
        """Who presents it, as of now. Raises Unauthenticated, NotFound."""


_remembered: Cache[tuple[str, str, str | None], Principal] = Cache("users", seconds=REMEMBER_SECONDS, size=REMEMBERED)
_own: OrderedDict[str, str] = OrderedDict()
"""The personal team of each user, which never changes."""


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """A valid access token, and the team that the request names; None: the user's own."""

    claims: Claims
    team_id: str | None

    @property
    def _key(self) -> tuple[str, str, str | None]:
        return self.claims.user_id, self.claims.session_id, self.team_id

    def _tags(self, team_id: str) -> tuple[str, ...]:
        return team_tag(team_id), session_tag(self.claims.session_id)

    def kept(self) -> Kept | None:
        """What this process remembers of it."""
        entry = _remembered.peek(self._key)
        if entry is None or entry.stamp is None:
            return None
        tags = self._tags(entry.value.team_id)
        return Kept(entry.value, tags, entry.stamp, lambda: _remembered.count_hit(entry))

    def read(self) -> Principal:
        """The user, in that team. Raises Unauthenticated: the session has ended; NotFound: they are no member."""
        team_id = self.team_id or _own.get(self.claims.user_id) or _find_own(self.claims)
        return _remembered.get(self._key, self._tags(team_id), lambda: _read(self.claims, self.team_id))


def of_token(token: str, team_id: str | None) -> TokenCredential:
    """An access token whose signature and time are right. Raises Unauthenticated."""
    return TokenCredential(access_tokens.verify(token), team_id)


def forget() -> None:
    """Read anew what is asked for next."""
    _remembered.clear()


def _find_own(claims: Claims) -> str:
    with transaction("auth") as session:
        if not session_queries.is_open(session, session_id=claims.session_id, user_id=claims.user_id):
            raise Unauthenticated("the session has ended; sign in again")
        team_id = user_queries.find_personal_team(session, claims.user_id)
    if team_id is None:
        raise NotFound("there is no team of the user's own")
    _own[claims.user_id] = team_id
    while len(_own) > REMEMBERED:
        _own.popitem(last=False)
    return team_id


def _read(claims: Claims, team_id: str | None) -> Principal:
    with transaction("auth") as session:
        if not session_queries.is_open(session, session_id=claims.session_id, user_id=claims.user_id):
            raise Unauthenticated("the session has ended; sign in again")
        team = team_id or user_queries.find_personal_team(session, claims.user_id)
        role = user_queries.find_role(session, team_id=team, user_id=claims.user_id) if team is not None else None
    if team is None or role is None:
        raise NotFound(f"there is no team {team_id}")
    return Principal(
        team_id=team, actor_id=claims.user_id, permissions=permissions_of(Role(role)), user_id=claims.user_id,
        session_id=claims.session_id, role=Role(role),
    )  # fmt: skip
