"""Who may do what: one table of permissions, for roles of users and scopes of keys alike. Deny by default."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a user is in a team; each may all that the next one may."""

    OWNER = "owner"
    LEAD = "lead"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class SystemRole(StrEnum):
    """What a user is for the whole platform, in no team: whoever wants a team's jobs must be its member."""

    SUPER = "super"
    BILLING = "billing"
    SUPPORT = "support"
    ANALYTICS = "analytics"


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
    "projects:read": Role.VIEWER,
    "projects:write": Role.DEVELOPER,
    "projects:share": Role.LEAD,
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

SYSTEM_PERMISSIONS: Final[Mapping[str, frozenset[SystemRole]]] = {
    "system:teams:read": frozenset({SystemRole.SUPER, SystemRole.BILLING, SystemRole.SUPPORT}),
    "system:users:read": frozenset({SystemRole.SUPER, SystemRole.SUPPORT}),
    "system:users:manage": frozenset({SystemRole.SUPER, SystemRole.SUPPORT}),
    "system:tiers:manage": frozenset({SystemRole.SUPER, SystemRole.BILLING}),
    "system:audit:read": frozenset({SystemRole.SUPER}),
    "system:usage:read": frozenset({SystemRole.SUPER, SystemRole.BILLING, SystemRole.ANALYTICS}),
    "system:admins:manage": frozenset({SystemRole.SUPER}),
    "queues:write": frozenset({SystemRole.SUPER, SystemRole.SUPPORT}),
}
"""Each permission about the whole platform, and the system roles that have it. No scope of a key is among them but
those of OPERATORS, and no role of a team."""

_ORDER: Final = tuple(reversed(Role))


def permissions_of(role: Role) -> frozenset[str]:
    """What a role may do."""
    return frozenset(name for name, least in PERMISSIONS.items() if least and _ORDER.index(role) >= _ORDER.index(least))


def wanted_by(scope: str) -> frozenset[str]:
    """What somebody must have who gives a key this scope: nobody gives what they have not.

    Nor what a system role gives: a key would outlive it, and needs no second factor.
    """
    return frozenset(PERMISSIONS.keys() - OPERATORS if scope == EVERYTHING else {scope})


def permissions_of_scopes(scopes: frozenset[str]) -> frozenset[str]:
    """What a key with these scopes may do. A scope that the table does not know gives nothing."""
    given = scopes & PERMISSIONS.keys()
    return frozenset(given | (PERMISSIONS.keys() - OPERATORS if EVERYTHING in scopes else set()))


def system_permissions_of(roles: Iterable[SystemRole]) -> frozenset[str]:
    """What these system roles may do together. Counts only in a session with a second factor."""
    held = frozenset(roles)
    return frozenset(name for name, having in SYSTEM_PERMISSIONS.items() if held & having)
