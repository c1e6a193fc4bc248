"""Settle tries that have ended: record them as a group, and tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from agora.db.session import statement, transaction
from agora.jobs import children, fan_out, item_queries
from agora.jobs.announce import Announcement, Claimed
from agora.jobs.budgets import heed
from agora.jobs.claim import Claim
from agora.jobs.decide import Decision, cancelled, decide_failure, failure_of
from agora.jobs.intake import insert_all
from agora.jobs.patience import surely
from agora.jobs.record import CancelSeen, MayFanOut, Recorded, Try, record_all
from agora.jobs.states import JOB_ENDED, JobState, StepState
from agora.telemetry import STEP_SECONDS, STEPS, get_logger

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A try that has ended and is not recorded yet.

    ``decision`` None means that somebody else may own the step: then nothing is written. With ``lease`` (seconds) the
    step that follows is claimed for the same worker. ``seconds`` is how long the try took.
    """

    claim: Claim
    decision: Decision | None
    stored: str | None = None
    lease: float | None = None
    seconds: float = 0.0

    def as_try(self) -> Try:
        """What is to be recorded."""
        if self.decision is None:
            raise ValueError("a try without a decision is not recorded")
        return Try(
            step_id=self.claim.step_id, fence=self.claim.fence, job=self.claim.job, at=self.claim.position,
            decision=self.decision, stored=self.stored, lease=self.lease,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a try ended; ``claimed`` is the step with which the turn goes on, ``stored`` the packed result."""

    claim: Claim
    outcome: str
    stored: str | None = None
    claimed: Claimed | None = None
    seconds: float = 0.0


def lost(finished: Finished) -> Ended:
    """The try of a step that is somebody else's now."""
    return Ended(claim=finished.claim, outcome="lost", seconds=finished.seconds)


def recorded(finished: Finished, announcement: Announcement) -> Ended:
    """The try as it was recorded."""
    outcome = finished.decision.attempt_outcome if finished.decision else None
    return Ended(
        claim=finished.claim, outcome=outcome or "returned", stored=finished.stored, claimed=announcement.claimed,
        seconds=finished.seconds,
    )  # fmt: skip


def settle(group: Sequence[Finished]) -> list[Ended]:
    """Record tries of different jobs and announce them; returns how each ended, in no certain order."""
    ours = [one for one in group if one.decision is not None]
    ended = [lost(one) for one in group if one.decision is None]
    told, cancels = Announcement(), []
    for one, result in zip(ours, _record(ours), strict=True):
        if isinstance(result, Announcement):
            told.add(result)
            ended.append(recorded(one, result))
        elif isinstance(result, CancelSeen) and one.decision and one.decision.job_status is not JobState.CANCELLED:
            cancels.append(replace(one, decision=cancelled(one.decision), lease=None))
        else:
            ended.append(lost(one))
    told.make()
    _settle_parts([one.claim for one in ours if one.decision and _may_end_a_whole(one)])
    return ended + settle(cancels) if cancels else ended


def _may_end_a_whole(one: Finished) -> bool:
    """Whether this try may have been the last that a map step or a parent waited for."""
    if one.decision is None or one.decision.step_status is StepState.READY:
        return False
    return bool(one.claim.position.item) or (one.claim.parent_id is not None and one.decision.job_status in JOB_ENDED)


def _settle_parts(claims: Sequence[Claim]) -> None:
    items = [claim for claim in claims if claim.position.item]
    jobs = [claim.job.id for claim in claims if not claim.position.item]
    if items:
        fan_out.settle_items(items)
    if jobs:
        children.settle_children(jobs)


def _record(group: Sequence[Finished]) -> list[Recorded]:
    """Record a group: in one statement, and in a transaction those with a budget or webhook endpoints."""
    found: dict[str, Recorded] = {}
    quiet = [one for one in group if not (one.claim.subscribed or one.claim.budgeted or _has_parts(one))]
    if quiet:
        found |= _whole_or_singly(quiet, may_fan_out=False)
    loud = [one for one in group if isinstance(found.get(one.claim.step_id, MayFanOut()), MayFanOut)]
    if loud:
        found |= _whole_or_singly(loud, may_fan_out=True)
    return [found[one.claim.step_id] for one in group]


def _has_parts(one: Finished) -> bool:
    return one.decision is not None and bool(one.decision.items or one.decision.new_jobs)


def _whole_or_singly(group: Sequence[Finished], *, may_fan_out: bool) -> dict[str, Recorded]:
    """What Postgres refuses in one try must not take the others with it, and fails that one."""
    try:
        return surely(lambda: _written(group, may_fan_out=may_fan_out))
    except (OperationalError, InterfaceError):
        raise
    except DBAPIError as error:
        if len(group) > 1:
            return {
                step_id: result
                for one in group
                for step_id, result in _whole_or_singly([one], may_fan_out=may_fan_out).items()
            }
        (one,) = group
        log.warning("a record was refused", step=one.claim.label, error=str(error)[:300], **one.claim.named)
        refused = replace(one, decision=decide_failure(failure_of(error), one.claim.position), stored=None, lease=None)
        return surely(lambda: _written([refused], may_fan_out=may_fan_out))


def _written(group: Sequence[Finished], *, may_fan_out: bool) -> dict[str, Recorded]:
    tries = [one.as_try() for one in group]
    with transaction() if may_fan_out else statement() as session:
        if isinstance(session, Session):
            tries = [
                heed(session, attempt) if one.claim.budgeted else attempt
                for one, attempt in zip(group, tries, strict=True)
            ]
        results = record_all(session, tries, may_fan_out=may_fan_out)
        for one, result in zip(group, results, strict=True):
            if isinstance(session, Session) and isinstance(result, Announcement) and _has_parts(one):
                _insert_parts(session, one, result)
    return {one.step_id: result for one, result in zip(tries, results, strict=True)}


def _insert_parts(session: Session, one: Finished, announcement: Announcement) -> None:
    """Items and children are made in the transaction that suspends the step: each once, whatever happens."""
    if one.decision is None:
        return
    if one.decision.items:
        item_queries.insert_items(session, head=one.claim.step_id, items=one.decision.items)
        announcement.queues.add(one.claim.step.queue)
    if one.decision.new_jobs:
        announcement.add(insert_all(session, one.decision.new_jobs, team_id=one.claim.job.team_id))


def report(ended: Ended) -> None:
    """Log and count how a try ended."""
    claim = ended.claim
    STEPS.labels(claim.label, ended.outcome).inc()
    STEP_SECONDS.labels(claim.label).observe(ended.seconds)
    log.info(
        "step ended", step=claim.label, attempt=claim.position.attempt, outcome=ended.outcome,
        ms=round(ended.seconds * 1000, 1), **claim.named,
    )  # fmt: skip
