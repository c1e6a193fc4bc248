"""Run a whole action in this process: the engine's own rules, on a clock that only moves when told to."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from agora.agents import Action
from agora.errors import Conflict
from agora.jobs.catalogue import compile_schema, raise_faults
from agora.jobs.decide import Failure
from agora.jobs.states import JobState, StepState
from agora.outcomes import Answer, TimedOut
from agora.testing.clock import FakeClock
from agora.testing.faults import Fault
from agora.testing.files import MemoryFiles
from agora.testing.job import MemoryJob
from agora.testing.result import Question, RunResult
from agora.testing.rows import Children

I = TypeVar("I", bound=BaseModel)  # noqa: E741  # the input model
O = TypeVar("O", bound=BaseModel)  # noqa: E741  # the output model

UNANSWERED: Final = object()
"""Among the answers of run_action: nobody answers this question."""

Answers = Sequence[Any] | Callable[[Question], Any]


class ActionRun(Generic[I, O]):
    """One job of an action, in memory.

    Time stands still while steps run, unless a step or the test moves ``clock``; nothing is skipped by itself: call
    ``advance`` to run what is due now. ``ports`` and ``files`` are what the worker would inject. A transactional step
    needs ``session``: its writes stay in it when the step succeeds and are undone when it does not; nothing is
    committed here. Back-off has no jitter. The items of a map step run one after the other. ``children`` stands for
    spawned jobs: it is called with each Child, and returns its output or raises, and then the child has failed.

    Raises:
        Invalid: the API would refuse this input.
        ValueError: a transactional step has no session.
        LookupError: a fault names a step that the action does not have.
    """

    def __init__(
        self,
        action: Action[I, O],
        input: I | Mapping[str, Any],
        *,
        clock: FakeClock | None = None,
        ports: Mapping[type, Any] | None = None,
        files: MemoryFiles | None = None,
        session: Session | None = None,
        faults: Sequence[Fault] = (),
        deadline: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        children: Children | None = None,
    ) -> None:
        for step in action.steps:
            if step.transactional and session is None:
                raise ValueError(f"step {step.name} is transactional: give the session that it writes to")
        for fault in faults:
            action.named(fault.step_name)
        self.action, self.clock, self.files = action, clock or FakeClock(), files or MemoryFiles()
        given = input.model_dump(mode="json", by_alias=True) if isinstance(input, BaseModel) else dict(input)
        self._job = MemoryJob(
            action, given, clock=self.clock, files=self.files, ports=ports or {}, session=session, faults=faults,
            deadline=deadline, metadata=metadata or {}, children=children,
        )  # fmt: skip

    @property
    def status(self) -> str:
        """The job's state."""
        return str(self._job.status)

    @property
    def question(self) -> Question | None:
        """What the job asks now."""
        return next((asked for step in self._job.steps if (asked := step.question())), None)

    @property
    def next_due(self) -> datetime | None:
        """When something happens by itself: a retry, the end of a nap, a question's time-out, the deadline."""
        if self._job.ended:
            return None
        steps = self._job.steps
        moments = [step.run_at for step in steps if step.status is StepState.READY]
        moments += [step.wake_at for step in steps if step.status is StepState.SUSPENDED and step.wake_at]
        return min([*moments, *([self._job.deadline] if self._job.deadline else [])], default=None)

    @property
    def pending_faults(self) -> Sequence[Fault]:
        """Faults that have not happened."""
        return tuple(self._job.faults)

    def advance(self) -> None:
        """Run everything that is due now. Raises AssertionError when that takes more than 1,000 tries."""
        job = self._job
        while not job.ended:
            now = self.clock()
            if job.deadline is not None and job.deadline <= now:
                job.end(JobState.FAILED, error=_late())
            elif woken := job.due(StepState.SUSPENDED, now):
                job.resume(woken, TimedOut(at=now) if woken.question() else None)
            elif ready := job.due(StepState.READY, now):
                job.run_step(ready)
            else:
                return

    def skip(self, time: timedelta) -> None:
        """Let time pass at once, then run what is due."""
        self.clock.skip(time)
        self.advance()

    def skip_to_next(self) -> bool:
        """Let time pass until something is due, and run it; False when nothing ever is."""
        due = self.next_due
        if due is None:
            return False
        self.clock.skip_to(due)
        self.advance()
        return True

    def answer(self, value: Any) -> None:
        """Answer what the job asks. Raises Conflict when it asks nothing, Invalid when the answer does not fit."""
        asking = next((step for step in self._job.steps if step.question()), None)
        if asking is None or asking.suspension is None:
            raise Conflict(f"the job is {self.status} and asks nothing now", state=self.status)
        raise_faults(compile_schema(asking.suspension["schema"]), value, "/value")
        self._job.resume(asking, Answer(value=value, answered_at=self.clock()))

    def cancel(self, reason: str = "") -> None:
        """Cancel the job. Raises Conflict when it has ended."""
        if self._job.ended:
            raise Conflict(f"the job is {self.status}", state=self.status)
        self._job.end(JobState.CANCELLED, reason=reason)

    def result(self) -> RunResult[O]:
        """The job as it is now."""
        job = self._job
        return RunResult(
            job_id=job.ref.id, status=self.status, error=job.error, reason=job.reason, events=tuple(job.events),
            output=None if job.output is None else self.action.output.model_validate_json(job.output),
            steps=tuple(step.shown() for step in job.steps), progress=tuple(job.progress),
            usage=job.usage, partial_output=None if job.partial is None else json.loads(job.partial),
        )  # fmt: skip


def run_action(
    action: Action[I, O], input: I | Mapping[str, Any], *, answers: Answers = (), **options: Any
) -> RunResult[O]:
    """Run an action to its end, skipping all waiting; returns what it came to.

    ``answers`` are given to its questions in order, or made by a function of the Question; UNANSWERED lets one time
    out. A question that has neither an answer nor a time-out leaves the job waiting. ``options`` are those of
    ActionRun: clock, ports, files, session, faults, deadline, metadata, children.

    Raises:
        AssertionError: an answer was not asked for, a fault did not happen, or the job does not come to an end.
    """
    run = ActionRun(action, input, **options)
    left = None if callable(answers) else list(answers)
    run.advance()
    while True:
        value = _answer(run.question, answers, left)
        if value is not UNANSWERED:
            run.answer(value)
            run.advance()
        elif not run.skip_to_next():
            break
    if left:
        raise AssertionError(f"the job is {run.status}, and {len(left)} of the answers were not asked for: {left}")
    if run.pending_faults:
        raise AssertionError(f"the job is {run.status}, and these faults did not happen: {run.pending_faults}")
    return run.result()


def _answer(question: Question | None, answers: Answers, left: list[Any] | None) -> Any:
    if question is None:
        return UNANSWERED
    if callable(answers):
        return answers(question)
    return left.pop(0) if left else UNANSWERED


def _late() -> Failure:
    return Failure(
        code="deadline-exceeded", type="Deadline", message="the deadline has passed", retryable=False
    )  # fmt: skip
