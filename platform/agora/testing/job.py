"""A job in memory, moved by the engine's own decisions. ActionRun is its public side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import jsonschema_rs
from sqlalchemy.orm import Session

from agora.agents import Action, StepContext, TransactionContext
from agora.events.types import JobRef, NewEvent, job_event
from agora.ids import new_id
from agora.jobs.catalogue import raise_faults
from agora.jobs.conclude import conclude, encode
from agora.jobs.decide import (
    Decision,
    Failure,
    NextStep,
    advance,
    cancelled,
    decide_failure,
    decide_lost,
    failure_of,
    timeout_failure,
)
from agora.jobs.leases import TIMEOUT_GRACE
from agora.jobs.record import events_of
from agora.jobs.resume import RESULTS
from agora.jobs.states import JOB_ENDED, STEP_OPEN, JobState, StepState
from agora.outcomes import Answer, TimedOut
from agora.settings import Settings
from agora.telemetry import get_logger
from agora.testing.clock import FakeClock
from agora.testing.faults import FailStep, Fault, LoseWorker, RequestCancel
from agora.testing.files import MemoryFiles
from agora.testing.result import RecordedEvent
from agora.testing.runtime import TryRuntime, WorkerDied
from agora.testing.state import StepRecord, without_jitter
from agora.usage import Spent, Usage

MOST_TRIES = 1_000
LOST_LEASE_LIMIT: Final[int] = Settings.model_fields["lost_lease_limit"].default

log = get_logger(__name__)


class MemoryJob:
    """What the job's rows would hold, and the moves that change them."""

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
    ) -> None:
        self.action, self.spec = action, without_jitter(action.spec)
        self.clock, self.files, self.ports, self.session = clock, files, ports, session
        self.faults, self.deadline, self.cancel_requested = list(faults), deadline, False
        self.ref = JobRef(
            id=new_id("job"), team_id=new_id("team"), agent=action.agent.name, action=action.name,
            version=action.version, metadata=metadata,
        )  # fmt: skip
        self.input = encode(given, "the input")
        raise_faults(jsonschema_rs.validator_for(dict(self.spec.input_schema)), json.loads(self.input), "/input")
        self.status = JobState.QUEUED
        self.output: str | None = None
        self.error: Failure | None = None
        self.reason = ""
        self.usage = Usage()
        self.partial: str | None = None
        self.steps = [StepRecord(spec=self.spec.steps[0], run_at=self.clock())]
        self.events: list[RecordedEvent] = []
        self.progress: list[tuple[str, float, str]] = []
        self._tried = 0
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
            self.events.append(
                RecordedEvent(
                    seq=len(self.events) + 1, type=event.type, data=dict(event.data), occurred_at=self.clock()
                )
            )

    def end(self, target: JobState, *, error: Failure | None = None, reason: str = "") -> None:
        """End the job from outside its steps."""
        for step in self.steps:
            if step.status in STEP_OPEN:
                step.status, step.wake_at = StepState.CANCELLED, None
        self.status, self.error, self.reason = target, error, reason
        told = error.as_json() if error else None
        self.record([job_event(f"job.{target}", self.ref, status=target, error=told, reason=reason or None)])

    def resume(self, step: StepRecord, result: Answer | TimedOut | None) -> None:
        """A suspended step gets its result."""
        value = None if result is None else RESULTS.dump_python(result, mode="json")
        stored = encode(value, "the answer")
        self._apply(
            step,
            advance(value, replace(step.position(self.spec), attempt=1), resumed=JobState.WAITING),
            stored,
            attempt=1,
        )

    def run_step(self, step: StepRecord) -> None:
        """One try of a ready step: claim, call, decide, record."""
        self._tried += 1
        if self._tried > MOST_TRIES:
            raise AssertionError(f"the action did not end within {MOST_TRIES:,} tries")
        step.status, step.attempt, step.started_at = StepState.RUNNING, step.attempt + 1, self.clock()
        if self.status is JobState.QUEUED:
            self.status = JobState.RUNNING
            self.record([job_event("job.started", self.ref, status=self.status)])
        faults = [fault for fault in self.faults if _hits(fault, step)]
        for fault in faults:
            if isinstance(fault, RequestCancel):
                self.faults.remove(fault)
                self.cancel_requested, self.reason = True, fault.reason
        decision, stored = self._outcome(step, faults)
        if self.cancel_requested and decision.job_status is not JobState.CANCELLED:
            if step.spec.transactional:  # its writes are undone, so it has not succeeded
                decision = Decision(step_status=StepState.CANCELLED, attempt_outcome="cancelled")
            decision = cancelled(decision)
        self._apply(step, decision, stored if decision.has_result else None, attempt=step.attempt)

    def _outcome(self, step: StepRecord, faults: Sequence[Fault]) -> tuple[Decision, str | None]:
        at, runtime = step.position(self.spec), self._runtime(step, faults)
        dies = next((fault for fault in faults if isinstance(fault, LoseWorker) and fault.in_once is None), None)
        try:
            decision, stored = self._call(step, runtime, faults, kept=dies is None)
        except WorkerDied:
            decision, stored = None, None
        if dies is not None:
            self.faults.remove(dies)
            decision = None
        if decision is None:
            return decide_lost(at, limit=LOST_LEASE_LIMIT), None
        if runtime.overdue(TIMEOUT_GRACE):
            return decide_failure(timeout_failure(at.step), at), None
        return decision, stored

    def _call(
        self, step: StepRecord, runtime: TryRuntime, faults: Sequence[Fault], *, kept: bool
    ) -> tuple[Decision | None, str | None]:
        """Call the step; the writes of a transactional one are undone unless it succeeds and is recorded."""

        def function() -> Any:
            for fault in faults:
                if isinstance(fault, FailStep) and not fault.after:
                    self.faults.remove(fault)
                    raise fault.error
            returned = self.action.named(step.spec.name).run(self._context(step, runtime))
            for fault in faults:
                if isinstance(fault, FailStep):
                    self.faults.remove(fault)
                    raise fault.error
            return returned

        if not step.spec.transactional or self.session is None:
            return conclude(function, self.action, runtime.at, pack=lambda made: _pack(step, made))
        savepoint = self.session.begin_nested()
        succeeded = False
        try:
            decision, stored = conclude(function, self.action, runtime.at, pack=lambda made: _pack(step, made))
            self.session.flush()
            succeeded = decision is not None and decision.step_status is StepState.SUCCEEDED
        except Exception as error:  # noqa: BLE001  # the writes themselves can fail
            decision, stored = decide_failure(failure_of(error), runtime.at), None
        finally:
            keeps = succeeded and kept and not self.cancel_requested and not runtime.overdue(TIMEOUT_GRACE)
            savepoint.commit() if keeps else savepoint.rollback()
        return decision, stored

    def _runtime(self, step: StepRecord, faults: Sequence[Fault]) -> TryRuntime:
        def report(fraction: float, message: str) -> None:
            self.progress.append((step.spec.name, fraction, message))
            overall = (self.spec.steps.index(step.spec) + fraction) / len(self.spec.steps)
            event = job_event(
                "job.progressed", self.ref, status=JobState.RUNNING, step=step.spec.name, progress=round(overall, 4),
                message=message[:500],
            )  # fmt: skip
            self.record([event])

        def emit(kind: str, data: Mapping[str, Any]) -> None:
            own = {"job_id": self.ref.id, "step": step.spec.name, **data}
            self.record([NewEvent(type=kind, data=json.loads(encode(own, "the event")))])

        def spend(spent: Spent) -> None:
            if spent.key in step.paid:
                return
            if spent.key is not None:
                step.paid.add(spent.key)
            self.usage = self.usage.plus(spent)

        def show(value: Any) -> None:
            self.partial = encode(value, "the partial output")
            size = len(json.dumps({"v": json.loads(self.partial)}, separators=(",", ":"), ensure_ascii=False))
            name = step.spec.name
            self.record([job_event("job.partial", self.ref, status=JobState.RUNNING, step=name, size=size)])

        return TryRuntime(
            at=step.position(self.spec), clock=self.clock, deadline=self.deadline, notes=step.notes,
            faults=list(faults), hit=self.faults.remove, report=report, record=emit,
            find_result=lambda name: self._find_result(name, step.iteration), cancelled=lambda: self.cancel_requested,
            spend=spend, show=show,
        )  # fmt: skip

    def _find_result(self, name: str, iteration: int) -> Any:
        found = [
            step
            for step in self.steps
            if step.spec.name == name and step.iteration <= iteration and step.status is StepState.SUCCEEDED
        ]
        if not found:
            raise LookupError(f"step {name} has no result yet")
        newest = max(found, key=lambda step: step.iteration)
        return json.loads(newest.result or "null")

    def _context(self, step: StepRecord, runtime: TryRuntime) -> StepContext[Any] | TransactionContext[Any]:
        common: dict[str, Any] = {
            "input": self.action.input.model_validate(json.loads(self.input)),
            "team_id": self.ref.team_id, "job_id": self.ref.id, "root_job_id": self.ref.id,
            "step_name": step.spec.name, "attempt": step.attempt, "iteration": step.iteration, "item": step.item,
            "carry": json.loads(step.carry or "null"), "log": log, "runtime": runtime,
        }  # fmt: skip
        self.files.scope = f"{self.ref.id}:{step.spec.name}:{step.iteration}"
        context: StepContext[Any] | TransactionContext[Any]
        if step.spec.transactional and self.session is not None:
            context = TransactionContext(**common, session=self.session)
        else:
            context = StepContext(**common, files=self.files, clock=self.clock, ports=self.ports)
        step.idempotency_key = context.idempotency_key
        return context

    def _apply(self, step: StepRecord, decision: Decision, stored: str | None, *, attempt: int) -> None:
        at = replace(step.position(self.spec), attempt=attempt)
        step.apply(decision, stored, self.clock())
        if decision.step_status is StepState.READY:
            step.run_at = self.clock.after(decision.retry_in)
        if decision.next_step is not None:
            self.steps.append(_following(decision.next_step, step, self.clock()))
        if decision.job_status is not None:
            self.status = decision.job_status
            self.error = decision.error if decision.job_status is JobState.FAILED else None
            self.output = stored if decision.job_status is JobState.SUCCEEDED else None
            self.reason = decision.reason or self.reason
        self.record(events_of(decision, self.ref, at))


def _hits(fault: Fault, step: StepRecord) -> bool:
    there = (fault.step_name, fault.attempt, fault.iteration, fault.item)
    return there == (step.spec.name, step.attempt, step.iteration, step.item)


def _following(following: NextStep, step: StepRecord, now: datetime) -> StepRecord:
    carry = following.stored_carry if following.new_carry else step.carry
    return StepRecord(spec=following.spec, run_at=now, iteration=following.iteration, carry=carry)


def _pack(step: StepRecord, decision: Decision) -> tuple[Decision, str | None]:
    following = decision.next_step
    if following is not None and following.new_carry:
        carry = encode(following.carry, "the carry")
        decision = replace(decision, next_step=replace(following, stored_carry=carry))
    if not decision.has_result:
        return decision, None
    return decision, encode(decision.result, f"the result of step {step.spec.name}")
