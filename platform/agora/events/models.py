"""The events table."""

from typing import Any

from sqlalchemy import Index, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ


class EventRow(Base):
    """One event. ``seq`` counts within its job from 1, without gaps. Append-only, partitioned by its id."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_job_id_seq_idx", "job_id", "seq"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    job_id: Mapped[Id | None] = mapped_column(IdText)
    seq: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    occurred_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
