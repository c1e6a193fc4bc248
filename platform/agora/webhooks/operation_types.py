"""What operations on webhooks take and give: replays, statistics, imports. Frozen values, no rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agora.webhooks.states import DeliveryState

RECOVER, REPLAY = "recover", "replay"
ACTIONS = (RECOVER, REPLAY)
RUNNING, COMPLETED, CANCELLED = "running", "completed", "cancelled"
STATUSES = (RUNNING, COMPLETED, CANCELLED)
SENT_AGAIN = (DeliveryState.SUCCEEDED, DeliveryState.EXHAUSTED)
"""States from which a delivery may be sent again."""
CREATED, UPDATED, UNCHANGED = "created", "updated", "unchanged"
IMPORTED = (CREATED, UPDATED, UNCHANGED)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayFilter:
    """Which deliveries: those to which all of it applies; what is empty says nothing.

    ``event_types`` may be beginnings that end in ``.*``. ``since`` and ``until`` are of the delivery's creation,
    ``ended_since`` of its end.
    """

    statuses: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    job_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewReplay:
    """A replay to be made, of one endpoint (its id or uid) or all of the team.

    ``everything`` must be set for a filter that says nothing.
    """

    filter: ReplayFilter
    action: str = REPLAY
    endpoint: str | None = None
    everything: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A replay as the API shows it.

    ``matched`` is how many deliveries it found when it was made; it concerns no others. ``done`` have been put in line
    to be sent again; ``skipped`` had been sent again by somebody else, or were gone, when their turn came.
    """

    id: str
    team_id: str
    endpoint_id: str | None
    action: str
    filter: Mapping[str, Any]
    status: str
    matched: int
    done: int
    skipped: int
    remaining: int
    progress: float
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A try that failed."""

    at: datetime
    delivery_id: str
    error_class: str | None
    error: str | None
    status_code: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """How an endpoint does, over its last deliveries within ``window`` seconds, 1,000 of them at most.

    ``complete`` is False when the window holds more deliveries than were looked at. Rates are from 0 to 1, and None
    where nothing was tried or has ended. ``p50_ms`` and ``p95_ms`` are of tries that succeeded. ``pending``, ``held``
    and ``in_flight`` are of all its deliveries, counted to 10,000. ``open_until``: it rests, and gets nothing until
    then. ``disabled_at`` is when it will be disabled unless a delivery succeeds.
    """

    endpoint_id: str
    window: float
    since: datetime | None
    deliveries: int
    complete: bool
    statuses: Mapping[str, int]
    delivery_success_rate: float | None
    tries: int
    try_success_rate: float | None
    tries_per_delivery: float | None
    p50_ms: float | None
    p95_ms: float | None
    last_success_at: datetime | None
    last_failure: Failure | None
    pending: int
    held: int
    in_flight: int
    status: str
    status_reason: str | None
    open_until: datetime | None
    allowance: int
    max_in_flight: int
    draining: bool
    failing_since: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedEndpoint:
    """An endpoint as it is exported: what its owner may set. Secrets are left out, secret header values redacted."""

    id: str
    uid: str | None
    url: str
    description: str
    event_types: Sequence[str]
    agents: Sequence[str]
    projects: Sequence[str]
    metadata_filter: Mapping[str, Any]
    headers: Mapping[str, str]
    algorithm: str | None
    schedule: Sequence[float] | None
    max_in_flight: int
    rate_limit: float | None
    fifo: str | None
    payload: str
    metadata: Mapping[str, Any]
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedEndpoint:
    """What became of one endpoint of an import. ``secret`` is that of a new one, shown this once."""

    action: str
    uid: str | None
    id: str | None
    secret: str | None = None
