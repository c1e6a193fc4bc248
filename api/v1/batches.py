"""Submit many jobs at once, watch them and cancel them as one."""

from typing import Any

from flask import Response, g, json, request

from agora.batches import service
from agora.jobs.types import Submission
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.batches import BatchIn, BatchOut, BatchPage, SubmittedBatchOut
from api.schemas.common import PageArgs, Problem
from api.schemas.jobs import CancelIn
from api.shaping import listed
from api.v1.jobs import TRACEPARENT

ROUTE = "POST /api/v1/batches"
OK, ACCEPTED = 200, 202

blueprint = Blueprint("batches", __name__, url_prefix="/api/v1/batches", description="Batches: many jobs as one.")
_shown = SubmittedBatchOut()


@blueprint.post("")
@scope("jobs:write")
@blueprint.arguments(BatchIn)
@blueprint.response(ACCEPTED, SubmittedBatchOut, description="Accepted: all of them will run.")
@blueprint.alt_response(422, schema=Problem, description="A field of some job is not acceptable; none was accepted.")
def submit_batch(fields: dict[str, Any]) -> Response:
    """Submit up to 1,000 jobs, all or none.

    With `Idempotency-Key` a repeat gets the batch that the first one made. When the last job has ended, the event
    `batch.completed` is recorded once.
    """
    check_json(fields["metadata"], "/metadata")
    for number, job in enumerate(fields["jobs"]):
        check_json(job["input"], f"/jobs/{number}/input")
        check_json(job["metadata"], f"/jobs/{number}/metadata")
    given = request.headers.get("traceparent", "")
    traceparent = given if TRACEPARENT.fullmatch(given) else None
    submitted = service.submit_batch(
        [Submission(traceparent=traceparent, request_id=g.request_id, **job) for job in fields["jobs"]],
        team_id=team_id(), key_id=principal().actor_id, metadata=fields["metadata"], idempotency=idempotency_key(ROUTE),
    )  # fmt: skip
    body = _shown.dump(submitted.batch) | {"job_ids": list(submitted.job_ids)}
    response = Response(json.dumps(body), status=ACCEPTED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/batches/{submitted.batch.id}"
    return mark_replayed(response, submitted.replayed)


@blueprint.get("")
@scope("jobs:read")
@blueprint.arguments(listed(PageArgs, BatchOut), location="query")
@blueprint.response(OK, BatchPage)
def list_batches(query: dict[str, Any]) -> Any:
    """List batches, newest first."""
    return service.list_batches(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@blueprint.get("/<batch_id>")
@scope("jobs:read")
@blueprint.sparse(BatchOut)
@blueprint.response(OK, BatchOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such batch.")
def get_batch(batch_id: str) -> Any:
    """A batch with its jobs counted by state."""
    return service.get_batch(batch_id, team_id=team_id())


@blueprint.post("/<batch_id>/cancel")
@scope("jobs:write")
@blueprint.arguments(CancelIn, required=False)
@blueprint.response(ACCEPTED, BatchOut, description="Accepted: its open jobs are being cancelled.")
@blueprint.alt_response(404, schema=Problem, description="The team has no such batch.")
@blueprint.alt_response(409, schema=Problem, description="The batch is completed.")
def cancel_batch(fields: dict[str, Any], batch_id: str) -> Any:
    """Cancel every job of a batch that has not ended. It goes on behind the answer."""
    return service.cancel_batch(batch_id, team_id=team_id(), reason=fields.get("reason", ""))
