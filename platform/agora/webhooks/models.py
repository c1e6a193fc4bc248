"""Tables of the webhooks: endpoints, deliveries, and the attempts at them."""

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Double, Index, Integer, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ
from agora.webhooks.states import DELIVERY_ENDED, DeliveryState, EndpointState


def _listed(values: Any) -> str:
    return ", ".join(f"'{value}'" for value in values)


class EndpointRow(Base):
    """Where a team wants its events. ``kind`` inline belongs to one job. Secrets and header values are encrypted.

    ``next_due_at`` says when a claim should look here; null: nothing to do. ``open_until``: the breaker rests it.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        CheckConstraint(f"status IN ({_listed(EndpointState)})", name="status"),
        CheckConstraint(
            "(kind = 'endpoint' AND job_id IS NULL) OR (kind = 'inline' AND job_id IS NOT NULL)", name="kind"
        ),
        CheckConstraint("max_in_flight BETWEEN 1 AND 1000", name="max_in_flight"),
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
    secrets: Mapped[list[str]] = mapped_column(ARRAY(Text))
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


class DeliveryRow(Base):
    """One event for one endpoint; ``body`` is the exact text that is signed and sent, UTF-8."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        CheckConstraint(f"status IN ({_listed(DeliveryState)})", name="status"),
        CheckConstraint("(lease_token IS NOT NULL) = (status = 'leased')", name="lease"),
        CheckConstraint(f"(ended_at IS NOT NULL) = (status IN ({_listed(sorted(DELIVERY_ENDED))}))", name="ended"),
        Index(
            "webhook_deliveries_pending_idx", "endpoint_id", "next_attempt_at", "id",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("webhook_deliveries_leased_idx", "endpoint_id", postgresql_where=text("status = 'leased'")),
        Index("webhook_deliveries_lease_idx", "lease_expires_at", postgresql_where=text("status = 'leased'")),
        Index("webhook_deliveries_held_idx", "endpoint_id", postgresql_where=text("status = 'held'")),
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
    next_attempt_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
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
