"""The engine: what happens to one step, from the ring to the report. The page to read first.

    claim    take the step under a fresh fence token and a lease, if it is due and ours to run
    call     the step's function; no transaction is open while it runs
    decide   pure: what its outcome means
    record   one transaction, guarded by the fence: result, next step, job, events, deliveries
    report   rings, log, metric

A worker may die, freeze or be doubled at any point in between: until ``record`` commits nothing has happened, and once
it has, no other record of the same try can.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from agora import outcomes
from agora.agents import Action, Repeat, StepContext, TransactionContext
from agora.clock import now
from agora.db.session import transaction
from agora.events.record import record as record_events
from agora.events.types import job_event
from agora.files.service import TeamFiles
from agora.jobs import step_queries, values
from agora.jobs.announce import Announcement
from agora.jobs.claim import Claim, claim_of
from agora.jobs.context import Runtime
from agora.jobs.decide import (
    Decision,
    decide,
    decide_failure,
    decide_interrupted,
    failure_of,
    timeout_failure,
)
from agora.jobs.leases import Lease, heartbeat
from agora.jobs.record import CancelSeen, FenceLost, as_cancelled, record
from agora.jobs.states import JobState, StepState
from agora.settings import get_settings
from agora.telemetry import STEP_SECONDS, STEPS, get_logger

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A worker's engine: who it is, which actions it can run, what it injects into their steps."""

    worker_id: str
    actions: Mapping[str, Action[Any, Any]]
    """By ``agent.action@version``."""
    ports: Callable[[], Mapping[type, Any]] = dict
    draining: Callable[[], bool] = lambda: False
    clock: Callable[[], datetime] = now
    hard_timeouts: tuple[type[BaseException], ...] = ()
    """What the pool raises in a step that exceeds its soft time limit."""
    known: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", sorted(self.actions))

    def run(self, step_id: str) -> str | None:
        """Run one try of a step; returns how it ended, or None when it was not to be had."""
        claim = self._claim(step_id)
        if claim is None:
            return None
        lease = self._lease(claim)
        heartbeat().hold(lease)
        started = time.monotonic()
        try:
            outcome = self._run_transactional(claim, lease) if claim.step.transactional else self._run(claim, lease)
        finally:
            heartbeat().drop(lease)
        report(claim, outcome, time.monotonic() - started)
        return outcome

    def _claim(self, step_id: str) -> Claim | None:
        fence = uuid4().hex
        lease = get_settings().lease_seconds
        with transaction() as session:
            row = step_queries.claim_step(
                session, step_id=step_id, known=self.known, fence=fence, worker_id=self.worker_id, lease=lease
            )
            if row is None:
                return None
            action = self.actions[f"{row['agent']}.{row['action']}@{row['version']}"]
            claim = claim_of(row, action=action, spec=action.spec, fence=fence, worker_id=self.worker_id)
            deliveries = False
            if claim.first:
                started = job_event("job.started", claim.job, status=JobState.RUNNING)
                deliveries = record_events(session, claim.job, [started])
        if claim.first:
            Announcement(jobs={claim.job.id}, deliveries=deliveries).make()
        return claim

    def _lease(self, claim: Claim) -> Lease:
        timeout = claim.step.timeout.total_seconds() if claim.step.timeout else None

        def give_up() -> None:
            # Runs in the heartbeat's thread: the step's own thread is stuck.
            settle(claim, decide_failure(timeout_failure(claim.position.step), claim.position))

        return Lease(
            step_id=claim.step_id, fence=claim.fence, lease_seconds=get_settings().lease_seconds, timeout=timeout,
            give_up=give_up, draining=self.draining,
        )  # fmt: skip

    def _run(self, claim: Claim, lease: Lease) -> str:
        decision, stored = self._call(claim, lambda: claim.step.run(self._context(claim, lease)))
        return settle(claim, decision, stored)

    def _call(self, claim: Claim, function: Callable[[], Any]) -> tuple[Decision | None, str | None]:
        """Call the step and decide. Every way in which it can end is mapped here, and only here."""
        try:
            decision = decide(_as_json(claim, function()), claim.position)
            return decision, _pack(claim, decision)
        except outcomes.Interrupted as interrupted:
            return decide_interrupted(interrupted, claim.position), None
        except self.hard_timeouts:
            return decide_failure(timeout_failure(claim.position.step), claim.position), None
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a step may raise anything; it is the step's failure
            return decide_failure(failure_of(error), claim.position), None

    def _run_transactional(self, claim: Claim, lease: Lease) -> str:
        """Call and record in one transaction: the step's writes commit with its checkpoint, or not at all."""
        try:
            with transaction() as session:
                if not step_queries.hold_step(session, step_id=claim.step_id, fence=claim.fence):
                    return "lost"
                decision, stored = self._call(
                    claim, lambda: claim.step.run(self._transaction_context(claim, lease, session))
                )
                if decision is None or decision.step_status is not StepState.SUCCEEDED:
                    raise _Undo(decision)  # noqa: TRY301  # the only way out of a transaction that undoes it
                announcement = _record(session, claim, decision, stored)
        except _Undo as undone:
            return settle(claim, undone.decision)
        except CancelSeen:
            return settle(claim, as_cancelled(Decision(step_status=StepState.CANCELLED, attempt_outcome="cancelled")))
        except FenceLost:
            return "lost"
        except Exception as error:  # noqa: BLE001  # a deferred constraint or the commit itself can fail
            return settle(claim, decide_failure(failure_of(error), claim.position))
        announcement.make()
        return decision.attempt_outcome or "returned"

    def _context(self, claim: Claim, lease: Lease) -> StepContext[Any]:
        files = TeamFiles(claim.job.team_id, scope=f"{claim.root_id}:{claim.step.name}:{claim.position.iteration}")
        return StepContext(
            **self._common(claim, lease), files=files, clock=self.clock, ports=self.ports()
        )  # fmt: skip

    def _transaction_context(self, claim: Claim, lease: Lease, session: Session) -> TransactionContext[Any]:
        return TransactionContext(**self._common(claim, lease), session=session)

    def _common(self, claim: Claim, lease: Lease) -> dict[str, Any]:
        return {
            "input": claim.action.input.model_validate(values.unpack(claim.input)),
            "team_id": claim.job.team_id,
            "job_id": claim.job.id,
            "root_job_id": claim.root_id,
            "step_name": claim.step.name,
            "attempt": claim.position.attempt,
            "iteration": claim.position.iteration,
            "item": claim.item,
            "carry": values.unpack(claim.carry),
            "log": log.bind(job_id=claim.job.id, step=claim.step.name, attempt=claim.position.attempt),
            "runtime": Runtime(claim, lease),
        }


class _Undo(Exception):
    def __init__(self, decision: Decision | None) -> None:
        super().__init__()
        self.decision = decision


def settle(claim: Claim, decision: Decision | None, stored: str | None = None) -> str:
    """Record a decision in a transaction of its own and announce it; returns how the try ended.

    None means that somebody else may own the step: then nothing is written.
    """
    if decision is None:
        return "lost"
    try:
        with transaction() as session:
            announcement = _record(session, claim, decision, stored)
    except CancelSeen:
        return settle(claim, as_cancelled(decision), stored) if not _is_cancelled(decision) else "lost"
    except FenceLost:
        return "lost"
    announcement.make()
    return decision.attempt_outcome or "returned"


def _is_cancelled(decision: Decision) -> bool:
    return decision.job_status is JobState.CANCELLED


def _record(session: Session, claim: Claim, decision: Decision, stored: str | None) -> Announcement:
    return record(
        session, decision, step_id=claim.step_id, fence=claim.fence, job=claim.job, at=claim.position, stored=stored
    )


def _as_json(claim: Claim, returned: Any) -> Any:
    """The outcome with its value as JSON, checked against the declared types."""
    if isinstance(returned, (*outcomes.SUSPENSIONS, outcomes.Cancel, Repeat)):
        return returned
    value = returned.value if isinstance(returned, outcomes.Done) else returned
    dumped = claim.step.dump(value)
    if claim.position.action.after(claim.step.name) is None:
        dumped = claim.action.output.model_validate(dumped).model_dump(mode="json")
    return outcomes.Done(dumped)


def _pack(claim: Claim, decision: Decision) -> str | None:
    if not decision.has_result:
        return None
    return values.pack(decision.result, team_id=claim.job.team_id, what=f"the result of step {claim.step.name}")


def report(claim: Claim, outcome: str, seconds: float) -> None:
    """Log and count how a try ended."""
    label = f"{claim.job.agent}.{claim.job.action}.{claim.step.name}"
    STEPS.labels(label, outcome).inc()
    STEP_SECONDS.labels(label).observe(seconds)
    log.info(
        "step ended", job_id=claim.job.id, step=label, attempt=claim.position.attempt, outcome=outcome,
        ms=round(seconds * 1000, 1),
    )  # fmt: skip
