"""Tables of retention: legal holds, what was removed, and stored values that may have nobody left."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ

NOW = text("now()")


class HoldRow(Base):
    """A legal hold. Released ones stay: they say who kept what, from when to when."""

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint("metadata <> '{}'::jsonb", name="metadata"),
        Index("holds_team_id_idx", "team_id", text("id DESC")),
        Index("holds_active_idx", "team_id", postgresql_where=text("released_at IS NULL")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    created_by: Mapped[Id | None] = mapped_column(IdText)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    released_by: Mapped[Id | None] = mapped_column(IdText)
    released_at: Mapped[TimestampTZ | None]


class RemovalRow(Base):
    """How many rows of a kind retention has removed so far, over all teams."""

    __tablename__ = "removals"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    removed: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class LeftoverRow(Base):
    """A stored value whose row was removed: its content goes unless another row has it too.

    ``trashed_at`` is when the content was put aside; it is deleted a day later, if still nobody has it.
    """

    __tablename__ = "leftovers"
    __table_args__ = (Index("leftovers_noted_at_idx", "noted_at"), Index("leftovers_team_id_idx", "team_id"))

    location: Mapped[str] = mapped_column(Text, primary_key=True)
    team_id: Mapped[Id]
    noted_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    trashed_at: Mapped[TimestampTZ | None]
