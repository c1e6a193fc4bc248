"""A job in memory, moved by the engine's own decisions. ActionRun is its public side."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from agora.agents import MapStep
from agora.events.types import job_event
from agora.ids import new_id
from agora.jobs import children as child_rules
from agora.jobs import fan_out
from agora.jobs.conclude import WorkerDied, conclude, encode
from agora.jobs.decide import (
    Decision,
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
from agora.jobs.resume import RESULTS, check_suspension
from agora.jobs.states import STEP_OPEN, JobState, StepState
from agora.outcomes import Answer, Child, ChildResult, TimedOut
from agora.settings import Settings
from agora.testing.faults import FailStep, LoseWorker, RequestCancel
from agora.testing.rows import JobRows
from agora.testing.runtime import TryRuntime, context_of
from agora.testing.state import StepRecord

MOST_TRIES = 1_000
LOST_LEASE_LIMIT: Final[int] = Settings.model_fields["lost_lease_limit"].default

Outcome = tuple[Decision | None, str | None]
"""A decision with its packed result; None when the worker died."""


class MemoryJob(JobRows):
    """A job and its moves."""

    _tried = 0

    def resume(self, step: StepRecord, result: Answer | TimedOut | None) -> None:
        """A suspended step gets its answer, or its time has come."""
        self._resume_with(step, None if result is None else RESULTS.dump_python(result, mode="json"))

    def _resume_with(self, step: StepRecord, value: Any, *, state: JobState = JobState.WAITING) -> None:
        stored = encode(value, "the answer")
        decision = advance(value, replace(step.position(self.spec), attempt=1), resumed=state)
        self._apply(step, decision, stored, attempt=1)

    def run_step(self, step: StepRecord) -> None:
        """One try of a ready step: claim, call, decide, record."""
        self._tried += not step.item
        if self._tried > MOST_TRIES:
            raise AssertionError(f"the action did not end within {MOST_TRIES:,} tries")
        step.status, step.attempt, step.started_at = StepState.RUNNING, step.attempt + 1, self.clock()
        if self.status is JobState.QUEUED:
            self.status = JobState.RUNNING
            self.record([job_event("job.started", self.ref, status=self.status)])
        at = step.position(self.spec)
        runtime = TryRuntime(
            job=self, step=step, at=at, faults=[fault for fault in self.faults if step.is_hit_by(fault)]
        )
        for fault in list(runtime.faults):
            if isinstance(fault, RequestCancel):
                runtime.happens(fault)
                self.cancel_requested, self.reason = True, fault.reason
        decision, stored = self._outcome(runtime)
        if self.cancel_requested and decision.job_status is not JobState.CANCELLED:
            if step.spec.transactional:  # its writes are undone, so it has not succeeded
                decision = Decision(step_status=StepState.CANCELLED, attempt_outcome="cancelled")
            decision = cancelled(decision, at=at)
        self._apply(step, decision, stored if decision.has_result else None, attempt=step.attempt)
        if step.item:
            self._settle_items(step)

    def _outcome(self, runtime: TryRuntime) -> tuple[Decision, str | None]:
        at = runtime.at
        dies = next((one for one in runtime.faults if isinstance(one, LoseWorker) and one.in_once is None), None)
        try:
            decision, stored = self._call(runtime, kept=dies is None)
        except WorkerDied:
            decision, stored = None, None
        if dies is not None:
            runtime.happens(dies)
            decision = None
        if decision is None:
            return decide_lost(at, limit=LOST_LEASE_LIMIT), None
        if runtime.overdue(TIMEOUT_GRACE):
            return decide_failure(timeout_failure(at.step), at), None
        return decision, stored

    def _call(self, runtime: TryRuntime, *, kept: bool) -> Outcome:
        """Call the step; the writes of a transactional one are undone unless it succeeds and is recorded."""
        step = self.action.named(runtime.at.step.name)
        if isinstance(step, MapStep) and not runtime.at.item:
            return self._spread(runtime, step)
        if not step.transactional or self.session is None:
            return self._concluded(runtime)
        savepoint = self.session.begin_nested()
        succeeded = False
        try:
            decision, stored = self._concluded(runtime)
            self.session.flush()
            succeeded = decision is not None and decision.step_status is StepState.SUCCEEDED
        except Exception as error:  # noqa: BLE001  # the writes themselves can fail
            decision, stored = decide_failure(failure_of(error), runtime.at), None
        finally:
            keeps = succeeded and kept and not self.cancel_requested and not runtime.overdue(TIMEOUT_GRACE)
            savepoint.commit() if keeps else savepoint.rollback()
        return decision, stored

    def _concluded(self, runtime: TryRuntime) -> Outcome:
        def function() -> Any:
            _fail(runtime, after=False)
            returned = self.action.named(runtime.at.step.name).run(context_of(runtime))
            _fail(runtime, after=True)
            return returned

        return conclude(function, self.action, runtime.at, pack=lambda made: _pack(runtime.at.step.name, made))

    def _spread(self, runtime: TryRuntime, step: MapStep[Any, Any]) -> Outcome:
        what = f"an item of step {step.name}"
        try:
            decision = fan_out.spread_out(runtime.at, step, runtime, pack=lambda one: encode(one, what))
            return _pack(step.name, decision)
        except Exception as error:  # noqa: BLE001  # a value that cannot be stored
            return decide_failure(failure_of(error), runtime.at), None

    def _apply(self, step: StepRecord, decision: Decision, stored: str | None, *, attempt: int) -> None:
        at, now = replace(step.position(self.spec), attempt=attempt), self.clock()
        step.apply(decision, stored, now)
        if decision.step_status is StepState.READY:
            step.run_at = self.clock.after(decision.retry_in)
        if step.item:
            return  # what becomes of its job is decided with all items
        if decision.next_step is not None:
            self.steps.append(_following(decision.next_step, step, now))
        self.steps.extend(_items(step, decision.items or (), now))
        if decision.job_status is not None:
            self.status = decision.job_status
            self.error = decision.error if decision.job_status is JobState.FAILED else None
            self.output = stored if decision.job_status is JobState.SUCCEEDED else None
            self.reason = decision.reason or self.reason
        self.record(events_of(decision, self.ref, at))
        if decision.children:
            self._run_children(step, decision.children)

    def _settle_items(self, ended: StepRecord) -> None:
        """After an item's try: the map step gets its result, or fails its job, when its items are over."""
        name, iteration = ended.spec.name, ended.iteration
        head = next(
            one for one in self.steps if (one.spec.name, one.iteration, one.item) == (name, iteration, 0)
        )  # fmt: skip
        if self.cancel_requested:
            self.end(JobState.CANCELLED, reason=self.reason)
            return
        items = self.items_of(name, iteration)
        missed = [one for one in items if one.status is StepState.FAILED]
        tally = {"total": len(items), "failed": len(missed)}
        if len(missed) > (head.suspension or {})["tolerated"]:
            first = {"item": missed[0].item, "error": missed[0].error.as_json() if missed[0].error else {}}
            self.fail(head, fan_out.too_many(_row(head), tally, first))
        elif not any(one.status in STEP_OPEN for one in items):
            self._resume_with(head, fan_out.summary(len(items), len(missed), iteration), state=JobState.RUNNING)

    def _run_children(self, step: StepRecord, children: Sequence[Child]) -> None:
        """Run what stands for the children, and give the step their results."""
        if self.children is None:
            raise LookupError(f"step {step.spec.name} spawns child jobs: give `children`, which stands for them")
        results = [_child_result(self.children, child) for child in children]
        missed = [
            {"id": one.job_id, "status": one.status, "error": one.error} for one in results if one.status != "succeeded"
        ]
        if len(missed) > (step.suspension or {})["tolerated"]:
            self.fail(step, child_rules.too_many(_row(step), results, missed))
        else:
            self._resume_with(step, child_rules.RESULTS.dump_python(results, mode="json"))


def _fail(runtime: TryRuntime, *, after: bool) -> None:
    for fault in list(runtime.faults):
        if isinstance(fault, FailStep) and fault.after is after:
            runtime.happens(fault)
            raise fault.error


def _row(step: StepRecord) -> dict[str, Any]:
    return {"name": step.spec.name, "iteration": step.iteration, "suspension": step.suspension}


def _child_result(children: Any, child: Child) -> ChildResult:
    job_id = new_id("job")
    try:
        output = children(child)
    except Exception as error:  # noqa: BLE001  # it is how a child fails
        told = failure_of(error).as_json()
        told.pop("traceback", None)
        return ChildResult(job_id=job_id, status="failed", error=told)
    given = output.model_dump(mode="json") if isinstance(output, BaseModel) else output
    return ChildResult(job_id=job_id, status="succeeded", output=given)


def _following(following: NextStep, step: StepRecord, now: datetime) -> StepRecord:
    carry = following.stored_carry if following.new_carry else step.carry
    return StepRecord(spec=following.spec, run_at=now, iteration=following.iteration, carry=carry)


def _items(head: StepRecord, values: Sequence[str], now: datetime) -> list[StepRecord]:
    return [
        StepRecord(spec=head.spec, run_at=now, iteration=head.iteration, item=number, carry=head.carry, value=value)
        for number, value in enumerate(values, 1)
    ]


def _pack(name: str, decision: Decision) -> tuple[Decision, str | None]:
    following = decision.next_step
    if following is not None and following.new_carry:
        carry = encode(following.carry, "the carry")
        decision = replace(decision, next_step=replace(following, stored_carry=carry))
    check_suspension(decision.suspension)
    if not decision.has_result:
        return decision, None
    return decision, encode(decision.result, f"the result of step {name}")
