"""The tables of idempotency keys: each database has one, since a key is taken in the transaction of its create."""

from sqlalchemy import Index, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import AuthBase, Base, Id, TimestampTZ


class _Key:
    """A remembered create: a repeat gets the resource as it is now. Kept 24 hours."""

    __tablename__ = "idempotency_keys"

    team_id: Mapped[Id] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    route: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    resource_id: Mapped[Id]
    status: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))


class IdempotencyRow(_Key, Base):
    """A remembered create of the main database."""

    __table_args__ = (Index("idempotency_keys_created_at_idx", "created_at"),)


class AuthIdempotencyRow(_Key, AuthBase):
    """A remembered create of the auth database."""

    __table_args__ = (Index("idempotency_keys_created_at_idx", "created_at"),)
