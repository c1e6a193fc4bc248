"""The engine: what happens to one step, from the ring to the report. The page to read first.

    claim    take the step under a fresh fence token and a lease, if it is due and ours to run
    call     the step's function; no transaction is open while it runs
    decide   pure: what its outcome means
    record   one transaction, guarded by the fence: result, next step, job, events, deliveries
    report   rings, log, metric

A worker may die, freeze or be doubled at any point in between: until ``record`` commits nothing has happened, and once
it has, no other record of the same try can.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.agents import Action, ItemContext, MapStep, Step, StepContext, TransactionContext
from agora.clock import now
from agora.db.session import transaction
from agora.files.service import TeamFiles
from agora.jobs import children, fan_out, step_queries, values
from agora.jobs.batch import Watch
from agora.jobs.budgets import heed
from agora.jobs.chronicle import owes_ring
from agora.jobs.claim import Claim, Claimer
from agora.jobs.conclude import conclude
from agora.jobs.context import Runtime
from agora.jobs.decide import Decision, cancelled, decide_failure, failure_of, timeout_failure
from agora.jobs.leases import TIMEOUT_GRACE, Lease
from agora.jobs.pace import Pace
from agora.jobs.record import CancelSeen, FenceLost, record
from agora.jobs.resume import check_suspension
from agora.jobs.settle import Ended, Finished, recorded, report, settle
from agora.jobs.states import StepState
from agora.jobs.turn import Onward, Turn
from agora.settings import get_settings
from agora.telemetry import get_logger

SILENT_SECONDS = 60.0
"""How long a transactional step without a time-out may say nothing to the database. It holds its row meanwhile, and
nobody can tell whether it thinks or its host is gone."""

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
    pace: Pace = field(default_factory=Pace)
    watch: Watch = field(default_factory=Watch)
    claimer: Claimer = field(init=False)

    def __post_init__(self) -> None:
        specs = {label: action.spec for label, action in self.actions.items()}
        claimer = Claimer(worker_id=self.worker_id, actions=self.actions, specs=specs, known=sorted(self.actions))
        object.__setattr__(self, "claimer", claimer)

    def run(self, step_id: str, *, hops: int = 0) -> str | None:
        """Run one turn, as :class:`Turn` says; returns how the last try of this step's job ended, None for no try."""
        return Turn(self).run(step_id, hops=hops)

    def lease(self, claim: Claim) -> Lease:
        """A lease for a fresh claim."""
        timeout = claim.step.timeout.total_seconds() if claim.step.timeout else None

        def give_up() -> None:
            # Runs in a thread of the heartbeat's: the step's own thread is stuck.
            settle(
                [Finished(claim=claim, decision=decide_failure(timeout_failure(claim.position.step), claim.position))]
            )

        return Lease(
            step_id=claim.step_id, fence=claim.fence, lease_seconds=get_settings().lease_seconds, timeout=timeout,
            give_up=give_up, draining=self.draining,
        )  # fmt: skip

    def tell(self, ended: Ended) -> None:
        """Report a try. Whoever watches must not break the turn: its next step may be claimed already."""
        report(ended)
        try:
            self.observe(ended.claim, ended.outcome, ended.seconds)
        except Exception:
            log.exception("observer failed", step=ended.claim.label, **ended.claim.named)

    def attempt(self, claim: Claim, lease: Lease, onward: Onward) -> Finished | Ended:
        """Call a claimed step and decide; a transactional one is recorded too, its writes with it."""
        if claim.step.transactional:
            return self._run_transactional(claim, lease, onward)
        if isinstance(claim.step, MapStep) and not claim.position.item:
            decision, stored = self._spread(claim, claim.step, lease)
        else:
            decision, stored = self._call(claim, lambda: self._run_step(claim, Runtime(claim, lease)))
        return Finished(claim=claim, decision=decision, stored=stored)

    def _run_step(self, claim: Claim, runtime: Runtime) -> Any:
        runtime.begin()
        try:
            return claim.step.run(self._context(claim, runtime))
        finally:
            runtime.flush()

    def _call(self, claim: Claim, function: Callable[[], Any]) -> tuple[Decision | None, str | None]:
        """Call the step and decide."""
        return conclude(
            function, claim.action, claim.position, pack=lambda decision: _pack(claim, decision),
            hard_timeouts=self.hard_timeouts,
        )  # fmt: skip

    def _spread(self, claim: Claim, step: MapStep[Any, Any], lease: Lease) -> tuple[Decision | None, str | None]:
        """A map step does not call its function: it becomes its items, which do."""
        try:
            team_id, what = claim.job.team_id, f"an item of step {step.name}"
            return _pack(
                claim,
                fan_out.spread_out(
                    claim.position, step, Runtime(claim, lease),
                    pack=lambda one: values.pack(one, team_id=team_id, what=what),
                ),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001  # the database, the file store: it is tried again
            return decide_failure(failure_of(error), claim.position), None

    def _run_transactional(self, claim: Claim, lease: Lease, onward: Onward) -> Finished | Ended:
        """Call and record in one transaction: the step's writes commit with its checkpoint, or not at all."""
        try:
            with transaction() as session:
                if not step_queries.hold_step(
                    session, step_id=claim.step_id, fence=claim.fence, silence=_silence(claim.step)
                ):
                    return Finished(claim=claim, decision=None)
                decision, stored = self._call(
                    claim, lambda: claim.step.run(self._transaction_context(claim, Runtime(claim, lease), session))
                )
                if decision is None or decision.step_status is not StepState.SUCCEEDED:
                    raise _Undo(decision)  # noqa: TRY301  # the only way out of a transaction that undoes it
                if lease.late:  # as any step that is taken away; this one's lock has kept the dispatcher from it
                    raise _Undo(None)  # noqa: TRY301
                finished = Finished(claim=claim, decision=decision, stored=stored, lease=onward(decision))
                attempt = finished.as_try()
                announcement = record(session, heed(session, attempt) if claim.budgeted else attempt)
                announcement.deliveries |= owes_ring(session)
        except _Undo as undone:
            return Finished(claim=claim, decision=undone.decision)
        except CancelSeen:
            ended = Decision(step_status=StepState.CANCELLED, attempt_outcome="cancelled")
            return Finished(claim=claim, decision=cancelled(ended))
        except FenceLost:
            return Finished(claim=claim, decision=None)
        except Exception as error:  # noqa: BLE001  # a deferred constraint or the commit itself can fail
            return Finished(claim=claim, decision=decide_failure(failure_of(error), claim.position))
        announcement.make()
        return recorded(finished, announcement)

    def _context(self, claim: Claim, runtime: Runtime) -> StepContext[Any]:
        at, item = claim.position, claim.position.item
        scope = f"{claim.root_id}:{claim.step.name}:{at.iteration}" + (f":{item}" if item else "")
        outside: dict[str, Any] = {
            "files": TeamFiles(claim.job.team_id, scope=scope), "clock": self.clock, "ports": self.ports(),
        }  # fmt: skip
        if isinstance(claim.step, MapStep):
            value = claim.step.over.element.validate_python(values.unpack(claim.value))
            return ItemContext(**self._common(claim, runtime), **outside, value=value)
        return StepContext(**self._common(claim, runtime), **outside)

    def _transaction_context(self, claim: Claim, runtime: Runtime, session: Session) -> TransactionContext[Any]:
        return TransactionContext(**self._common(claim, runtime), session=session)

    def _common(self, claim: Claim, runtime: Runtime) -> dict[str, Any]:
        return {
            "input": claim.action.input.model_validate(values.unpack(claim.input)),
            "team_id": claim.job.team_id,
            "job_id": claim.job.id,
            "root_job_id": claim.root_id,
            "step_name": claim.step.name,
            "attempt": claim.position.attempt,
            "iteration": claim.position.iteration,
            "item": max(0, claim.position.item - 1),
            "carry": values.unpack(claim.carry),
            "log": log.bind(step=claim.step.name, attempt=claim.position.attempt, **claim.named),
            "runtime": runtime,
        }


def _silence(step: Step[Any, Any]) -> float:
    """How many seconds a transactional step may think between two statements."""
    return step.timeout.total_seconds() + TIMEOUT_GRACE if step.timeout else SILENT_SECONDS


class _Undo(Exception):
    def __init__(self, decision: Decision | None) -> None:
        super().__init__()
        self.decision = decision


def _pack(claim: Claim, decision: Decision) -> tuple[Decision, str | None]:
    """The decision with its values as their rows will hold them. What it raises is the step's failure."""
    team_id, following = claim.job.team_id, decision.next_step
    if following is not None and following.new_carry:
        carry = values.pack(following.carry, team_id=team_id, what="the carry")
        decision = replace(decision, next_step=replace(following, stored_carry=carry))
    check_suspension(decision.suspension)
    if decision.children is not None:
        prepared = children.prepare(claim, decision.children)
        suspension = {**(decision.suspension or {}), "taken": prepared.taken}
        decision = replace(decision, new_jobs=prepared.jobs, suspension=suspension)
    if not decision.has_result:
        return decision, None
    return decision, values.pack(decision.result, team_id=team_id, what=f"the result of step {claim.step.name}")
