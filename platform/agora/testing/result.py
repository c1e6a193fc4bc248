"""What a run came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from agora.agents import Step
from agora.jobs.decide import Failure
from agora.usage import Usage

O = TypeVar("O", bound=BaseModel)  # noqa: E741  # the output model


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """One try of a step: how it ended (succeeded, failed, suspended, lost, cancelled), and why if it failed."""

    number: int
    outcome: str
    error: Failure | None
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """A step of the run. ``result`` is its JSON value; ``idempotency_key`` the same over all of its tries."""

    name: str
    iteration: int
    item: int
    status: str
    attempt: int
    lost_leases: int
    result: Any
    error: Failure | None
    run_at: datetime
    idempotency_key: str
    tries: Sequence[Try]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a step asks with WaitFor. ``until`` None waits for ever."""

    step: str
    iteration: int
    prompt: str
    schema: Mapping[str, Any]
    until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedEvent:
    """An event of the job's stream, as the API would give it."""

    seq: int
    type: str
    data: Mapping[str, Any]
    occurred_at: datetime


@dataclass(frozen=True, kw_only=True)
class RunResult(Generic[O]):
    """The job as it is after the run. ``output`` is typed, and None unless the job succeeded."""

    job_id: str
    status: str
    output: O | None
    error: Failure | None
    reason: str
    steps: Sequence[StepResult]
    events: Sequence[RecordedEvent]
    progress: Sequence[tuple[str, float, str]] = field(default=())
    """Every ``ctx.progress`` call: step, fraction, message. A real worker writes at most about two a second."""
    usage: Usage = field(default_factory=Usage)
    """What ``ctx.use`` counted, all tries together."""
    partial_output: Any = None
    """The last value that ``ctx.partial`` showed."""

    def step(self, which: Step[Any, Any] | str, *, iteration: int = 0, item: int = 0) -> StepResult:
        """One step. Raises LookupError when the run did not get to it."""
        name = which if isinstance(which, str) else which.name
        for one in self.steps:
            if (one.name, one.iteration, one.item) == (name, iteration, item):
                return one
        raise LookupError(f"the run did not get to step {name}, iteration {iteration}, item {item}")

    @property
    def event_types(self) -> list[str]:
        """The types of its events, in order."""
        return [event.type for event in self.events]
