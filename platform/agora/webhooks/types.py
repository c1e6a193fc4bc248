"""What the webhooks' service takes and gives: frozen values, no rows, no secrets but the one shown at creation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from agora.editions import Edited

REDACTED = "[redacted]"
ALL_TYPES = ("*",)
TEST_EVENT = "webhook.test"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEndpoint:
    """An endpoint to be made.

    ``event_types`` are types, or beginnings such as ``job.*``; ``*`` is everything but ``job.progressed``, which must
    be named in full. Empty ``agents`` means every agent, empty ``projects`` every project and what has none.
    ``metadata_filter``: only events whose metadata, mostly that of their job, contains it. Without a ``secret``, one of
    ``algorithm`` (v1) is made. ``schedule``: pauses in seconds, one per try; None means the platform's. ``rate_limit``:
    deliveries per second. ``fifo``: within what deliveries keep their order, ``endpoint``, ``job`` or ``project``.
    ``payload`` full: events about jobs also hold the job's input and output, as far as they fit.
    """

    url: str
    event_types: tuple[str, ...] = ALL_TYPES
    description: str = ""
    uid: str | None = None
    agents: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    metadata_filter: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    secret: str | None = None
    algorithm: str | None = None
    schedule: tuple[float, ...] | None = None
    max_in_flight: int = 32
    rate_limit: float | None = None
    fifo: str | None = None
    payload: str = "thin"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint(Edited):
    """An endpoint as the API shows it. ``headers`` has its values redacted where their names sound secret.

    ``schema_version`` is that of the payloads, pinned when it was made. ``allowance``: how many deliveries may be under
    way to it just now. ``draining``: what was held is being released at a pace.
    """

    HAPPENS: ClassVar[frozenset[str]] = frozenset(
        {"allowance", "draining", "last_success_at", "failing_since", "consecutive_failures", "open_until"}
    )

    id: str
    team_id: str
    uid: str | None
    kind: str
    job_id: str | None
    url: str
    description: str
    event_types: Sequence[str]
    agents: Sequence[str]
    projects: Sequence[str]
    metadata_filter: Mapping[str, Any]
    headers: Mapping[str, str]
    schedule: Sequence[float] | None
    max_in_flight: int
    rate_limit: float | None
    fifo: str | None
    payload: str
    schema_version: int
    allowance: int
    draining: bool
    metadata: Mapping[str, Any]
    status: str
    status_reason: str | None
    last_success_at: datetime | None
    failing_since: datetime | None
    consecutive_failures: int
    open_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A signing key as its owner sees it: ``public_key`` (``whpk_``) verifies what a v1a key signs."""

    id: str
    algorithm: str
    public_key: str | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedKey:
    """A new key with its secret, which is shown this once: None when a repeat finds the key there already."""

    key: Key
    secret: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedEndpoint:
    """A new endpoint with its secret, which is shown this once: None when the endpoint was there already."""

    endpoint: Endpoint
    secret: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryAttempt:
    """One try. ``timings`` are milliseconds since its start: dns, connect, tls, first_byte."""

    id: str
    number: int
    delivered: bool
    started_at: datetime
    duration_ms: int
    timings: Mapping[str, float]
    status_code: int | None
    error_class: str | None
    error: str | None
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str] | None
    response_body: str | None
    peer_address: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One event for one endpoint. ``next_attempt_at`` is None unless it is pending; get_delivery fills ``attempts``.

    ``attempt`` counts the tries since it was last sent anew, ``earlier_attempts`` those before that.
    """

    id: str
    team_id: str
    endpoint_id: str
    event_id: str
    job_id: str | None
    event_type: str
    body: str
    status: str
    attempt: int
    earlier_attempts: int
    next_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None
    attempts: Sequence[DeliveryAttempt] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; None means any. ``endpoint`` is an endpoint's id or uid."""

    endpoint: str | None = None
    statuses: tuple[str, ...] = ()
    job_id: str | None = None
    event_type: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InlineWebhook:
    """A one-off callback of one job. Without a secret, the team's own keys sign; if it has none, one is made."""

    url: str
    secret: str | None = None
    events: tuple[str, ...] = ("job.succeeded", "job.failed", "job.cancelled")
