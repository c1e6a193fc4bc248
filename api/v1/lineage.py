"""Retry a job from where it ended, fork one from any of its steps."""

from typing import Any

from flask import Response, json

from agora.jobs import lineage
from agora.jobs.lineage import Wish
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.common import Problem
from api.schemas.jobs import JobOut
from api.schemas.lineage import ForkIn, RetryIn

ACCEPTED = 202

blueprint = Blueprint("lineage", __name__, url_prefix="/api/v1/jobs", description="Go on from what a job has done.")
_shown = JobOut()


@blueprint.post("/<job_id>/retry")
@scope("jobs:write")
@blueprint.arguments(RetryIn, required=False)
@blueprint.response(ACCEPTED, JobOut, description="Accepted: a new job, with `retry_of`.")
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
@blueprint.alt_response(409, schema=Problem, description="The job has not ended, or has succeeded.")
def retry_job(fields: dict[str, Any], job_id: str) -> Response:
    """Retry a failed or cancelled job: a new job, from the step where the old one ended.

    It takes the results before that step over. Outside systems see the same idempotency keys as from the old job, and
    what its last step stored with `once` is kept.
    """
    return _go_on(job_id, "retry", Wish(**fields))


@blueprint.post("/<job_id>/fork")
@scope("jobs:write")
@blueprint.arguments(ForkIn)
@blueprint.response(ACCEPTED, JobOut, description="Accepted: a new job, with `forked_from`.")
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
def fork_job(fields: dict[str, Any], job_id: str) -> Response:
    """Begin a new job at a step of another one, with its results before that step, and with another input if given.

    It is a root of its own: outside systems see new idempotency keys.
    """
    if fields["input"] is not None:
        check_json(fields["input"], "/input")
    return _go_on(job_id, "fork", Wish(fork=True, **fields))


def _go_on(job_id: str, kind: str, wish: Wish) -> Response:
    if wish.metadata is not None:
        check_json(wish.metadata, "/metadata")
    submitted = lineage.go_on(
        job_id, wish, team_id=team_id(), key_id=principal().actor_id,
        idempotency=idempotency_key(f"POST /api/v1/jobs/{job_id}/{kind}"),
    )  # fmt: skip
    response = Response(json.dumps(_shown.dump(submitted.job)), status=ACCEPTED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/jobs/{submitted.job.id}"
    return mark_replayed(response, submitted.replayed)
