"""What the service of schedules takes and gives: frozen values, no rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agora.editions import digest
from agora.jobs.types import Budget
from agora.paging import BY_CREATION

ACTIVE, PAUSED, ENDED = "active", "paused", "ended"
STATUSES = (ACTIVE, PAUSED, ENDED)
BY_NAME = ("name", "-name")
ORDERS = (*BY_CREATION, *BY_NAME)
"""In which schedules are listed."""
CATCH_UP = ("skip", "one", "all")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSchedule:
    """A schedule to be made. One of ``cron``, ``every`` (seconds) and ``at`` is given.

    ``catch_up`` says what becomes of fire times that passed while no dispatcher ran: ``skip`` drops those that are over
    a minute late, ``one`` fires once for them all, ``all`` fires each, the newest hundred at most. ``version`` None is
    the newest at each fire time.
    """

    name: str
    agent: str
    action: str
    input: Any = field(default_factory=dict)
    version: int | None = None
    priority: int = 5
    metadata: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget | None = None
    """What each of its jobs may spend."""
    cron: str | None = None
    timezone: str = "UTC"
    every: float | None = None
    at: datetime | None = None
    ends_at: datetime | None = None
    catch_up: str = "one"
    paused: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A schedule as the API shows it. ``next`` holds its next ten fire times, none while it is paused.

    ``failures`` counts the fire times in a row at which no job could be made, ``last_error`` says why.
    """

    id: str
    team_id: str
    name: str
    agent: str
    action: str
    version: int | None
    input: Any
    priority: int
    metadata: Mapping[str, Any]
    budget: Mapping[str, Any] | None
    cron: str | None
    timezone: str
    every: float | None
    at: datetime | None
    ends_at: datetime | None
    catch_up: str
    status: str
    paused_at: datetime | None
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    next: Sequence[datetime]
    failures: int
    last_error: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime

    @property
    def edition(self) -> str:
        """Names what was set in it."""
        return edition_of(self.id, self.updated_at)


def edition_of(schedule_id: str, updated_at: datetime) -> str:
    """The edition of a schedule: each edit notes its moment, by one clock; firing is none."""
    return digest(f"{schedule_id} {updated_at.timestamp()}".encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What became of a fire time. ``manual``: somebody asked for it. ``missed`` stands for all up to the next run."""

    fire_at: datetime
    outcome: str
    manual: bool
    job_id: str | None
    error: Mapping[str, Any] | None
    created_at: datetime
