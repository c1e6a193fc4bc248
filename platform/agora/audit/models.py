"""Tables of the audit log: the log itself in auth, and in either database what is written and yet to come into it."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from agora.audit.acting import ActorKind
from agora.db.types import AuthBase, Base, Id, IdText, TimestampTZ

KINDS = ", ".join(f"'{kind}'" for kind in ActorKind)


def _checks() -> tuple[CheckConstraint, ...]:
    return (
        CheckConstraint(f"actor_kind IN ({KINDS})", name="actor_kind"),
        CheckConstraint("action LIKE '%_._%'", name="action"),
        CheckConstraint("jsonb_typeof(before) = 'object' AND jsonb_typeof(after) = 'object'", name="changes"),
    )


class Said:
    """What an entry says. ``before`` and ``after`` have the changed fields only."""

    id: Mapped[Id] = mapped_column(primary_key=True)
    at: Mapped[TimestampTZ]
    actor_kind: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[str | None] = mapped_column(IdText)
    actor_name: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(IdText)
    object_type: Mapped[str] = mapped_column(Text)
    object_id: Mapped[str] = mapped_column(IdText)
    address: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)

    @declared_attr
    def before(cls) -> Mapped[dict[str, Any]]:  # noqa: N805  # SQLAlchemy's way
        """Changed fields as they were."""
        return mapped_column(JSONB)

    @declared_attr
    def after(cls) -> Mapped[dict[str, Any]]:  # noqa: N805
        """Changed fields as they are now."""
        return mapped_column(JSONB)


class Entry(Said):
    """An entry of a team's log."""

    team_id: Mapped[Id]


class EntryRow(Entry, AuthBase):
    """An entry of the log. ``seq`` and ``hash`` are set once, by the dispatcher, which chains the entries of a team."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        *_checks(),
        CheckConstraint("num_nulls(seq, hash) IN (0, 2) AND seq >= 1 AND octet_length(hash) = 32", name="chained"),
        Index("audit_entries_team_id_seq_key", "team_id", "seq", unique=True),
        Index("audit_entries_team_id_idx", "team_id", text("id DESC")),
        Index("audit_entries_actor_idx", "team_id", "actor_id", text("id DESC")),
        Index("audit_entries_object_idx", "team_id", "object_id", text("id DESC")),
        Index("audit_entries_unchained_idx", "team_id", "id", postgresql_where=text("seq IS NULL")),
    )

    seq: Mapped[int | None] = mapped_column(BigInteger)
    hash: Mapped[bytes | None] = mapped_column(LargeBinary)


class HeadRow(AuthBase):
    """Where a team's chain ends, and where it begins: the last entry that retention removed, or nothing before 1."""

    __tablename__ = "audit_heads"
    __table_args__ = (
        CheckConstraint("seq >= anchor_seq AND anchor_seq >= 0", name="seq"),
        CheckConstraint("octet_length(hash) = 32 AND octet_length(anchor_hash) = 32", name="hash"),
    )

    team_id: Mapped[Id] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    anchor_seq: Mapped[int] = mapped_column(BigInteger)
    anchor_hash: Mapped[bytes] = mapped_column(LargeBinary)


class OfUserRow(Said, AuthBase):
    """An entry about a user, until the dispatcher has written it into the log of each of their teams."""

    __tablename__ = "audit_of_users"
    __table_args__ = _checks()


class OutboxRow(Entry, Base):
    """An entry that a transaction of main has written, until the dispatcher has copied it over."""

    __tablename__ = "audit_outbox"
    __table_args__ = _checks()
