"""What callers get of the audit log, and how they ask for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An entry. ``seq`` and ``hash`` (hex) are its place in the team's chain, None until it is chained."""

    id: str
    team_id: str
    at: datetime
    actor_kind: str
    actor_id: str | None
    actor_name: str
    action: str
    object_type: str
    object_id: str
    address: str | None
    request_id: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    seq: int | None
    hash: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which entries. ``action`` is a name, or the beginning of some with ``*`` at its end, such as ``key.*``."""

    actor: str | None = None
    action: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None
