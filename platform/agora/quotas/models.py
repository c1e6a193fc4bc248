"""The table of tiers, in the auth database."""

from sqlalchemy import BigInteger, CheckConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import AuthBase

MOST = 10_000_000
"""Requests a minute that can be told apart: the script counts microseconds."""


class TierRow(AuthBase):
    """What a team of a tier may have. NULL: as much as it likes."""

    __tablename__ = "tiers"
    __table_args__ = (
        CheckConstraint("name ~ '^[a-z][a-z0-9-]{0,39}$'", name="name"),
        CheckConstraint("least(projects, members, jobs_per_day, storage_bytes) >= 0", name="amounts"),
        CheckConstraint(f"requests_per_minute BETWEEN 1 AND {MOST}", name="requests_per_minute"),
    )

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    projects: Mapped[int | None] = mapped_column(BigInteger)
    members: Mapped[int | None] = mapped_column(BigInteger)
    jobs_per_day: Mapped[int | None] = mapped_column(BigInteger)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
