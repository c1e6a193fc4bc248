"""Child jobs: made in the transaction that suspends their parent's step, which gets their results in the end."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from agora.db.session import Row, statement, transaction
from agora.errors import Conflict, TooLarge
from agora.events.types import JobRef, job_event
from agora.ids import new_id
from agora.jobs import catalogue, child_queries, queries, values
from agora.jobs.claim import Claim
from agora.jobs.decide import Failure
from agora.jobs.intake import Lineage, NewJob, check
from agora.jobs.resume import fail_job, resume_with
from agora.jobs.states import JobState
from agora.jobs.types import Submission
from agora.outcomes import Child, ChildResult, Permanent
from agora.settings import get_settings
from agora.telemetry import get_logger

RESULTS = TypeAdapter[list[ChildResult]](list[ChildResult])

log = get_logger(__name__)


def prepare(claim: Claim, children: Sequence[Child]) -> list[NewJob]:
    """Children as they will be inserted, checked like any submission.

    Raises:
        Invalid: a child's agent is unknown, or its input does not satisfy the schema.
        Permanent: they would be too many levels deep.
    """
    with transaction() as session:
        parent = queries.get_parent(session, team_id=claim.job.team_id, job_id=claim.job.id)
    depth, limit = parent["depth"] + 1, get_settings().max_depth
    if depth > limit:
        message = f"the children of step {claim.step.name} would be {depth} levels deep; the limit is {limit}"
        raise Permanent(message, code="too-deep")
    return [_new_job(claim, child, index, depth, parent["priority"]) for index, child in enumerate(children)]


def _new_job(claim: Claim, child: Child, index: int, depth: int, priority: int) -> NewJob:
    registered = catalogue.look_up(child.agent, child.action, child.version)
    submission = Submission(
        agent=child.agent, action=child.action, input=child.input, metadata=child.metadata,
        priority=priority if child.priority is None else child.priority,
    )  # fmt: skip
    check(submission, registered)
    team_id, spec = claim.job.team_id, registered.spec
    job = JobRef(
        id=new_id("job"), team_id=team_id, agent=child.agent, action=child.action, version=spec.version,
        metadata=child.metadata,
    )  # fmt: skip
    lineage = Lineage(parent_id=claim.job.id, parent_step_id=claim.step_id, child_index=index, depth=depth)
    return NewJob(
        job=job, spec=spec, step=spec.steps[0], input=values.pack(child.input, team_id=team_id, what="a child's input"),
        priority=submission.priority, traceparent=claim.traceparent, lineage=lineage,
        created=job_event("job.created", job, status=JobState.QUEUED, parent_id=claim.job.id),
    )  # fmt: skip


def settle_children(jobs: Sequence[str]) -> None:
    """After a commit that ended these child jobs: go on with the steps that waited for them. Best effort."""
    try:
        with statement() as session:
            over = child_queries.find_over(session, jobs=jobs)
        for step in over:
            settle_step(step)
    except SQLAlchemyError as error:
        log.warning(
            "a parent was not told of its children, the dispatcher will",
            error=type(error).__name__,
            detail=str(error)[:300],
        )


def settle_step(waiting: Row) -> bool:
    """Give a step the results of its children, or fail its job when too many did not succeed; False if neither."""
    with transaction() as session:
        row = queries.find_job(session, team_id=waiting["team_id"], job_id=waiting["job_id"])
        step = child_queries.find_waiting(session, step_id=waiting["id"])
        children = child_queries.list_children(session, team_id=waiting["team_id"], step_id=waiting["id"])
    if row is None or step is None:
        return False
    missed = [child for child in children if child["status"] in {"failed", "cancelled"}]
    if len(missed) > step["suspension"]["tolerated"]:
        return fail_job(row, step, _too_many(step, children, missed))
    try:
        value = RESULTS.dump_python([_result(child) for child in children], mode="json")
        with transaction() as session:
            announcement = resume_with(session, row, step, value)
    except TooLarge as error:
        return fail_job(row, step, Failure(code=error.slug, type="TooLarge", message=str(error), retryable=False))
    except Conflict:
        return False
    announcement.make()
    return True


def _result(child: Row) -> ChildResult:
    return ChildResult(
        job_id=child["id"], status=child["status"], output=values.unpack(child["output"]), error=child["error"]
    )


def _too_many(step: Row, children: Sequence[Any], missed: Sequence[Row]) -> Failure:
    first = missed[0]
    cause = (first["error"] or {}).get("message", first["status"])
    message = (
        f"{len(missed)} of {len(children)} children of step {step['name']} did not succeed,"
        f" {step['suspension']['tolerated']} are tolerated; the first, {first['id']}: {cause}"
    )
    return Failure(code="children-failed", type="ChildrenFailed", message=message, retryable=False)
