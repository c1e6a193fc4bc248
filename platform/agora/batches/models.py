"""The table of batches."""

from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ


class BatchRow(Base):
    """A batch. How its jobs stand is counted from them while it runs; ``counts`` keeps it from when it completed."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint("size BETWEEN 1 AND 1000", name="size"),
        CheckConstraint("(ended_at IS NULL) = (counts IS NULL)", name="ended"),
        Index("batches_team_id_idx", "team_id", text("id DESC")),
        Index("batches_open_idx", "id", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    key_id: Mapped[Id | None] = mapped_column(IdText)
    size: Mapped[int] = mapped_column(Integer)
    agents: Mapped[list[str]] = mapped_column(ARRAY(Text))
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    counts: Mapped[dict[str, int] | None] = mapped_column(JSONB)
    cancel_requested_at: Mapped[TimestampTZ | None]
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    ended_at: Mapped[TimestampTZ | None]
