"""Child jobs: made in the transaction that suspends their parent's step, which gets their results in the end."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from agora.caching.generations import view
from agora.db.session import Row, statement, transaction
from agora.errors import Conflict, NotFound, TooLarge
from agora.events.types import JobRef, job_event
from agora.ids import new_id
from agora.jobs import catalogue, child_queries, queries, values
from agora.jobs.apart import settle_each
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Children as they will be inserted, and the ids of those that a retry takes over, as they succeeded before."""

    jobs: Sequence[NewJob]
    taken: Sequence[str]


def prepare(claim: Claim, children: Sequence[Child]) -> Prepared:
    """Check children like any submission; in a retry, those that have succeeded before are not spawned again.

    Raises:
        Invalid: a child's agent is unknown, or its input does not satisfy the schema.
        Permanent: they would be too many levels deep.
    """
    team_id, earlier = claim.job.team_id, {}
    with transaction() as session:
        parent = queries.get_parent(session, team_id=team_id, job_id=claim.job.id)
        if parent["retry_of"] is not None:
            found = child_queries.list_earlier(
                session, team_id=team_id, job_id=parent["retry_of"], name=claim.step.name,
                iteration=claim.position.iteration,
            )  # fmt: skip
            earlier = {child["child_index"]: child for child in found}
    depth, limit = parent["depth"] + 1, get_settings().max_depth
    if depth > limit:
        message = f"the children of step {claim.step.name} would be {depth} levels deep; the limit is {limit}"
        raise Permanent(message, code="too-deep")
    jobs, taken = [], []
    with view():  # one look at what is registered, for all of them
        for index, child in enumerate(children):
            before = earlier.get(index)
            new = _new_job(claim, child, Place(index=index, depth=depth, priority=parent["priority"]), before)
            if before is not None and before["status"] == JobState.SUCCEEDED and _is_same(new, before):
                taken.append(before["id"])
            else:
                jobs.append(new)
    return Prepared(jobs=jobs, taken=taken)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a child stands: among its siblings, below how many parents; and the priority of its parent."""

    index: int
    depth: int
    priority: int


def _new_job(claim: Claim, child: Child, at: Place, before: Row | None) -> NewJob:
    registered = catalogue.look_up(child.agent, child.action, child.version)
    submission = Submission(
        agent=child.agent, action=child.action, input=child.input, metadata=child.metadata,
        priority=at.priority if child.priority is None else child.priority,
    )  # fmt: skip
    check(submission, registered)
    team_id, spec = claim.job.team_id, registered.spec
    job = JobRef(
        id=new_id("job"), team_id=team_id, agent=child.agent, action=child.action, version=spec.version,
        metadata=child.metadata,
    )  # fmt: skip
    stored = values.pack(child.input, team_id=team_id, what="a child's input")
    lineage = Lineage(parent_id=claim.job.id, parent_step_id=claim.step_id, child_index=at.index, depth=at.depth)
    new = NewJob(
        job=job, spec=spec, step=spec.steps[0], input=stored, priority=submission.priority,
        traceparent=claim.traceparent, request_id=claim.request_id, lineage=lineage,
        created=job_event("job.created", job, status=JobState.QUEUED, parent_id=claim.job.id),
    )  # fmt: skip
    if before is None or not _is_same(new, before):
        return new
    # The same work, once more: outside systems see the keys that they have seen before.
    return replace(new, lineage=replace(lineage, root_id=before["root_id"], retry_of=before["id"]))


def _is_same(new: NewJob, before: Row) -> bool:
    return (new.job.agent, new.job.action) == (before["agent"], before["action"]) and (
        json.loads(new.input) == before["input"]
    )


def settle_children(jobs: Sequence[str]) -> None:
    """After a commit that ended these child jobs: go on with the steps that waited for them. Best effort."""
    try:
        with statement() as session:
            over = child_queries.find_over(session, jobs=jobs)
        settle_each(settle_step, over)
    except SQLAlchemyError as error:
        log.warning(
            "a parent was not told of its children, the dispatcher will",
            error=type(error).__name__,
            detail=str(error)[:300],
        )
    except Exception:  # the commit is done: what follows in the turn must not be lost with this
        log.exception("a parent was not told of its children, the dispatcher will")


def settle_step(waiting: Row) -> bool:
    """Give a step the results of its children; False when it does not wait for them any more.

    Its job fails instead when too many of them did not succeed, or when some are not there any more.
    """
    with transaction() as session:
        row = queries.find_job(session, team_id=waiting["team_id"], job_id=waiting["job_id"])
        step = child_queries.find_waiting(session, step_id=waiting["id"])
    if row is None or step is None:
        return False
    with transaction() as session:
        children = child_queries.list_children(
            session, team_id=row.team_id, step_id=step["id"], taken=step["suspension"]["taken"]
        )
    missed = [child for child in children if child["status"] in {"failed", "cancelled"}]
    if len(missed) > step["suspension"]["tolerated"]:
        return fail_job(row, step, too_many(step, children, missed))
    if len(children) != step["suspension"]["count"]:
        return fail_job(row, step, incomplete(step, children))
    try:
        value = RESULTS.dump_python([_result(child) for child in children], mode="json")
        with transaction() as session:
            announcement = resume_with(session, row, step, value)
    except TooLarge as error:
        return fail_job(row, step, Failure(code=error.slug, type="TooLarge", message=str(error), retryable=False))
    except NotFound as error:
        return fail_job(row, step, Failure(code="value-lost", type="NotFound", message=str(error), retryable=False))
    except Conflict:
        return False
    announcement.make()
    return True


def _result(child: Row) -> ChildResult:
    try:
        output = values.unpack(child["output"])
    except NotFound as error:
        raise NotFound(f"the output of child {child['id']} is lost: {error}") from error
    return ChildResult(job_id=child["id"], status=child["status"], output=output, error=child["error"])


def too_many(step: Row, children: Sequence[Any], missed: Sequence[Row]) -> Failure:
    """More children of a step did not succeed than it tolerates."""
    first = missed[0]
    cause = (first["error"] or {}).get("message", first["status"])
    message = (
        f"{len(missed)} of {len(children)} children of step {step['name']} did not succeed,"
        f" {step['suspension']['tolerated']} are tolerated; the first, {first['id']}: {cause}"
    )
    return Failure(code="children-failed", type="ChildrenFailed", message=message, retryable=False)


def incomplete(step: Row, children: Sequence[Any]) -> Failure:
    """Children of a step are not there any more: the next step must not take the others for all of them."""
    message = (
        f"step {step['name']} waited for {step['suspension']['count']} children,"
        f" {len(children)} of which are still there: the others were removed"
    )
    return Failure(code="children-missing", type="ChildrenMissing", message=message, retryable=False)
