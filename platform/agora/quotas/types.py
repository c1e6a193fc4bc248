"""What a team may have, and errors that say it has it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from agora.editions import Edited
from agora.errors import AgoraError


class Quota(StrEnum):
    """What is limited; values are the names of columns and fields."""

    PROJECTS = "projects"
    MEMBERS = "members"
    JOBS_PER_DAY = "jobs_per_day"
    REQUESTS_PER_MINUTE = "requests_per_minute"
    STORAGE_BYTES = "storage_bytes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotas:
    """How much a team may have of each; None: as much as it likes."""

    tier: str
    projects: int | None
    members: int | None
    jobs_per_day: int | None
    requests_per_minute: int | None
    storage_bytes: int | None

    def of(self, quota: Quota) -> int | None:
        """The limit of one."""
        found: int | None = getattr(self, quota.value)
        return found


NAMES = tuple(field.name for field in fields(Quotas) if field.name != "tier")


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamQuotas(Quotas, Edited):
    """How much one team may have; ``otherwise`` is what of it is unlike what others in its tier may have."""

    HAPPENS: ClassVar[frozenset[str]] = frozenset(NAMES)
    """They follow from the tier, which is no team's."""

    team_id: str
    otherwise: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """How much of a quota is used; None: nobody counts it. ``resets_at``: when it is given anew, if it is."""

    quota: Quota
    limit: int | None
    used: int | None
    resets_at: datetime | None = None


class QuotaExceeded(AgoraError):
    """The team has as much as its tier allows."""

    slug = "quota-exceeded"


class DailyQuotaExceeded(AgoraError):
    """The team has made as many jobs today as its tier allows."""

    slug = "daily-quota-exceeded"


def exceeded(quota: Quota, *, limit: int, used: int, what: str) -> QuotaExceeded:
    """There is no room for one more."""
    return QuotaExceeded(f"{what}: {used} of {limit}", quota=quota.value, limit=limit, used=used)
