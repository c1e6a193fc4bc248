"""Tables of the webhooks: endpoints and their keys, deliveries, the attempts at them, fan-outs that were put off."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ
from agora.webhooks.states import DELIVERY_ENDED, Algorithm, DeliveryState, EndpointState, Order, Payload, Signing


def _listed(values: Any) -> str:
    return ", ".join(f"'{value}'" for value in values)


class EndpointRow(Base):
    """Where a team wants its events. ``kind`` inline belongs to one job. Header values are encrypted.

    ``next_due_at`` says when a claim should look here; null: nothing to do. ``open_until``: the breaker rests it.
    ``allowance`` is how many deliveries may be under way just now, at most ``max_in_flight``: it grows with each
    success and shrinks with failures. ``tokens`` at ``tokens_at`` is what a ``rate_limit`` per second had left.
    ``recent_*`` count tries since ``recent_since``, for the breaker. ``warned``: the per cent of the time to its
    disabling of which the team has been told. ``draining``: deliveries that were held are released at a pace.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        CheckConstraint(f"status IN ({_listed(EndpointState)})", name="status"),
        CheckConstraint(
            "(kind = 'endpoint' AND job_id IS NULL) OR (kind = 'inline' AND job_id IS NOT NULL)", name="kind"
        ),
        CheckConstraint("max_in_flight BETWEEN 1 AND 1000", name="max_in_flight"),
        CheckConstraint(f"signing IN ({_listed(Signing)})", name="signing"),
        CheckConstraint(f"payload IN ({_listed(Payload)})", name="payload"),
        CheckConstraint(f"fifo IN ({_listed(Order)})", name="fifo"),
        CheckConstraint("rate_limit BETWEEN 0.01 AND 10000", name="rate_limit"),
        CheckConstraint("allowance >= 1", name="allowance"),
        CheckConstraint("cardinality(event_types) >= 1", name="event_types"),
        CheckConstraint("url <> ''", name="url"),
        CheckConstraint("warned BETWEEN 0 AND 100", name="warned"),
        CheckConstraint("jsonb_typeof(metadata_filter) = 'object'", name="metadata_filter"),
        Index("webhook_endpoints_any_team_id_idx", "team_id"),
        Index("webhook_endpoints_draining_idx", "id", postgresql_where=text("draining AND status = 'active'")),
        Index("webhook_endpoints_due_idx", "next_due_at", postgresql_where=text("status = 'active'")),
        Index("webhook_endpoints_job_id_idx", "job_id", postgresql_where=text("kind = 'inline'")),
        Index("webhook_endpoints_team_id_idx", "team_id", text("id DESC"), postgresql_where=text("kind = 'endpoint'")),
        Index("webhook_endpoints_uid_idx", "team_id", "uid", unique=True, postgresql_where=text("uid IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    uid: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text, server_default="endpoint")
    job_id: Mapped[Id | None] = mapped_column(IdText)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    agents: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    headers: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    signing: Mapped[str] = mapped_column(Text, server_default="own")
    projects: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    metadata_filter: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    payload: Mapped[str] = mapped_column(Text, server_default="thin")
    schema_version: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    rate_limit: Mapped[float | None] = mapped_column(Double)
    tokens: Mapped[float | None] = mapped_column(Double)
    tokens_at: Mapped[TimestampTZ | None]
    fifo: Mapped[str | None] = mapped_column(Text)
    draining: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    allowance: Mapped[int] = mapped_column(Integer, server_default="4")
    recent_tries: Mapped[int] = mapped_column(Integer, server_default="0")
    recent_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    recent_since: Mapped[TimestampTZ | None]
    warned: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    schedule: Mapped[list[float] | None] = mapped_column(ARRAY(Double))
    max_in_flight: Mapped[int] = mapped_column(Integer, server_default="32")
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    status: Mapped[str] = mapped_column(Text, server_default="active")
    status_reason: Mapped[str | None] = mapped_column(Text)
    next_due_at: Mapped[TimestampTZ | None]
    last_served_at: Mapped[TimestampTZ | None]
    last_success_at: Mapped[TimestampTZ | None]
    failing_since: Mapped[TimestampTZ | None]
    consecutive_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    open_until: Mapped[TimestampTZ | None]
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))


class KeyRow(Base):
    """A signing key of an endpoint, or, without one, of the team: its inline webhooks may use that. Sealed at rest.

    After ``expires_at`` it no longer signs. ``public_key`` (``whpk_``) is that of a v1a key.
    """

    __tablename__ = "webhook_keys"
    __table_args__ = (
        CheckConstraint(f"algorithm IN ({_listed(Algorithm)})", name="algorithm"),
        CheckConstraint("(public_key IS NOT NULL) = (algorithm = 'v1a')", name="public_key"),
        Index("webhook_keys_endpoint_id_idx", "endpoint_id", postgresql_where=text("endpoint_id IS NOT NULL")),
        Index("webhook_keys_team_id_idx", "team_id", postgresql_where=text("endpoint_id IS NULL")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    endpoint_id: Mapped[Id | None] = mapped_column(IdText, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    algorithm: Mapped[str] = mapped_column(Text)
    sealed: Mapped[str] = mapped_column(Text)
    public_key: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    expires_at: Mapped[TimestampTZ | None]


class DeliveryRow(Base):
    """One event for one endpoint; ``body`` is the exact text that is signed and sent, UTF-8.

    While ``full_payload`` is true, the body is still the thin one and is completed before the first try. Deliveries of
    an ordered endpoint have an ``order_key`` and a ``place``; only the first of its key is due, those behind it have
    no ``next_attempt_at``. ``earlier_attempts`` were made before a re-send began the schedule anew.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        CheckConstraint(f"status IN ({_listed(DeliveryState)})", name="status"),
        CheckConstraint("(lease_token IS NOT NULL) = (status = 'leased')", name="lease"),
        CheckConstraint("attempt >= 0 AND earlier_attempts >= 0", name="attempt"),
        CheckConstraint("(order_key IS NULL) = (place IS NULL)", name="order"),
        CheckConstraint(
            "next_attempt_at IS NOT NULL OR (order_key IS NOT NULL AND status IN ('pending', 'held', 'cancelled'))",
            name="turn",
        ),
        Index(
            "webhook_deliveries_order_idx", "endpoint_id", "order_key", "place",
            postgresql_where=text("order_key IS NOT NULL AND status IN ('pending', 'leased', 'held')"),
        ),
        CheckConstraint(f"(ended_at IS NOT NULL) = (status IN ({_listed(sorted(DELIVERY_ENDED))}))", name="ended"),
        Index(
            "webhook_deliveries_pending_idx", "endpoint_id", "next_attempt_at", "id",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("webhook_deliveries_leased_idx", "endpoint_id", postgresql_where=text("status = 'leased'")),
        Index("webhook_deliveries_lease_idx", "lease_expires_at", postgresql_where=text("status = 'leased'")),
        Index("webhook_deliveries_held_idx", "endpoint_id", "id", postgresql_where=text("status = 'held'")),
        Index("webhook_deliveries_team_id_idx", "team_id", text("id DESC")),
        Index("webhook_deliveries_endpoint_id_idx", "endpoint_id", text("id DESC")),
        Index("webhook_deliveries_job_id_idx", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 70}},
    )  # fmt: skip

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    endpoint_id: Mapped[Id]
    event_id: Mapped[Id]
    job_id: Mapped[Id | None] = mapped_column(IdText)
    event_type: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lost_leases: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    next_attempt_at: Mapped[TimestampTZ | None] = mapped_column(server_default=text("now()"))
    full_payload: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    order_key: Mapped[str | None] = mapped_column(Text)
    place: Mapped[int | None] = mapped_column(BigInteger)
    earlier_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lease_token: Mapped[str | None] = mapped_column(Text)
    lease_expires_at: Mapped[TimestampTZ | None]
    last_status_code: Mapped[int | None] = mapped_column(SmallInteger)
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    ended_at: Mapped[TimestampTZ | None]


class AttemptRow(Base):
    """One try. Append-only, partitioned by its id; ``timings`` are milliseconds since the start of the try."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (
        Index("webhook_attempts_delivery_id_idx", "delivery_id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    delivery_id: Mapped[Id]
    number: Mapped[int] = mapped_column(SmallInteger)
    delivered: Mapped[bool] = mapped_column(Boolean)
    started_at: Mapped[TimestampTZ]
    duration_ms: Mapped[int] = mapped_column(Integer)
    timings: Mapped[dict[str, float]] = mapped_column(JSONB)
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    error_class: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    request_headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    response_headers: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    response_body: Mapped[str | None] = mapped_column(Text)
    peer_address: Mapped[str | None] = mapped_column(Text)


class FanOutRow(Base):
    """Events that concern more endpoints than a commit should wait for; the dispatcher expands them.

    ``after`` is the last endpoint that has its deliveries. Those of a team are expanded in the order of ``number``.
    """

    __tablename__ = "webhook_fan_outs"
    __table_args__ = (Index("webhook_fan_outs_team_id_idx", "team_id", "number"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    events: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    after: Mapped[Id] = mapped_column(server_default="")
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))


class ReplayRow(Base):
    """Deliveries to be sent again, in slices: all failed ones since a time, or those that a filter finds."""

    __tablename__ = "webhook_replays"
    __table_args__ = (
        CheckConstraint("action IN ('recover', 'replay')", name="action"),
        CheckConstraint("status IN ('running', 'completed', 'cancelled')", name="status"),
        CheckConstraint("(ended_at IS NULL) = (status = 'running')", name="ended"),
        Index("webhook_replays_open_idx", "touched_at", postgresql_where=text("status = 'running'")),
        Index("webhook_replays_team_id_idx", "team_id", text("id DESC")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    endpoint_id: Mapped[Id | None] = mapped_column(IdText)
    action: Mapped[str] = mapped_column(Text)
    filter: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="running")
    matched: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, server_default="0")
    skipped: Mapped[int] = mapped_column(Integer, server_default="0")
    after: Mapped[Id] = mapped_column(server_default="")
    touched_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    ended_at: Mapped[TimestampTZ | None]


class PortalLinkRow(Base):
    """A link with which a customer's developer manages their endpoints: those whose metadata contains ``scope``."""

    __tablename__ = "webhook_portal_links"
    __table_args__ = (
        Index("webhook_portal_links_hash_idx", "hash", unique=True),
        Index("webhook_portal_links_team_id_idx", "team_id", text("id DESC")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    hash: Mapped[Id]
    label: Mapped[str] = mapped_column(Text, server_default="")
    scope: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    read_only: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    expires_at: Mapped[TimestampTZ]
    revoked_at: Mapped[TimestampTZ | None]
