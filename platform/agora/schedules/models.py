"""Tables of the schedules and of what became of their fire times."""

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ
from agora.schedules.types import edition_of


class ScheduleRow(Base):
    """A schedule. ``next_fire_at`` null: it is paused, or no fire time is left. ``input`` is a stored value."""

    __tablename__ = "schedules"
    __table_args__ = (
        UniqueConstraint("team_id", "name"),
        UniqueConstraint("id", "team_id"),
        CheckConstraint("num_nonnulls(cron, every, at) = 1", name="kind"),
        CheckConstraint("catch_up IN ('skip', 'one', 'all')", name="catch_up"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint("every > 0", name="every"),
        CheckConstraint("failures >= 0", name="failures"),
        CheckConstraint("paused_at IS NULL OR next_fire_at IS NULL", name="paused"),
        Index("schedules_team_id_idx", "team_id", text("id DESC")),
        # Finds those with a large input, so that its file is kept as long as somebody refers to it.
        Index("schedules_input_ref_idx", text("(input ->> 'ref')"), postgresql_where=text("input ? 'ref'")),
        Index("schedules_due_idx", "next_fire_at", postgresql_where=text("next_fire_at IS NOT NULL")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    key_id: Mapped[Id | None] = mapped_column(IdText)
    name: Mapped[str] = mapped_column(Text)
    agent: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    version: Mapped[int | None] = mapped_column(Integer)
    input: Mapped[dict[str, Any]] = mapped_column(JSONB)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    cron: Mapped[str | None] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text, server_default="UTC")
    every: Mapped[float | None] = mapped_column(Double)
    at: Mapped[TimestampTZ | None]
    ends_at: Mapped[TimestampTZ | None]
    catch_up: Mapped[str] = mapped_column(Text, server_default="one")
    budget: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    paused_at: Mapped[TimestampTZ | None]
    next_fire_at: Mapped[TimestampTZ | None]
    last_fire_at: Mapped[TimestampTZ | None]
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """Fire times in a row at which no job could be made."""
    last_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))

    @property
    def edition(self) -> str:
        """Names what was set in it."""
        return edition_of(self.id, self.updated_at)


class RunRow(Base):
    """What became of one fire time: its key is what keeps two dispatchers from firing twice."""

    __tablename__ = "schedule_runs"
    __table_args__ = (
        CheckConstraint("outcome IN ('fired', 'failed', 'missed')", name="outcome"),
        CheckConstraint("(outcome = 'fired') = (job_id IS NOT NULL)", name="job"),
        ForeignKeyConstraint(["schedule_id", "team_id"], ["schedules.id", "schedules.team_id"], ondelete="CASCADE"),
        Index("schedule_runs_created_at_idx", "created_at"),
    )

    schedule_id: Mapped[Id] = mapped_column(primary_key=True)
    fire_at: Mapped[TimestampTZ] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    outcome: Mapped[str] = mapped_column(Text)
    manual: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    job_id: Mapped[Id | None] = mapped_column(IdText)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
