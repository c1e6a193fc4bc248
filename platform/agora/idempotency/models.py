"""The table of idempotency keys."""

from sqlalchemy import Index, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, TimestampTZ


class IdempotencyRow(Base):
    """A remembered create: a repeat gets the resource as it is now. Kept 24 hours."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_created_at_idx", "created_at"),)

    team_id: Mapped[Id] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    route: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    resource_id: Mapped[Id]
    status: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
