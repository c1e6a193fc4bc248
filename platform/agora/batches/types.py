"""What the service of batches takes and gives: frozen values, no rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

RUNNING, CANCELLING, COMPLETED = "running", "cancelling", "completed"
STATUSES = (RUNNING, CANCELLING, COMPLETED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch as the API shows it. ``counts`` is jobs by state; ``progress`` the share of its jobs that have ended."""

    id: str
    team_id: str
    size: int
    metadata: Mapping[str, Any]
    status: str
    counts: Mapping[str, int]
    progress: float
    cancel_requested_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedBatch:
    """A batch as it is now, the ids of its jobs in the order in which they were given, whether this was a repeat."""

    batch: Batch
    job_ids: Sequence[str]
    replayed: bool = False
