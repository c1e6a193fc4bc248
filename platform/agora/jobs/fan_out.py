"""Fan-outs: a map step becomes its items, and gets its result when they have ended.

Nothing is counted while items end: ten thousand records would queue for one row. Whoever records items looks, after its
commit, whether any is still open; of two that end at once the later one sees none. The dispatcher looks as well, for
those whose worker died in between.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from agora.db.session import Row, statement, transaction
from agora.errors import Conflict
from agora.events.types import job_event
from agora.jobs import item_queries, queries
from agora.jobs.announce import Announcement
from agora.jobs.apart import settle_each
from agora.jobs.budgets import find_excess
from agora.jobs.chronicle import record as record_events
from agora.jobs.claim import Claim
from agora.jobs.decide import Decision, Failure, Position, advance, failed, spread
from agora.jobs.resume import fail_job, resume_with
from agora.jobs.states import JobState
from agora.steps import MapStep, Results
from agora.telemetry import get_logger

MOST_ITEMS = 10_000
PROGRESS_SECONDS = 1.0
MOST_REPORTED = 1_000

log = get_logger(__name__)


def spread_out(
    at: Position, step: MapStep[Any, Any], results: Results, *, pack: Callable[[Any], str]
) -> Decision:  # fmt: skip
    """Decide what a map step that was claimed becomes: its items, or its result when there are none.

    ``pack`` makes an item's value storable and may raise.
    """
    try:
        found = step.over.values(results)
    except (TypeError, LookupError) as error:
        return failed(Failure(code="map-over", type=type(error).__name__, message=str(error), retryable=False))
    if len(found) > MOST_ITEMS:
        message = f"step {step.name} would have {len(found)} items; the limit is {MOST_ITEMS}"
        return failed(Failure(code="too-many-items", type="TooManyItems", message=message, retryable=False))
    if not found:
        return advance(summary(0, 0, at.iteration), at)
    return spread([pack(one) for one in found], step.failures)


def summary(count: int, failures: int, iteration: int) -> dict[str, int]:
    """The result of a map step: the items' own results stay with them."""
    return {"count": count, "failed": failures, "iteration": iteration}


def settle_items(claims: Sequence[Claim]) -> None:
    """After a commit that ended these items: settle their map steps if those are over. Best effort."""
    try:
        with statement() as session:
            over = item_queries.find_over(session, items=[claim.step_id for claim in claims])
        settle_each(settle_head, over)
        _report({(claim.job.id, claim.step.name, claim.position.iteration): claim for claim in claims})
    except SQLAlchemyError as error:
        log.warning(
            "a fan-out was not settled, the dispatcher will", error=type(error).__name__, detail=str(error)[:300]
        )
    except Exception:  # the commit is done: what follows in the turn must not be lost with this
        log.exception("a fan-out was not settled, the dispatcher will")


_reported: dict[tuple[str, str, int], float] = {}
"""When this process last reported the progress of a map step, on the monotonic clock."""


def _report(steps: Mapping[tuple[str, str, int], Claim]) -> None:
    """Write how far map steps are, about once a second for each process that works on them."""
    moment = time.monotonic()
    for identity, claim in steps.items():
        if identity not in _reported and len(_reported) >= MOST_REPORTED:
            _reported.clear()
        if moment - _reported.setdefault(identity, moment) < PROGRESS_SECONDS:
            continue
        _reported[identity] = moment
        _write_progress(claim)


def _write_progress(claim: Claim) -> None:
    at, job = claim.position, claim.job
    with transaction() as session:
        tally = item_queries.tally(session, job_id=job.id, name=at.step.name, iteration=at.iteration)
        ended = tally["succeeded"] + tally["failed"]
        fraction = (at.index + ended / max(1, tally["total"])) / len(at.action.steps)
        message = f"{ended} of {tally['total']} items of {at.step.name}"
        if not queries.raise_progress(session, team_id=job.team_id, job_id=job.id, fraction=fraction, message=message):
            return
        event = job_event(
            "job.progressed", job, status=JobState.RUNNING, step=at.step.name, progress=round(fraction, 4),
            message=message,
        )  # fmt: skip
        announcement = Announcement(jobs={job.id}, deliveries=record_events(session, job, [event]))
    announcement.make()


def settle_head(head: Row) -> bool:
    """Give a map step that is over its result, or fail its job; False when somebody else has."""
    with transaction() as session:
        row = queries.find_job(session, team_id=head["team_id"], job_id=head["job_id"])
        step = item_queries.hold_head(session, head=head["id"]) if row is not None else None
        if row is None or step is None:
            return False
        identity = {"job_id": row.id, "name": step["name"], "iteration": step["iteration"]}
        tally = item_queries.tally(session, **identity)
        if tally["failed"] <= step["suspension"]["tolerated"]:
            value = summary(tally["total"], tally["failed"], step["iteration"])
            announcement = Announcement()
            with suppress(Conflict):  # the job ends just now
                announcement = resume_with(session, row, step, value, state=JobState.RUNNING)
        else:
            first = item_queries.find_first_failed(session, **identity)
            over = find_excess(session, team_id=row.team_id, job_id=row.id) if row.budget else None
            announcement = None
    if announcement is None:
        return fail_job(row, step, over.failure() if over else too_many(step, tally, first))
    announcement.make()
    return True


def too_many(step: Row, tally: Row, first: Row | None) -> Failure:
    """More items of a map step failed than it tolerates."""
    cause = f"; the first, item {first['item'] - 1}: {first['error']['message']}" if first else ""
    message = (
        f"{tally['failed']} of {tally['total']} items of step {step['name']} failed,"
        f" {step['suspension']['tolerated']} are tolerated{cause}"
    )
    return Failure(code="items-failed", type="ItemsFailed", message=message, retryable=False)
