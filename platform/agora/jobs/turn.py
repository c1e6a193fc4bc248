"""A turn: what a worker does with one message.

It runs the step that it was rung for, and in place the steps that follow. While due steps wait for which nobody was
rung, or several whose messages nobody has heard yet, it takes on more of those that are known to be quick, runs them
side by side in levels, and records each level in one statement. So a backlog of small steps, or a burst, costs one
message and four statements for dozens of jobs instead of each, and a lone job goes through as before.
docs/decisions/0006 and 0014 have the reasons and the figures.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from agora.agents import StepSpec
from agora.jobs import values
from agora.jobs.batch import Batch, Watch
from agora.jobs.claim import Claim, Claimer
from agora.jobs.decide import Decision, Position
from agora.jobs.leases import Lease, heartbeat
from agora.jobs.pace import Pace
from agora.jobs.rings import hand_on, try_refill
from agora.jobs.settle import Ended, Finished, settle
from agora.settings import get_settings
from agora.telemetry import get_logger

MOST = 25
"""Claims that a turn takes on at once."""
TAKE_SECONDS = 0.05
"""What a turn takes on at once should not take longer."""
GROUP_SECONDS = 0.02
"""A try that has ended waits no longer for others to be recorded with."""


log = get_logger(__name__)

Onward = Callable[[Decision], float | None]
"""The lease in seconds with which the same worker goes on with the step that follows, or None."""


class Runner(Protocol):
    """What a turn needs of the engine."""

    @property
    def claimer(self) -> Claimer:
        """What takes steps for this worker."""

    @property
    def pace(self) -> Pace:
        """How long steps took in this process."""

    @property
    def watch(self) -> Watch:
        """What looks after the batches of this process."""

    def draining(self) -> bool:
        """Whether the worker stops."""

    def lease(self, claim: Claim) -> Lease:
        """A lease for a fresh claim."""

    def attempt(self, claim: Claim, lease: Lease, onward: "Onward") -> Finished | Ended:
        """Call the step. Ended when it was recorded already, with ``onward`` for what follows it."""

    def tell(self, ended: Ended) -> None:
        """Report a try."""


class Turn:
    """One message's worth of work."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._batch = Batch()
        settings = get_settings()
        self._lease_seconds = settings.lease_seconds
        self._ends = time.monotonic() + settings.turn_seconds
        self._takes_until = time.monotonic() + settings.turn_seconds / 2
        self._backlog = self._crowd = False
        self._queue = ""
        self._first_job: str | None = None
        self._outcome: str | None = None

    def run(self, step_id: str, *, hops: int = 0) -> str | None:
        """Run the turn; returns how the last try of the message's own job ended, None when it was not to be had."""
        taken = self._runner.claimer.one(step_id)
        claims, self._backlog, self._crowd = taken.claims, taken.backlog, taken.crowd
        if not claims:
            self._misheard(step_id, hops)
            return None
        (first,) = claims
        self._first_job, self._queue = first.job.id, first.step.queue
        if self._backlog and not self._shares(first):
            # Nobody waits for this step to end before somebody else is rung.
            self._pass_on()
        try:
            self._add(claims)
            self._work()
        finally:
            self._runner.watch.end(self._batch)
            self._clean_up()
        if self._backlog:
            self._pass_on()
        return self._outcome

    def _misheard(self, step_id: str, hops: int) -> None:
        try:
            hand_on(step_id, known=self._runner.claimer.known, hops=hops)
        except SQLAlchemyError as error:
            log.warning("a ring was not handed on, the dispatcher will", error=type(error).__name__)

    def _work(self) -> None:
        while True:
            following = self._batch.pop()
            if following is not None:
                self._try(*following)
                continue
            self._flush()
            if self._batch.is_empty():
                self._take_more()
            if self._batch.is_empty():
                return

    def _try(self, claim: Claim, lease: Lease) -> None:
        if lease.is_stale():
            # This process was frozen while the step waited its turn: somebody else may run it by now.
            self._batch.finish(Finished(claim=claim, decision=None), lease)
            return
        try:
            if claim.step.transactional:
                self._flush()
            started = time.monotonic()
            lease.begin()
            made = self._runner.attempt(claim, lease, lambda decision: self._onward(claim, decision))
        except BaseException:
            # Nobody records it: were its lease renewed for as long as the process lives, nobody else would run it.
            self._batch.drop(lease)
            raise
        seconds = time.monotonic() - started
        if not _is_killable(claim.position.step):
            self._runner.pace.note(claim.label, seconds)
        made = replace(made, seconds=seconds)
        if isinstance(made, Ended):
            self._batch.drop(lease)
            self._ended([made])
            return
        self._batch.finish(made, lease)
        if self._runner.draining() or self._batch.age() > GROUP_SECONDS:
            self._flush()
            if self._runner.draining() and self._batch.release():
                self._backlog = True

    def _flush(self) -> None:
        alone = self._batch.is_alone()
        taken = self._batch.take_finished()
        if not taken:
            return
        group = [
            replace(one, lease=self._onward(one.claim, one.decision, alone=alone)) if one.decision else one
            for one, _ in taken
        ]
        try:
            ended = settle(group)
        finally:
            heartbeat().drop([lease for _, lease in taken])
        self._ended(ended)

    def _ended(self, ended: Sequence[Ended]) -> None:
        for one in ended:
            self._runner.tell(one)
            if one.claim.job.id == self._first_job:
                self._outcome = one.outcome
        self._add([following_of(one) for one in ended if one.claimed is not None])

    def _add(self, claims: Sequence[Claim]) -> None:
        if claims:
            self._batch.add(claims, self._runner.lease)

    def _onward(self, claim: Claim, decision: Decision, *, alone: bool | None = None) -> float | None:
        following = decision.next_step
        if following is None or following.spec.queue != self._queue or _is_killable(following.spec):
            return None
        if time.monotonic() >= self._ends or self._runner.draining() or _is_killable(claim.position.step):
            return None
        quick = self._runner.pace.is_quick(f"{claim.job.agent}.{claim.job.action}.{following.spec.name}")
        alone = self._batch.is_alone() if alone is None else alone
        return self._lease_seconds if alone or quick else None

    def _shares(self, claim: Claim) -> bool:
        killable = _is_killable(claim.position.step)
        return self._runner.pace.is_quick(claim.label) and not killable and claim.position.lost_leases == 0

    def _take_more(self) -> None:
        if not (self._backlog or self._crowd) or time.monotonic() >= self._takes_until or self._runner.draining():
            return
        quick = self._runner.pace.quick()
        if not quick:
            return
        count = max(1, min(MOST, int(TAKE_SECONDS / max(*quick.values(), 1e-6))))
        claims = self._take(list(quick), count)
        self._runner.watch.begin(self._batch)
        self._add(claims)

    def _take(self, quick: Sequence[str], count: int) -> list[Claim]:
        """Of those first that nobody was rung for; then of those whose messages lie in the broker."""
        if self._backlog:
            claims = self._runner.claimer.some(queue=self._queue, quick=quick, count=count).claims
            self._backlog = bool(claims)
            if claims:
                return claims
            self._crowd = True
        claims = self._runner.claimer.rung(queue=self._queue, quick=quick, count=count).claims
        self._crowd = bool(claims)
        return claims

    def _pass_on(self) -> None:
        self._backlog = False
        try_refill(self._queue)

    def _clean_up(self) -> None:
        """After a turn that was cut short: record what has ended, give back what was not begun."""
        if self._batch.is_empty() and not self._batch.age():
            return
        self._backlog = True
        try:
            self._batch.relieve()
        except SQLAlchemyError as error:
            log.warning("a turn was not cleaned up, its leases run out", error=type(error).__name__)


def _is_killable(step: StepSpec) -> bool:
    """Whether its message carries time limits: then they are the limits of the whole turn, and it runs alone."""
    return step.timeout is not None and step.queue == "cpu"


def following_of(ended: Ended) -> Claim:
    """The claim of the step with which the turn goes on."""
    if ended.claimed is None:
        raise ValueError("nothing was claimed")
    claim, following = ended.claim, ended.claimed.following
    again = following.iteration != claim.position.iteration
    return replace(
        claim,
        step_id=ended.claimed.step_id,
        fence=ended.claimed.fence,
        step=claim.action.named(following.spec.name),
        position=Position(action=claim.position.action, step=following.spec, iteration=following.iteration),
        carry=values.packed(following.carry) if following.new_carry else claim.carry,
        previous=(None, None) if again else (claim.step.name, ended.stored),
        value=None,
        first=False,
    )
