"""What the service of bulk actions takes and gives: frozen values, no rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agora.jobs.types import Job, JobFilter

CANCEL, RETRY, FORK = "cancel", "retry", "fork"
ACTIONS = (CANCEL, RETRY, FORK)
RUNNING, COMPLETED, CANCELLED = "running", "completed", "cancelled"
STATUSES = (RUNNING, COMPLETED, CANCELLED)
DONE, FAILED = "done", "failed"
OUTCOMES = (DONE, FAILED)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewBulk:
    """A bulk action to be made. ``everything`` must be set for a filter that says nothing.

    ``options``: for a cancel ``reason``; for a retry and a fork ``from_step``, ``version``, ``priority``, ``metadata``,
    for a fork also ``input``.
    """

    action: str
    filter: JobFilter
    everything: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What a bulk action would find: how many jobs, and the first of them."""

    matched: int
    sample: Sequence[Job]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bulk:
    """A bulk action as the API shows it.

    ``matched`` is how many jobs the filter found when it was made. A job that has left the filter by the time at which
    its turn comes is let alone: it counts neither as done nor as failed. ``reasons`` counts the failed ones by code.
    """

    id: str
    team_id: str
    action: str
    filter: Mapping[str, Any]
    options: Mapping[str, Any]
    status: str
    matched: int
    done: int
    failed: int
    remaining: int
    progress: float
    reasons: Mapping[str, int]
    cancel_requested_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A job that a bulk action dealt with, and the new one that it made of it."""

    job_id: str
    outcome: str
    new_job_id: str | None
    error: Mapping[str, Any] | None
    created_at: datetime
