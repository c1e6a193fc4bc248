"""Tables of the auth database."""

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import AuthBase, Id, TimestampTZ


class TeamRow(AuthBase):
    """A team: the tenant. Everything in the main database belongs to one."""

    __tablename__ = "teams"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))


class ApiKeyRow(AuthBase):
    """An API key: only the SHA-256 of its 256 random bits is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("api_keys_team_id_idx", "team_id"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=text("now()"))
    last_used_at: Mapped[TimestampTZ | None]
    expires_at: Mapped[TimestampTZ | None]
    revoked_at: Mapped[TimestampTZ | None]
