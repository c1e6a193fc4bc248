"""The table of erasures."""

from sqlalchemy import CheckConstraint, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, TimestampTZ


class ErasureRow(Base):
    """A team that is being erased, or was: then all that is left of it is the SHA-256 of its id."""

    __tablename__ = "erasures"
    __table_args__ = (CheckConstraint("(team_name IS NULL) = (finished_at IS NOT NULL)", name="finished"),)

    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    team_name: Mapped[str | None] = mapped_column(Text)
    removed: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")
    began_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    finished_at: Mapped[TimestampTZ | None]
