"""Tables of the product: projects, sessions, specifications, conflicts."""

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Float, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from agora.db.types import Base, Id, IdText, TimestampTZ
from agora.projects.states import ConflictState, Phase, ProjectState, SessionState, SpecificationState

NOW = text("now()")


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def _within(column: str, owner: str, parent: str) -> ForeignKeyConstraint:
    """A foreign key to a row of the same owner."""
    return ForeignKeyConstraint([column, owner], [f"{parent}.id", f"{parent}.{owner}"], ondelete="CASCADE")


class ProjectRow(Base):
    """A project. ``origin`` is the root job that made it: a retry of that job makes no second one."""

    __tablename__ = "projects"
    __table_args__ = (
        CheckConstraint(_one_of("status", ProjectState), name="status"),
        CheckConstraint(_one_of("phase", Phase), name="phase"),
        UniqueConstraint("id", "team_id"),
        Index("projects_origin_key", "team_id", "origin", unique=True),
        Index("projects_team_id_idx", "team_id", text("id DESC")),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
    phase: Mapped[str] = mapped_column(Text, server_default="discovery")
    origin: Mapped[str] = mapped_column(Text)
    maturity: Mapped[float] = mapped_column(Float, server_default="0")
    coverage: Mapped[float] = mapped_column(Float, server_default="0")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    sessions: Mapped[list["SessionRow"]] = relationship(back_populates="project")


class ProjectShareRow(Base):
    """A project of ``team_id`` is shared with another team. The key of both sees to it that it is that team's."""

    __tablename__ = "project_shares"
    __table_args__ = (
        CheckConstraint("access IN ('read', 'write')", name="access"),
        CheckConstraint("with_team_id <> team_id", name="other"),
        _within("project_id", "team_id", "projects"),
        Index("project_shares_team_id_idx", "team_id"),
        Index("project_shares_with_team_id_idx", "with_team_id", text("project_id DESC")),
    )

    project_id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    with_team_id: Mapped[Id] = mapped_column(primary_key=True)
    access: Mapped[str] = mapped_column(Text)
    created_by: Mapped[Id]
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class SessionRow(Base):
    """A sitting in which specifications come to be: an interview, a chat, a document."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint(_one_of("status", SessionState), name="status"),
        UniqueConstraint("id", "project_id"),
        _within("project_id", "team_id", "projects"),
        Index("sessions_project_id_idx", "project_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    project_id: Mapped[Id]
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    project: Mapped[ProjectRow] = relationship(back_populates="sessions")


class SpecificationRow(Base):
    """A specification. One row per (project, category, key) is current; a newer value supersedes it."""

    __tablename__ = "specifications"
    __table_args__ = (
        CheckConstraint(_one_of("status", SpecificationState), name="status"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        CheckConstraint("current = (status NOT IN ('superseded', 'rejected'))", name="current"),
        _within("project_id", "team_id", "projects"),
        _within("session_id", "project_id", "sessions"),
        Index(
            "specifications_current_key", "project_id", "category", "key", unique=True,
            postgresql_where=text("current"),
        ),
        Index("specifications_session_id_idx", "session_id"),
    )  # fmt: skip

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    project_id: Mapped[Id]
    session_id: Mapped[Id]
    category: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float] = mapped_column(Float)
    reasoning: Mapped[str] = mapped_column(Text)
    analyst: Mapped[str] = mapped_column(Text)
    source: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default="draft")
    current: Mapped[bool] = mapped_column(server_default=text("true"))
    superseded_by: Mapped[Id | None] = mapped_column(IdText)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class ConflictRow(Base):
    """Two statements that cannot both hold, and whether somebody has decided."""

    __tablename__ = "conflicts"
    __table_args__ = (
        CheckConstraint(_one_of("status", ConflictState), name="status"),
        CheckConstraint("severity IN ('low', 'medium', 'high', 'critical')", name="severity"),
        _within("project_id", "team_id", "projects"),
        Index("conflicts_project_id_idx", "project_id", "status"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    project_id: Mapped[Id]
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="open")
    left: Mapped[dict[str, Any]] = mapped_column("left_statement", JSONB)
    right: Mapped[dict[str, Any]] = mapped_column("right_statement", JSONB)
    explanation: Mapped[str] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
