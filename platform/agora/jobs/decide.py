"""Pure: what a step's outcome means, as one value that the record statement writes. No database here."""

import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agora import outcomes
from agora.agents import ActionSpec, StepSpec
from agora.errors import AgoraError, TooLarge
from agora.jobs.states import JobState, StepState
from agora.quotas.types import QuotaExceeded

MAX_MESSAGE = 2_000
MAX_TRACEBACK = 8_000
MOST_CHILDREN = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a try failed. ``retry_after`` is seconds."""

    code: str
    type: str
    message: str
    retryable: bool
    traceback: str = ""
    retry_after: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)
    """What a program wants to know of it, beyond the message."""

    def as_json(self) -> dict[str, Any]:
        """What is stored and shown."""
        shown = {
            "code": self.code,
            "type": self.type,
            "message": self.message,
            "retryable": self.retryable,
            **self.more,
        }
        return shown | ({"traceback": self.traceback} if self.traceback else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class NextStep:
    """The step that a record makes ready."""

    spec: StepSpec
    position: int
    iteration: int
    carry: Any = None
    new_carry: bool = False
    """Only a Repeat sets a new carry; other steps of the iteration inherit it."""
    stored_carry: str | None = None
    """The new carry as its row will hold it."""
    suspension: Mapping[str, Any] | None = None
    """It shall wait for approval, not be ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where in its action a step stands, and how often it was tried."""

    action: ActionSpec
    step: StepSpec
    iteration: int = 0
    item: int = 0
    """0 is the step itself; the items of a map step count from 1."""
    attempt: int = 1
    lost_leases: int = 0

    @property
    def index(self) -> int:
        """Zero-based place of the step in its action."""
        return self.action.steps.index(self.step)

    @property
    def failures_left(self) -> int:
        """How many more failed tries it may have after this one; lost leases do not count, they have their own cap."""
        return self.step.attempts - (self.attempt - self.lost_leases)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Everything that a record writes. ``job_status`` None leaves the job running."""

    step_status: StepState
    attempt_outcome: str | None
    has_result: bool = False
    result: Any = None
    error: Failure | None = None
    retry_in: float = 0.0
    burns_attempt: bool = True
    lost_lease: bool = False
    suspension: Mapping[str, Any] | None = None
    wake_at: datetime | None = None
    next_step: NextStep | None = None
    job_status: JobState | None = None
    job_error: Failure | None = None
    """Why the job fails, when that is not the error of its step."""
    reason: str = ""
    items: Sequence[str] | None = None
    """Stored values for which a map step is run, an item each."""
    children: Sequence[outcomes.Child] | None = None
    """Jobs that the step spawns."""
    new_jobs: Sequence[Any] | None = None
    """The children as they will be inserted."""


def decide(outcome: Any, at: Position) -> Decision:
    """Map what a step returned (its JSON value or an outcome) to what is written."""
    if at.item:
        return _end_item(outcome)
    match outcome:
        case outcomes.Done(value):
            return advance(value, at)
        case outcomes.Snooze(until):
            return _suspend({"kind": "snooze"}, until)
        case outcomes.WaitFor(schema, prompt, until):
            return _suspend({"kind": "input", "prompt": prompt, "schema": dict(schema)}, until)
        case outcomes.Spawn(children, failures):
            return _spawn(children, failures, at)
        case outcomes.Repeat(step, carry):
            return _repeat(step if isinstance(step, str) else step.name, carry, at)
        case outcomes.Cancel(reason):
            done = Decision(step_status=StepState.SUCCEEDED, attempt_outcome="succeeded", has_result=True)
            return cancelled(done, reason)
        case _:
            return advance(outcome, at)


def _end_item(outcome: Any) -> Decision:
    """An item of a map step ends by itself; what follows is decided when all have ended."""
    if isinstance(outcome, outcomes.Done):
        return Decision(
            step_status=StepState.SUCCEEDED, attempt_outcome="succeeded", has_result=True, result=outcome.value
        )
    kind = type(outcome).__name__
    message = f"an item of a map step returns a value, not {kind}"
    return fail_item(Failure(code="outcome-not-allowed", type=kind, message=message, retryable=False))


def fail_item(failure: Failure) -> Decision:
    """An item fails by itself; whether its step and job do is decided by the step's failures policy."""
    return Decision(step_status=StepState.FAILED, attempt_outcome="failed", error=failure)


def spread(items: Sequence[str], failures: outcomes.Failures) -> Decision:
    """A map step becomes its items: its row is suspended until they have ended, while the job goes on running."""
    tolerated = failures.tolerated(len(items))
    return Decision(
        step_status=StepState.SUSPENDED,
        attempt_outcome="suspended",
        suspension={"kind": "items", "count": len(items), "tolerated": tolerated},
        items=items,
    )


def advance(value: Any, at: Position, *, resumed: JobState | None = None) -> Decision:
    """The step has its result: the next step becomes ready, or the job has succeeded.

    ``resumed`` is the state of the job of a suspended step that gets its result: `waiting` for an answer, a time or
    children, `running` while a map's items ran.
    """
    following = at.action.after(at.step.name)
    onward = NextStep(spec=following, position=at.index + 1, iteration=at.iteration) if following else None
    moves_to = JobState.RUNNING if resumed is JobState.WAITING else None
    return Decision(
        step_status=StepState.SUCCEEDED,
        attempt_outcome=None if resumed else "succeeded",
        has_result=True,
        result=value,
        next_step=onward,
        job_status=moves_to if following else JobState.SUCCEEDED,
    )


def _suspend(suspension: Mapping[str, Any], until: datetime | None) -> Decision:
    if until is not None and until.tzinfo is None:
        return failed(Failure(code="naive-time", type="ValueError", message="until must be aware", retryable=False))
    return Decision(
        step_status=StepState.SUSPENDED,
        attempt_outcome="suspended",
        suspension=suspension,
        wake_at=until,
        job_status=JobState.WAITING,
    )


def _spawn(children: Sequence[outcomes.Child], failures: outcomes.Failures, at: Position) -> Decision:
    if not children:
        return advance([], at)
    if len(children) > MOST_CHILDREN:
        message = f"step {at.step.name} would spawn {len(children)} jobs; the limit is {MOST_CHILDREN}"
        return failed(Failure(code="too-many-children", type="Spawn", message=message, retryable=False))
    suspension = {"kind": "children", "count": len(children), "tolerated": failures.tolerated(len(children))}
    return replace(_suspend(suspension, None), children=children)


def _repeat(name: str, carry: Any, at: Position) -> Decision:
    if at.iteration + 1 >= at.action.max_iterations:
        limit = at.action.max_iterations
        message = f"the action may go through {limit} iterations, and asked for one more"
        return failed(Failure(code="iterations-exceeded", type="Repeat", message=message, retryable=False))
    try:
        target = at.action.step(name)
    except LookupError as error:
        return failed(Failure(code="no-such-step", type="Repeat", message=str(error), retryable=False))
    position = at.action.steps.index(target)
    onward = NextStep(spec=target, position=position, iteration=at.iteration + 1, carry=carry, new_carry=True)
    return Decision(step_status=StepState.SUCCEEDED, attempt_outcome="succeeded", has_result=True, next_step=onward)


def decide_failure(failure: Failure, at: Position) -> Decision:
    """Try again with back-off, or fail the job."""
    if not failure.retryable or at.failures_left <= 0:
        return failed(failure, at)
    tried = at.attempt - at.lost_leases
    return Decision(
        step_status=StepState.READY,
        attempt_outcome="failed",
        error=failure,
        retry_in=max(backoff(at.step, tried, random.uniform(-1, 1)), failure.retry_after),  # noqa: S311  # spread only
    )


def decide_lost(at: Position, *, limit: int) -> Decision:
    """The worker went silent: another one takes over at once, until the step has lost ``limit`` workers."""
    lost = at.lost_leases + 1
    message = f"the worker stopped reporting (lost {lost} of at most {limit} times)"
    failure = Failure(code="worker-lost", type="WorkerLost", message=message, retryable=lost < limit)
    if lost >= limit:
        return replace(failed(failure, at), lost_lease=True, attempt_outcome="lost")
    return Decision(step_status=StepState.READY, attempt_outcome="lost", error=failure, lost_lease=True)


def decide_interrupted(interrupted: outcomes.Interrupted, at: Position) -> Decision | None:
    """The step was asked to end. None when another worker may own it: then nothing is written."""
    match interrupted:
        case outcomes.Cancelled():
            return cancelled(Decision(step_status=StepState.CANCELLED, attempt_outcome="cancelled"), at=at)
        case outcomes.TimeExceeded():
            return decide_failure(timeout_failure(at.step), at)
        case outcomes.Draining():
            return Decision(step_status=StepState.READY, attempt_outcome=None, burns_attempt=False)
        case outcomes.BudgetExceeded() if at.item:
            message = "the job is over its budget"
            return fail_item(Failure(code="budget-exceeded", type="Budget", message=message, retryable=False))
        case outcomes.BudgetExceeded():
            # Its record finds the job over its budget, and decides; the try is kept, as its run time counts.
            return Decision(step_status=StepState.READY, attempt_outcome="interrupted", burns_attempt=False)
        case _:
            return None


def timeout_failure(step: StepSpec) -> Failure:
    """The step ran longer than it may."""
    message = f"the step ran longer than its time-out of {step.timeout} s"
    return Failure(code="step-timeout", type="TimeExceeded", message=message, retryable=True)


def failed(failure: Failure, at: Position | None = None) -> Decision:
    """The step and its job fail; of an item, only itself."""
    if at is not None and at.item:
        return fail_item(failure)
    return Decision(step_status=StepState.FAILED, attempt_outcome="failed", error=failure, job_status=JobState.FAILED)


def cancelled(decision: Decision, reason: str = "", *, at: Position | None = None) -> Decision:
    """The same ending of a step, but of a job that is cancelled: a finished step keeps its result, nothing follows.

    An item ends alone: its job is cancelled once none of its items runs any more.
    """
    kept = decision.step_status if decision.step_status is StepState.SUCCEEDED else StepState.CANCELLED
    return replace(
        decision, step_status=kept, next_step=None, suspension=None, wake_at=None, retry_in=0.0, items=None,
        children=None, new_jobs=None, reason=reason,
        job_status=None if at is not None and at.item else JobState.CANCELLED,
    )  # fmt: skip


def backoff(step: StepSpec, tried: int, spread: float) -> float:
    """Seconds to wait after the ``tried``-th failed try; ``spread`` is -1 to 1 and scaled by the step's jitter."""
    plain = min(step.cap, step.first * 2.0 ** min(tried - 1, 60))
    return max(0.0, plain * (1 + step.jitter * spread))


def failure_of(error: BaseException) -> Failure:
    """What is kept of an exception. Unknown ones count as transient until the attempts run out."""
    frames = _storable("".join(traceback.format_exception(error))[-MAX_TRACEBACK:])
    code, retryable, retry_after = "step-failed", True, 0.0
    if isinstance(error, outcomes.StepError):
        code, retryable = error.code, error.retryable
        retry_after = error.retry_after.total_seconds() if error.retry_after else 0.0
    elif isinstance(error, TooLarge):
        code, retryable = "value-too-large", False
    elif isinstance(error, QuotaExceeded):
        code, retryable = error.slug, False
    elif isinstance(error, AgoraError):
        code = error.slug
    elif isinstance(error, MemoryError):
        code = "out-of-memory"
    message = _storable(str(error))[:MAX_MESSAGE] or type(error).__name__
    return Failure(
        code=code, type=type(error).__name__, message=message, retryable=retryable, traceback=frames,
        retry_after=retry_after,
    )  # fmt: skip


def _storable(text: str) -> str:
    """Without what jsonb cannot hold: NUL, and halves of surrogate pairs, which file names may bring."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
