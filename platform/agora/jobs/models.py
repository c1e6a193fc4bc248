"""Tables of the job engine: catalogue, workers, jobs, steps, notes, attempts, idempotency keys."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from agora.db.types import Base, Id, IdText, TimestampTZ
from agora.jobs.states import JOB_ENDED, JobState, StepState

NOW = text("now()")


def _one_of(column: str, values: type[JobState] | type[StepState]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def referring(table: str, column: str) -> Index:
    """Finds the rows whose stored value is a reference to this location: those of large values only."""
    return Index(f"{table}_{column}_ref_idx", text(f"({column} ->> 'ref')"), postgresql_where=text(f"{column} ? 'ref'"))


class AgentVersion(Base):
    """One version of one action, as workers registered it. ``spec`` holds steps and schemas."""

    __tablename__ = "agent_versions"

    agent: Mapped[str] = mapped_column(Text, primary_key=True)
    action: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    description: Mapped[str] = mapped_column(Text)
    agent_description: Mapped[str] = mapped_column(Text)
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    fingerprint: Mapped[str] = mapped_column(Text)
    registered_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class Worker(Base):
    """A worker parent process, as it last reported. Rows are hints for people; leases decide who runs what."""

    __tablename__ = "workers"

    id: Mapped[Id] = mapped_column(primary_key=True)
    hostname: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    actions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    """Those that it listens to; none means that it did not say, and counts for every queue."""
    started_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    seen_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class JobRow(Base):
    """A job. ``input`` and ``output`` are stored values: ``{"v": value}`` or ``{"ref": location}``.

    A trigger keeps it as it ended.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(_one_of("status", JobState), name="status"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("depth >= 0", name="depth"),
        CheckConstraint("event_seq >= 0", name="event_seq"),
        CheckConstraint("char_length(request_id) BETWEEN 1 AND 100", name="request_id"),
        CheckConstraint(
            f"(ended_at IS NOT NULL) = (status IN ({', '.join(repr(str(s)) for s in sorted(JOB_ENDED))}))", name="ended"
        ),
        Index("jobs_team_id_idx", "team_id", text("id DESC")),
        Index("jobs_team_status_idx", "team_id", "status", text("id DESC")),
        Index(
            "jobs_team_agent_idx",
            "team_id",
            "agent",
            "status",
            text("id DESC"),
            postgresql_where=text("ended_at IS NOT NULL"),
        ),
        Index(
            "jobs_team_error_idx",
            "team_id",
            text("(error ->> 'code')"),
            text("id DESC"),
            postgresql_where=text("error IS NOT NULL"),
        ),
        Index("jobs_schedule_id_idx", "schedule_id", "id", postgresql_where=text("schedule_id IS NOT NULL")),
        Index(
            "jobs_metadata_idx",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
            postgresql_with={"fastupdate": "off"},
            postgresql_where=text("metadata <> '{}'"),
        ),
        Index("jobs_batch_id_idx", "batch_id", "status", "id", postgresql_where=text("batch_id IS NOT NULL")),
        Index("jobs_parent_id_idx", "parent_id", text("id DESC"), postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "jobs_parent_step_idx",
            "parent_step_id",
            "status",
            postgresql_where=text("parent_step_id IS NOT NULL"),
        ),
        Index(
            "jobs_cancel_idx",
            "cancel_requested_at",
            postgresql_where=text("cancel_requested_at IS NOT NULL AND ended_at IS NULL"),
        ),
        Index(
            "jobs_deadline_idx",
            "deadline",
            postgresql_where=text("deadline IS NOT NULL AND ended_at IS NULL"),
        ),
        Index(
            "jobs_start_by_idx",
            "start_by",
            postgresql_where=text("start_by IS NOT NULL AND started_at IS NULL AND ended_at IS NULL"),
        ),
        referring("jobs", "input"),
        referring("jobs", "output"),
        referring("jobs", "partial_output"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    key_id: Mapped[Id | None] = mapped_column(IdText)
    agent: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="5")
    input: Mapped[dict[str, Any]] = mapped_column(JSONB)
    output: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    progress: Mapped[float] = mapped_column(server_default="0")
    progress_message: Mapped[str] = mapped_column(Text, server_default="")
    usage: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """Sums of its steps' usage: tokens_in, tokens_out, tokens, and cost_usd as the text of an exact decimal."""
    partial_output: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    budget: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    start_by: Mapped[TimestampTZ | None]
    """When its first step must have begun."""
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")
    limited: Mapped[bool] = mapped_column(server_default="false")
    """Whether limits concern it: it has permits until it ends."""
    concurrency_key: Mapped[str | None] = mapped_column(Text)
    traceparent: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    """Of the request that made it, as logs have it; of a child: that made its parent."""
    root_id: Mapped[Id]
    parent_id: Mapped[Id | None] = mapped_column(IdText)
    parent_step_id: Mapped[Id | None] = mapped_column(IdText)
    """The step that spawned it, and waits for it."""
    child_index: Mapped[int | None] = mapped_column(Integer)
    depth: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    retry_of: Mapped[Id | None] = mapped_column(IdText)
    forked_from: Mapped[Id | None] = mapped_column(IdText)
    batch_id: Mapped[Id | None] = mapped_column(IdText)
    schedule_id: Mapped[Id | None] = mapped_column(IdText)
    event_seq: Mapped[int] = mapped_column(Integer, server_default="0")
    run_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    deadline: Mapped[TimestampTZ | None]
    cancel_requested_at: Mapped[TimestampTZ | None]
    cancel_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    started_at: Mapped[TimestampTZ | None]
    ended_at: Mapped[TimestampTZ | None]


class QueueRow(Base):
    """What was set about a queue; a queue without a row runs as it is."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    paused_at: Mapped[TimestampTZ | None]
    reason: Mapped[str] = mapped_column(Text, server_default="")


class StepRow(Base):
    """A step of a job, known by (job, name, iteration, item). Items of a map step count from 1, it itself is 0.

    A trigger keeps it as it ended.
    """

    __tablename__ = "steps"
    __table_args__ = (
        UniqueConstraint("job_id", "name", "iteration", "item"),
        CheckConstraint(_one_of("status", StepState), name="status"),
        CheckConstraint("(fence IS NOT NULL) = (status = 'running')", name="fence"),
        CheckConstraint("held IN ('time', 'concurrency', 'rate', 'worker')", name="held"),
        CheckConstraint(
            "iteration >= 0 AND item >= 0 AND attempt >= 0 AND lost_leases >= 0 AND max_attempts >= 1", name="counts"
        ),
        Index(
            "steps_due_idx",
            "queue",
            "team_id",
            "place",
            "id",
            postgresql_where=text("status = 'ready' AND rung_at IS NULL AND held IS NULL"),
        ),
        Index("steps_time_idx", "run_at", postgresql_where=text("status = 'ready' AND held = 'time'")),
        Index("steps_held_idx", "queue", "held", postgresql_where=text("status = 'ready' AND held IS NOT NULL")),
        Index("steps_rung_idx", "queue", "rung_at", postgresql_where=text("status = 'ready' AND rung_at IS NOT NULL")),
        Index("steps_lease_idx", "lease_expires_at", postgresql_where=text("status = 'running'")),
        Index(
            "steps_open_items_idx",
            "job_id",
            "name",
            "iteration",
            postgresql_where=text("item > 0 AND status IN ('ready', 'running')"),
        ),
        Index(
            "steps_failed_items_idx",
            "job_id",
            "name",
            "iteration",
            postgresql_where=text("item > 0 AND status = 'failed'"),
        ),
        Index(
            "steps_parts_idx",
            "id",
            postgresql_where=text(
                "item = 0 AND status = 'suspended' AND (suspension ->> 'kind') IN ('items', 'children')"
            ),
        ),
        Index("steps_wake_idx", "wake_at", postgresql_where=text("status = 'suspended'")),
        referring("steps", "carry"),
        referring("steps", "result"),
        referring("steps", "value"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    team_id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text)
    position: Mapped[int] = mapped_column(SmallInteger)
    iteration: Mapped[int] = mapped_column(Integer, server_default="0")
    item: Mapped[int] = mapped_column(Integer, server_default="0")
    status: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger)
    label: Mapped[str] = mapped_column(Text)
    """``agent.action.step``: what Flower shows."""
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    lost_leases: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    fence: Mapped[str | None] = mapped_column(Text)
    worker_id: Mapped[Id | None] = mapped_column(IdText)
    lease_expires_at: Mapped[TimestampTZ | None]
    run_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    place: Mapped[datetime] = mapped_column(
        TIMESTAMP(timezone=False),
        Computed("(run_at AT TIME ZONE 'UTC') - priority * interval '1 minute'", persisted=True),
    )
    """Its place in its team's order: a level of priority is worth a minute of waiting."""
    held: Mapped[str | None] = mapped_column(Text)
    """Why a ready step is not in the order: ``time`` until ``run_at``, ``concurrency`` or
    ``rate`` at a limit, ``worker`` while nobody runs its version."""
    rung_at: Mapped[TimestampTZ | None]
    wake_at: Mapped[TimestampTZ | None]
    copied_from: Mapped[Id | None] = mapped_column(IdText)
    """The step of another job that computed the result, when a retry or a fork took it over."""
    suspension: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    carry: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    value: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What an item of a map step is run for."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
    started_at: Mapped[TimestampTZ | None]
    ended_at: Mapped[TimestampTZ | None]


class StepNote(Base):
    """A value that a step computed once, over all its tries (``ctx.once``)."""

    __tablename__ = "step_notes"
    __table_args__ = (referring("step_notes", "value"),)

    step_id: Mapped[Id] = mapped_column(ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class StepUsage(Base):
    """What one call of a step cost: written as it was spent, whatever became of the try."""

    __tablename__ = "step_usage"
    __table_args__ = (
        CheckConstraint("tokens_in >= 0 AND tokens_out >= 0 AND cost_usd >= 0", name="spent"),
        Index("step_usage_key_idx", "step_id", "key", unique=True, postgresql_where=text("key IS NOT NULL")),
    )

    step_id: Mapped[Id] = mapped_column(ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[Id] = mapped_column(primary_key=True)
    team_id: Mapped[Id]
    attempt: Mapped[int] = mapped_column(SmallInteger)
    key: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal] = mapped_column(Numeric)
    used_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)


class AttemptRow(Base):
    """One try of a step and how it ended: append-only, partitioned by its id."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("attempts_job_id_idx", "job_id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    job_id: Mapped[Id]
    step_id: Mapped[Id]
    team_id: Mapped[Id]
    number: Mapped[int] = mapped_column(SmallInteger)
    outcome: Mapped[str] = mapped_column(Text)
    worker_id: Mapped[Id | None] = mapped_column(IdText)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    started_at: Mapped[TimestampTZ | None]
    ended_at: Mapped[TimestampTZ] = mapped_column(server_default=NOW)
