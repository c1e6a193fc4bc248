"""What the rows of a job in memory hold, and what is read from them."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.agents import Action
from agora.events.types import JobRef, NewEvent, job_event, step_event
from agora.gathered import Item
from agora.ids import new_id
from agora.jobs.catalogue import compile_schema, raise_faults
from agora.jobs.conclude import encode
from agora.jobs.decide import Failure
from agora.jobs.states import JOB_ENDED, STEP_OPEN, JobState, StepState
from agora.outcomes import Child
from agora.testing.clock import FakeClock
from agora.testing.faults import Fault
from agora.testing.files import MemoryFiles
from agora.testing.result import RecordedEvent
from agora.testing.state import StepRecord, without_jitter
from agora.usage import Usage

Children = Callable[[Child], Any]
"""Stands for a child job: returns its output, or raises, and then it has failed."""


class JobRows:
    """A job with its steps and events. Values are JSON texts."""

    def __init__(
        self,
        action: Action[Any, Any],
        given: Mapping[str, Any],
        *,
        clock: FakeClock,
        files: MemoryFiles,
        ports: Mapping[type, Any],
        session: Session | None,
        faults: Sequence[Fault],
        deadline: datetime | None,
        metadata: Mapping[str, Any],
        children: Children | None,
    ) -> None:
        self.action, self.spec = action, without_jitter(action.spec)
        self.clock, self.files, self.ports, self.session = clock, files, ports, session
        self.faults, self.deadline, self.cancel_requested = list(faults), deadline, False
        self.children = children
        self.ref = JobRef(
            id=new_id("job"), team_id=new_id("team"), agent=action.agent.name, action=action.name,
            version=action.version, metadata=metadata,
        )  # fmt: skip
        self.input = encode(given, "the input")
        raise_faults(compile_schema(self.spec.input_schema), json.loads(self.input), "/input")
        self.status = JobState.QUEUED
        self.output: str | None = None
        self.error: Failure | None = None
        self.reason = ""
        self.usage = Usage()
        self.partial: str | None = None
        self.steps = [StepRecord(spec=self.spec.steps[0], run_at=self.clock())]
        self.events: list[RecordedEvent] = []
        self.progress: list[tuple[str, float, str]] = []
        self.record([job_event("job.created", self.ref, status=self.status)])

    @property
    def ended(self) -> bool:
        """Whether the job's state is final."""
        return self.status in JOB_ENDED

    def due(self, status: StepState, now: datetime) -> StepRecord | None:
        """The step in this state whose moment came first; None while none has come."""
        due = [
            (moment, number, step)
            for number, step in enumerate(self.steps)
            if step.status is status
            and (moment := step.run_at if status is StepState.READY else step.wake_at) is not None
            and moment <= now
        ]
        return min(due)[2] if due else None

    def record(self, events: Sequence[NewEvent]) -> None:
        """Append events, numbered from 1."""
        for event in events:
            made = RecordedEvent(
                seq=len(self.events) + 1, type=event.type, data=dict(event.data), occurred_at=self.clock()
            )
            self.events.append(made)

    def end(self, target: JobState, *, error: Failure | None = None, reason: str = "") -> None:
        """End the job from outside its steps."""
        for step in self.steps:
            if step.status in STEP_OPEN:
                step.status, step.wake_at = StepState.CANCELLED, None
        self.status, self.error, self.reason = target, error, reason
        told = error.as_json() if error else None
        self.record([job_event(f"job.{target}", self.ref, status=target, error=told, reason=reason or None)])

    def fail(self, step: StepRecord, failure: Failure) -> None:
        """A suspended step fails, and its job with it: too much of what it waited for has failed."""
        step.status, step.error = StepState.FAILED, failure
        told = failure.as_json()
        event = step_event(
            "step.failed", self.ref, step=step.spec.name, iteration=step.iteration, attempt=1, error=told
        )
        self.record([event])
        self.end(JobState.FAILED, error=failure)

    def find_result(self, name: str, iteration: int) -> Any:
        """The recorded result of a step, of the newest iteration up to this one. Raises LookupError."""
        found = [
            step
            for step in self.steps
            if (step.spec.name, step.item) == (name, 0)
            and step.iteration <= iteration
            and step.status is StepState.SUCCEEDED
        ]
        if not found:
            raise LookupError(f"step {name} has no result yet")
        newest = max(found, key=lambda step: step.iteration)
        return json.loads(newest.result or "null")

    def items_of(self, name: str, iteration: int) -> list[StepRecord]:
        """The items of a map step, in order."""
        return [step for step in self.steps if step.item and (step.spec.name, step.iteration) == (name, iteration)]

    def items(self, name: str, *, iteration: int, start: int) -> list[Item]:
        """The ended items of a map step from index ``start`` on, in order."""
        return [
            Item(
                index=step.index,
                value=json.loads(step.result or "null"),
                error=step.error.as_json() if step.status is StepState.FAILED and step.error else None,
            )
            for step in self.items_of(name, iteration)
            if step.index >= start and step.status in {StepState.SUCCEEDED, StepState.FAILED}
        ]
