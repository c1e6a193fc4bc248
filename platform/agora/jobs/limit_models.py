"""Tables of limits: what they allow, and which jobs hold or wait for a permit of theirs."""

from datetime import datetime

from sqlalchemy import TIMESTAMP, CheckConstraint, ForeignKey, Index, Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ
from agora.jobs.models import JobRow

NOW = text("now()")


class LimitRow(Base):
    """A limit. With a ``key`` it is a concurrency key, made by a submit; else it was configured.

    ``max_running`` counts jobs that hold a permit; ``rate`` is starts per second, ``burst`` how many tokens are saved.
    """

    __tablename__ = "limits"
    __table_args__ = (
        CheckConstraint("max_running >= 0", name="max_running"),
        CheckConstraint("rate > 0 AND burst >= 1", name="rate"),
        Index("limits_next_at_idx", "next_at", postgresql_where=text("next_at IS NOT NULL")),
    )

    scope: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id | None] = mapped_column(IdText)
    agent: Mapped[str | None] = mapped_column(Text)
    action: Mapped[str | None] = mapped_column(Text)
    key: Mapped[str | None] = mapped_column(Text)
    max_running: Mapped[int | None] = mapped_column(Integer)
    rate: Mapped[float | None]
    burst: Mapped[int | None] = mapped_column(Integer)
    tokens: Mapped[float] = mapped_column(server_default="0")
    counted_at: Mapped[TimestampTZ] = mapped_column(server_default=text("clock_timestamp()"))
    next_at: Mapped[TimestampTZ | None]
    removed: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    updated_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class PermitRow(Base):
    """A job under a limit: ``held``, or ``waiting`` in this line, or ``idle`` while the job waits elsewhere.

    Who holds a permit is who runs. Nothing is counted up and down: a permit is worth nothing once its job has ended.
    """

    __tablename__ = "permits"
    __table_args__ = (
        CheckConstraint("state IN ('idle', 'waiting', 'held')", name="state"),
        Index("permits_job_idx", "job_id"),
        Index("permits_line_idx", "scope", "team_id", "place", "job_id", postgresql_where=text("state = 'waiting'")),
        Index("permits_held_idx", "scope", "team_id", postgresql_where=text("state = 'held'")),
    )

    scope: Mapped[Id] = mapped_column(primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey(JobRow.id, ondelete="CASCADE"), primary_key=True)
    team_id: Mapped[Id]
    place: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=False))
    state: Mapped[str] = mapped_column(Text)
    since: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class UniqueRow(Base):
    """The job that a key of a unique or a debounced submit stands for. Submits with one key go one after the other."""

    __tablename__ = "unique_keys"
    __table_args__ = (Index("unique_keys_taken_at_idx", "taken_at"),)

    team_id: Mapped[Id] = mapped_column(primary_key=True)
    agent: Mapped[str] = mapped_column(Text, primary_key=True)
    action: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    job_id: Mapped[Id]
    taken_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
