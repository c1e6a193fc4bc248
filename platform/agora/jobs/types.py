"""What the engine takes and gives: frozen values, no rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from agora.jobs.concurrency import Concurrency
from agora.jobs.unique import Debounce, Unique
from agora.webhooks.types import Delivery, InlineWebhook


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a job may spend; None means any amount. Times are seconds.

    ``queue_timeout`` counts from ``run_at`` to the start of the first step. Over a limit, the job fails (``fail``) or
    waits for approval before its next step (``ask``).
    """

    max_tokens: int | None = None
    max_cost_usd: Decimal | None = None
    max_run_seconds: float | None = None
    queue_timeout: float | None = None
    on_exceeded: str = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A job to be made. ``version`` None means the newest registered one; priority 0 to 9, higher first."""

    agent: str
    action: str
    input: Any
    version: int | None = None
    priority: int = 5
    run_at: datetime | None = None
    deadline: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    webhook: InlineWebhook | None = None
    budget: Budget | None = None
    traceparent: str | None = None
    request_id: str | None = None
    concurrency: Concurrency | None = None
    unique: Unique | None = None
    debounce: Debounce | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it may be inserted by one statement, as far as it is itself concerned."""
        return self.webhook is None and self.concurrency is None and self.unique is None and self.debounce is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """The job as it is now; whether this was a repeat, or found a twin; the new secret of the inline webhook."""

    job: "Job"
    replayed: bool = False
    deduplicated: bool = False
    webhook_secret: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One ended try of a step. ``error`` has code, type, message, retryable and, for its owner, the traceback."""

    number: int
    outcome: str
    error: Mapping[str, Any] | None
    worker_id: str | None
    started_at: datetime | None
    ended_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StepUsage:
    """What one try of a step spent on one model, in ``calls`` calls. ``cost_usd`` is an exact decimal as text."""

    attempt: int
    model: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StepView:
    """A step as the API shows it. ``suspension`` has kind, and for an answer waited for: prompt and schema."""

    id: str
    name: str
    position: int
    iteration: int
    item: int
    status: str
    queue: str
    attempt: int
    lost_leases: int
    run_at: datetime
    wake_at: datetime | None
    suspension: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    result: Any
    copied_from: str | None
    started_at: datetime | None
    ended_at: datetime | None
    tries: Sequence[Attempt] = ()
    usage: Sequence[StepUsage] = ()
    items: Mapping[str, int] | None = None
    """Of a map step: how many of its items stand in each state, and in all (``total``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemView:
    """An item of a map step as the API shows it. ``index`` counts from 0, in input order."""

    id: str
    index: int
    status: str
    attempt: int
    lost_leases: int
    value: Any
    result: Any
    error: Mapping[str, Any] | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a waiting job asks: give its ``id`` with the answer. ``schema`` is the JSON Schema of an answer."""

    id: str
    step: str
    prompt: str
    schema: Mapping[str, Any]
    asked_at: datetime | None
    until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job as the API shows it. ``steps`` is filled by get_job, empty in lists.

    ``usage`` has tokens_in, tokens_out, tokens, cost_usd (an exact decimal as text) as far as steps told of them, and
    from get_job run_seconds. ``partial_output`` is what steps showed of the output so far.
    """

    id: str
    team_id: str
    agent: str
    action: str
    version: int
    status: str
    priority: int
    input: Any
    output: Any
    error: Mapping[str, Any] | None
    progress: float
    progress_message: str
    usage: Mapping[str, Any]
    metadata: Mapping[str, Any]
    root_id: str
    parent_id: str | None
    retry_of: str | None
    forked_from: str | None
    batch_id: str | None
    schedule_id: str | None
    run_at: datetime
    deadline: datetime | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    steps: Sequence[StepView] = ()
    question: Question | None = None
    partial_output: Any = None
    budget: Mapping[str, Any] | None = None
    request_id: str | None = None
    """Of the request that made it; of a child: that made its parent. None: no request did."""
    waits: Mapping[str, Any] | None = None
    """Why it does not go on: ``reason``, ``since`` and what belongs to the reason. Filled by get_job."""

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.ended_at is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldJob(Job):
    """A job with the newest webhook deliveries about it."""

    deliveries: Sequence[Delivery]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilter:
    """Which jobs to list; None means any. ``metadata`` matches jobs whose metadata contains all of it."""

    statuses: tuple[str, ...] = ()
    agent: str | None = None
    action: str | None = None
    error_code: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    parent_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    batch_id: str | None = None
    schedule_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened. ``seq`` counts within its job from 1, without gaps."""

    id: str
    job_id: str | None
    seq: int
    type: str
    version: int
    data: Mapping[str, Any]
    occurred_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueAction:
    """A registered action version: what ``GET /agents`` shows.

    ``workers`` counts the living workers on each queue of its steps, ``live_workers`` those on any of them.
    """

    agent: str
    action: str
    version: int
    description: str
    agent_description: str
    steps: Sequence[Mapping[str, Any]]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    registered_at: datetime
    live_workers: int
    workers: Mapping[str, int]
