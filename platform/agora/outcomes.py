"""How a step ends: ordinary outcomes are values, exceptions mean failure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The step succeeded with this value. Returning the plain value means the same."""

    value: T


@dataclass(frozen=True, slots=True)
class Snooze:
    """Sleep until a moment, holding no worker. The step's result is then null."""

    until: datetime


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait for somebody's answer, holding no worker. The step's result is then an Answer or TimedOut.

    ``schema`` is the JSON Schema (2020-12) that an answer must satisfy; without ``until`` it waits for ever.
    """

    schema: Mapping[str, Any]
    prompt: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """Go back to a named step of the same action, its iteration counted up, with ``ctx.carry`` set."""

    step: Any  # a Step or its name; typed in agora.agents, which imports this module
    carry: Any = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The step decides that its job shall be cancelled."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failures:
    """How many items of a fan-out, or children, may fail before the whole does: the larger of ``count`` and ``share``.

    The default fails fast: the first failure cancels what is still open.
    """

    count: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"Failures.count must not be negative, not {self.count}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"Failures.share must be 0 to 1, not {self.share}")

    @classmethod
    def fail_fast(cls) -> "Failures":
        """None may fail."""
        return cls()

    @classmethod
    def collect(cls) -> "Failures":
        """All may fail: the next step looks at what became of each."""
        return cls(share=1.0)

    def tolerated(self, total: int) -> int:
        """How many of ``total`` may fail."""
        return max(self.count, math.floor(self.share * total))


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A job that a step spawns. ``version`` None means the newest; ``priority`` None that of the parent."""

    agent: str
    action: str
    input: Mapping[str, Any]
    version: int | None = None
    priority: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Submit child jobs and wait for all of them, holding no worker. The step's result is a ChildResult for each.

    They are made in the transaction that records this outcome: each once, whatever happens to the worker.
    """

    children: Sequence[Child]
    failures: Failures = Failures()


SUSPENSIONS = (Snooze, WaitFor, Spawn)
OUTCOMES = (Done, Snooze, WaitFor, Spawn, Repeat, Cancel)


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child job ended: ``output`` if it succeeded, else ``error`` (code, type, message)."""

    job_id: str
    status: Literal["succeeded", "failed", "cancelled"]
    output: Any = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a WaitFor becomes when somebody answered."""

    value: Any
    answered_at: datetime
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """What a WaitFor becomes when nobody answered in time."""

    at: datetime
    kind: Literal["timed-out"] = "timed-out"


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how often a failed step is tried again: exponential back-off with jitter, kept in Postgres.

    ``attempts`` counts the first try. The n-th wait is ``first * 2**(n-1)``, at most ``cap``, times 1 ± ``jitter``.
    """

    attempts: int = 3
    first: timedelta = field(default=timedelta(seconds=1))
    cap: timedelta = field(default=timedelta(minutes=10))
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 100:  # noqa: PLR2004  # said in the message
            raise ValueError(f"Retry.attempts must be 1 to 100, not {self.attempts}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"Retry.jitter must be 0 or more and below 1, not {self.jitter}")


class StepError(Exception):
    """A failure that says how it is to be handled."""

    retryable = True
    default_code = "step-failed"

    def __init__(self, message: str, *, code: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.retry_after = retry_after


class Transient(StepError):
    """It may work next time: retried with back-off, no sooner than ``retry_after``."""

    default_code = "transient"


class Permanent(StepError):
    """It will never work: the step and its job fail at once."""

    retryable = False
    default_code = "permanent"


class Interrupted(BaseException):
    """Raised by ``ctx.check()``: the step should end now. Not an Exception, so that a broad except lets it through."""

    reason = "interrupted"


class Cancelled(Interrupted):
    """Somebody cancelled the job."""

    reason = "cancelled"


class TimeExceeded(Interrupted):
    """The step's time-out or the job's deadline has passed."""

    reason = "time-exceeded"


class BudgetExceeded(Interrupted):
    """The job has spent more than its budget allows: it fails, or waits for approval."""

    reason = "budget-exceeded"


class LeaseLost(Interrupted):
    """Another worker may own the step now; whatever this one writes would change nothing."""

    reason = "lease-lost"


class Draining(Interrupted):
    """The worker is stopping; the step goes back without burning an attempt."""

    reason = "draining"
