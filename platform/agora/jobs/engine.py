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
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from agora import outcomes
from agora.agents import Action, ActionSpec, Repeat, StepContext, TransactionContext
from agora.clock import now
from agora.db.session import transaction
from agora.events.types import job_event
from agora.files.service import TeamFiles
from agora.ids import new_id
from agora.jobs import step_queries, values
from agora.jobs.announce import Announcement, Claimed
from agora.jobs.chronicle import fan_out
from agora.jobs.claim import Claim, claim_of
from agora.jobs.context import Runtime
from agora.jobs.decide import (
    Decision,
    Position,
    decide,
    decide_failure,
    decide_interrupted,
    failure_of,
    timeout_failure,
)
from agora.jobs.leases import Lease, heartbeat
from agora.jobs.record import CancelSeen, FenceLost, Turn, as_cancelled, record
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
    observe: Callable[[Claim, str, float], None] = lambda *_: None
    """Told of every try that ended: claim, outcome, seconds."""
    known: Sequence[str] = field(init=False)
    specs: Mapping[str, ActionSpec] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", sorted(self.actions))
        object.__setattr__(self, "specs", {label: action.spec for label, action in self.actions.items()})

    def run(self, step_id: str) -> str | None:
        """Run one turn: a try of this step, and in place the job's next steps while they are due on the same queue.

        Returns how the last try ended, or None when the step was not to be had. A long step ends the turn: what
        follows it gets a message of its own.
        """
        ends = time.monotonic() + get_settings().turn_seconds
        claim, outcome = self._claim(step_id), None
        while claim is not None:
            ended = self._try(claim, ends)
            self._tell(claim, ended)
            outcome, claim = ended.outcome, self._next(claim, ended)
        return outcome

    def _tell(self, claim: Claim, ended: "Ended") -> None:
        """Whoever watches must not break the turn: its next step may be claimed already."""
        try:
            self.observe(claim, ended.outcome, ended.seconds)
        except Exception:
            log.exception("observer failed", step=claim.label)

    def _try(self, claim: Claim, ends: float) -> "Ended":
        lease = self._lease(claim)
        heartbeat().hold(lease)
        started = time.monotonic()
        try:
            run = self._run_transactional if claim.step.transactional else self._run
            ended = run(claim, lease, lambda: self._turn(claim, ends))
        finally:
            heartbeat().drop(lease)
        ended = replace(ended, seconds=time.monotonic() - started)
        report(claim, ended)
        return ended

    def _turn(self, claim: Claim, ends: float) -> Turn | None:
        if time.monotonic() >= ends or self.draining():
            return None
        return Turn(queue=claim.step.queue, lease=get_settings().lease_seconds)

    def _next(self, claim: Claim, ended: "Ended") -> Claim | None:
        if ended.claimed is None:
            return None
        following = ended.claimed.following
        again = following.iteration != claim.position.iteration
        return replace(
            claim,
            step_id=ended.claimed.step_id,
            fence=ended.claimed.fence,
            step=claim.action.named(following.spec.name),
            position=Position(action=claim.position.action, step=following.spec, iteration=following.iteration),
            carry=values.packed(following.carry) if following.new_carry else claim.carry,
            previous=(None, None) if again else (claim.step.name, ended.stored),
            first=False,
        )

    def _claim(self, step_id: str) -> Claim | None:
        fence, event_id = uuid4().hex, new_id("evt")
        with transaction() as session:
            row = step_queries.claim_step(
                session, step_id=step_id, known=self.known, fence=fence, worker_id=self.worker_id,
                lease=get_settings().lease_seconds, event_id=event_id,
            )  # fmt: skip
            if row is None:
                return None
            label = f"{row['agent']}.{row['action']}@{row['version']}"
            claim = claim_of(
                row, action=self.actions[label], spec=self.specs[label], fence=fence, worker_id=self.worker_id
            )
            deliveries = False
            if claim.first and row["subscribed"]:
                started = job_event("job.started", claim.job, status=JobState.RUNNING, id=event_id)
                deliveries = fan_out(session, claim.job, [started], row["claimed_at"])
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

    def _run(self, claim: Claim, lease: Lease, turn: "MayGoOn") -> "Ended":
        decision, stored = self._call(claim, lambda: claim.step.run(self._context(claim, lease)))
        return settle(claim, decision, stored, turn())

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

    def _run_transactional(self, claim: Claim, lease: Lease, turn: "MayGoOn") -> "Ended":
        """Call and record in one transaction: the step's writes commit with its checkpoint, or not at all."""
        try:
            with transaction() as session:
                if not step_queries.hold_step(session, step_id=claim.step_id, fence=claim.fence):
                    return LOST
                decision, stored = self._call(
                    claim, lambda: claim.step.run(self._transaction_context(claim, lease, session))
                )
                if decision is None or decision.step_status is not StepState.SUCCEEDED:
                    raise _Undo(decision)  # noqa: TRY301  # the only way out of a transaction that undoes it
                announcement = _record(session, claim, decision, stored, turn())
        except _Undo as undone:
            return settle(claim, undone.decision)
        except CancelSeen:
            return settle(claim, as_cancelled(Decision(step_status=StepState.CANCELLED, attempt_outcome="cancelled")))
        except FenceLost:
            return LOST
        except Exception as error:  # noqa: BLE001  # a deferred constraint or the commit itself can fail
            return settle(claim, decide_failure(failure_of(error), claim.position))
        announcement.make()
        return ended_as(decision, stored, announcement)

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a try ended; ``claimed`` is the step with which the turn goes on, ``stored`` the packed result."""

    outcome: str
    stored: str | None = None
    claimed: Claimed | None = None
    seconds: float = 0.0


LOST = Ended(outcome="lost")
MayGoOn = Callable[[], Turn | None]


def ended_as(decision: Decision, stored: str | None, announcement: Announcement) -> Ended:
    """What the turn needs to know of a recorded try."""
    return Ended(outcome=decision.attempt_outcome or "returned", stored=stored, claimed=announcement.claimed)


def settle(claim: Claim, decision: Decision | None, stored: str | None = None, turn: Turn | None = None) -> Ended:
    """Record a decision in a transaction of its own and announce it; returns how the try ended.

    None means that somebody else may own the step: then nothing is written.
    """
    if decision is None:
        return LOST
    try:
        announcement = _record_surely(claim, decision, stored, turn)
    except CancelSeen:
        return LOST if _is_cancelled(decision) else settle(claim, as_cancelled(decision), stored)
    except FenceLost:
        return LOST
    announcement.make()
    return ended_as(decision, stored, announcement)


def _record_surely(claim: Claim, decision: Decision, stored: str | None, turn: Turn | None) -> Announcement:
    """Record, and try again while the database is away, as long as the lease may hold.

    A finished step is not thrown away because Postgres restarted. Should the first try have been committed without our
    hearing of it, the fence is gone, and the second writes nothing.
    """
    patience = Retrying(
        retry=retry_if_exception_type((OperationalError, InterfaceError)),
        stop=stop_after_delay(get_settings().lease_seconds),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    for attempt in patience:
        with attempt, transaction() as session:
            announcement = _record(session, claim, decision, stored, turn)
    return announcement


def _is_cancelled(decision: Decision) -> bool:
    return decision.job_status is JobState.CANCELLED


def _record(session: Session, claim: Claim, decision: Decision, stored: str | None, turn: Turn | None) -> Announcement:
    return record(
        session, decision, step_id=claim.step_id, fence=claim.fence, job=claim.job, at=claim.position, stored=stored,
        turn=turn,
    )  # fmt: skip


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


def report(claim: Claim, ended: Ended) -> None:
    """Log and count how a try ended."""
    STEPS.labels(claim.label, ended.outcome).inc()
    STEP_SECONDS.labels(claim.label).observe(ended.seconds)
    log.info(
        "step ended", job_id=claim.job.id, step=claim.label, attempt=claim.position.attempt, outcome=ended.outcome,
        ms=round(ended.seconds * 1000, 1),
    )  # fmt: skip
