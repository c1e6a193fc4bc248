"""Who may do what: one table of permissions, for roles of users and scopes of keys alike. Deny by default."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a user is in a team; each may all that the next one may."""

    OWNER = "owner"
    LEAD = "lead"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class Purpose(StrEnum):
    """What a one-time token is for."""

    VERIFY = "verify"
    RESET = "reset"


EVERYTHING: Final = "*"
"""The scope of a key that may all of the team's, but for what concerns all teams."""

PERMISSIONS: Final[Mapping[str, Role | None]] = {
    "jobs:read": Role.VIEWER,
    "files:read": Role.VIEWER,
    "jobs:write": Role.DEVELOPER,
    "files:write": Role.DEVELOPER,
    "jobs:approve": Role.LEAD,
    "webhooks:manage": Role.DEVELOPER,
    "limits:write": Role.LEAD,
    "holds:manage": Role.LEAD,
    "keys:manage": Role.LEAD,
    "team:read": Role.VIEWER,
    "team:manage": Role.OWNER,
    "audit:read": Role.OWNER,
    "queues:write": None,
}
"""Each permission, and the least role that has it. None: it concerns all teams, so no role of a team has it, and a key
only if it was named when the key was made. A key has a permission by the scope of the same name."""

OPERATORS: Final = frozenset(name for name, least in PERMISSIONS.items() if least is None)

_ORDER: Final = tuple(reversed(Role))


def permissions_of(role: Role) -> frozenset[str]:
    """What a role may do."""
    return frozenset(name for name, least in PERMISSIONS.items() if least and _ORDER.index(role) >= _ORDER.index(least))


def permissions_of_scopes(scopes: frozenset[str]) -> frozenset[str]:
    """What a key with these scopes may do. A scope that the table does not know gives nothing."""
    given = scopes & PERMISSIONS.keys()
    return frozenset(given | (PERMISSIONS.keys() - OPERATORS if EVERYTHING in scopes else set()))
