"""Tables of the bulk actions and of the jobs that they dealt with."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ


class BulkRow(Base):
    """A bulk action. ``after`` is the id of the last job that it has passed; ``leased_until``: one is at it now."""

    __tablename__ = "bulk_actions"
    __table_args__ = (
        CheckConstraint("action IN ('cancel', 'retry', 'fork')", name="action"),
        CheckConstraint("status IN ('running', 'completed', 'cancelled')", name="status"),
        CheckConstraint("(ended_at IS NULL) = (status = 'running')", name="ended"),
        UniqueConstraint("id", "team_id"),
        Index("bulk_actions_team_id_idx", "team_id", text("id DESC")),
        Index("bulk_actions_open_idx", "touched_at", postgresql_where=text("status = 'running'")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    key_id: Mapped[Id | None] = mapped_column(IdText)
    action: Mapped[str] = mapped_column(Text)
    filter: Mapped[dict[str, Any]] = mapped_column(JSONB)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="running")
    matched: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, server_default="0")
    after: Mapped[Id] = mapped_column(server_default="")
    leased_until: Mapped[TimestampTZ | None]
    touched_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    cancel_requested_at: Mapped[TimestampTZ | None]
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    ended_at: Mapped[TimestampTZ | None]


class ItemRow(Base):
    """A job that a bulk action dealt with: its key is what keeps it from being dealt with twice."""

    __tablename__ = "bulk_items"
    __table_args__ = (
        CheckConstraint("outcome IN ('done', 'failed')", name="outcome"),
        CheckConstraint("(outcome = 'failed') = (error IS NOT NULL)", name="error"),
        ForeignKeyConstraint(["bulk_id", "team_id"], ["bulk_actions.id", "bulk_actions.team_id"], ondelete="CASCADE"),
    )

    bulk_id: Mapped[Id] = mapped_column(primary_key=True)
    job_id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    outcome: Mapped[str] = mapped_column(Text)
    new_job_id: Mapped[Id | None] = mapped_column(IdText)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
