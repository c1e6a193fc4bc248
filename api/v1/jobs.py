"""Submit jobs, look at them, cancel them, answer them."""

import re
import time
from dataclasses import replace
from typing import Any

from flask import Response, g, json, request
from sqlalchemy.exc import SQLAlchemyError

from agora.errors import AgoraError, invalid_field
from agora.events import stream
from agora.jobs import service
from agora.jobs.concurrency import Concurrency
from agora.jobs.pages import DELIVERIES, INCLUDES
from agora.jobs.types import Job, JobFilter, Submission, Submitted
from agora.jobs.unique import Debounce, Unique
from agora.settings import get_settings
from agora.telemetry import get_logger
from agora.webhooks.types import InlineWebhook
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.capacity import held_open
from api.conditions import unchanged, unchanged_since
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.accepted import show_accepted
from api.schemas.common import Problem
from api.schemas.jobs import CancelIn, InputIn, ItemPage, ItemQuery, JobIn, JobOut, JobPage, JobQuery, SubmittedOut
from api.schemas.webhooks import given as given_fields
from api.shaping import listed, one, wanted

ROUTE = "POST /api/v1/jobs"
OK, ACCEPTED = 200, 202
LOOKED_UP = ("steps", "usage", "waits", "question")
"""Fields of a job that are not its own: each costs look-ups."""
POLL_SECONDS = 1.0
WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})\b")
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = get_logger(__name__)
blueprint = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs", description="Jobs: work that agents do.")
_shown = SubmittedOut()


@blueprint.post("")
@scope("jobs:write")
@blueprint.arguments(JobIn)
@blueprint.response(ACCEPTED, SubmittedOut, description="Accepted: it will run.")
@blueprint.alt_response(OK, schema=SubmittedOut, description="Ended within `Prefer: wait=N`, or `deduplicated`.")
@blueprint.alt_response(409, schema=Problem, description="The concurrency key has no room, and the policy is reject.")
@blueprint.alt_response(422, schema=Problem, description="A field is not acceptable.")
def submit(fields: dict[str, Any]) -> Response:
    """Submit a job.

    With `Idempotency-Key` a repeat gets the job that the first one made. With `Prefer: wait=N` the answer waits up to
    N seconds for the job to end, if there is room for one more that waits: `Preference-Applied` says that it did.
    """
    check_json(fields["input"], "/input")
    check_json(fields["metadata"], "/metadata")
    idempotency, wait = idempotency_key(ROUTE), _wait_seconds()
    submitted = service.submit(
        _submission(fields), team_id=team_id(), key_id=principal().actor_id, idempotency=idempotency
    )
    waited = wait > 0
    if waited and not submitted.job.ended:
        # The job is made: whatever keeps the answer from waiting, it must say so, or its caller makes another.
        try:
            with held_open(principal().actor_id):
                submitted = replace(submitted, job=_wait_for(submitted.job, wait))
        except (AgoraError, SQLAlchemyError) as error:
            log.info("an answer did not wait", job_id=submitted.job.id, error=type(error).__name__)
            waited = False
    return _answer(submitted, waited=waited)


def _submission(fields: dict[str, Any]) -> Submission:
    given = fields.pop("webhook")
    webhook = None if given is None else InlineWebhook(**given_fields(given))
    traceparent = request.headers.get("traceparent", "")
    key, limit, policy = (fields.pop(f"concurrency_{name}") for name in ("key", "limit", "policy"))
    concurrency = None if key is None else Concurrency(key=key, limit=limit, policy=policy)
    unique, debounce = fields.pop("unique"), fields.pop("debounce")
    return Submission(
        concurrency=concurrency,
        unique=None if unique is None else Unique(**unique),
        debounce=None if debounce is None else Debounce(**debounce),
        webhook=webhook,
        traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else None,
        request_id=g.request_id,
        **fields,
    )


def _wait_seconds() -> int:
    found = WAIT.search(request.headers.get("Prefer", ""))
    return min(int(found[1]), get_settings().max_wait_seconds) if found else 0


def _wait_for(job: Job, seconds: int) -> Job:
    deadline = time.monotonic() + seconds
    with stream.listen(job.id) as wake:
        while True:
            job = service.get_job(job.id, team_id=job.team_id)
            left = deadline - time.monotonic()
            if job.ended or left <= 0:
                return job
            wake.wait(min(POLL_SECONDS, left))


def _answer(submitted: Submitted, *, waited: bool) -> Response:
    fresh = not (submitted.replayed or submitted.deduplicated or waited or submitted.job.budget)
    body = show_accepted(submitted.job) if fresh else _shown.dump(submitted.job)
    if submitted.webhook_secret is not None:
        body["webhook_secret"] = submitted.webhook_secret
    if submitted.deduplicated:
        body["deduplicated"] = True
    status = OK if submitted.deduplicated or (waited and submitted.job.ended) else ACCEPTED
    response = Response(json.dumps(body), status=status, content_type="application/json")
    response.headers["Location"] = f"/api/v1/jobs/{submitted.job.id}"
    if waited:
        response.headers["Preference-Applied"] = "wait"
    return mark_replayed(response, submitted.replayed)


@blueprint.get("")
@scope("jobs:read")
@blueprint.arguments(listed(JobQuery, JobOut, include=INCLUDES), location="query")
@blueprint.response(OK, JobPage)
def list_jobs(query: dict[str, Any]) -> Any:
    """List jobs, newest first; with `include` up to 50 a page."""
    filters = JobFilter(
        statuses=tuple(query["status"]), agent=query["agent"], action=query["action"],
        error_code=query["error_code"], created_after=query["created_after"], created_before=query["created_before"],
        metadata=_metadata(query["metadata"]),
        batch_id=query["batch"],
        parent_id=query["parent_id"],
        schedule_id=query["schedule"],
    )  # fmt: skip
    return service.list_jobs(
        filters, team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"],
        include=query["include"],
    )  # fmt: skip


def _metadata(given: list[str]) -> dict[str, Any]:
    """The filter that ``key:value`` texts and JSON objects make together. Raises Invalid."""
    found: dict[str, Any] = {}
    for text in given:
        key, colon, value = text.partition(":")
        if text.startswith("{"):
            found |= _object(text)
        elif colon and key:
            found[key] = value
        else:
            raise invalid_field("/metadata", "key-value", "metadata must be key:value or a JSON object", text)
    check_json(found, "/metadata")
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise invalid_field("/metadata", "json", "metadata that begins with { must be a JSON object", text) from None
    return dict(found)


@blueprint.get("/<job_id>")
@scope("jobs:read")
@blueprint.arguments(one(JobOut, include=(DELIVERIES,)), location="query")
@blueprint.response(OK, JobOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
def get_job(query: dict[str, Any], job_id: str) -> Any:
    """A job with its steps, their tries and its output.

    With `If-None-Match` it is cheap to ask whether anything has changed; `fields` without steps, usage, waits and
    question is cheap as well.
    """
    deliveries = DELIVERIES in query["include"]
    whole = any(wanted(name) for name in LOOKED_UP)
    # Of a few fields, a look at all steps would cost more than they do.
    asked = whole and not deliveries
    if unchanged_since(service.version_of(job_id, team_id=team_id()) if asked else None):
        return unchanged()
    return service.get_job(job_id, team_id=team_id(), whole=whole, deliveries=deliveries)


@blueprint.get("/<job_id>/items")
@scope("jobs:read")
@blueprint.arguments(ItemQuery, location="query")
@blueprint.response(OK, ItemPage)
@blueprint.alt_response(404, schema=Problem, description="The team has no such job, or the job no such step.")
def list_items(query: dict[str, Any], job_id: str) -> Any:
    """The items of a map step, in input order."""
    return service.list_items(
        job_id, team_id=team_id(), step=query["step"], iteration=query["iteration"], statuses=query["status"],
        after=int(query["cursor"] or -1), limit=query["limit"],
    )  # fmt: skip


@blueprint.post("/<job_id>/cancel")
@scope("jobs:write")
@blueprint.arguments(CancelIn, required=False)
@blueprint.response(OK, JobOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
@blueprint.alt_response(409, schema=Problem, description="The job has ended.")
def cancel_job(fields: dict[str, Any], job_id: str) -> Job:
    """Cancel a job: at once when none of its steps runs, else as soon as its step notices."""
    return service.cancel_job(job_id, team_id=team_id(), reason=fields.get("reason", ""))


@blueprint.post("/<job_id>/input")
@scope("jobs:write")
@blueprint.arguments(InputIn)
@blueprint.response(OK, JobOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
@blueprint.alt_response(409, schema=Problem, description="The job asks nothing now.")
@blueprint.alt_response(422, schema=Problem, description="The answer does not satisfy the question's JSON Schema.")
def give_input(fields: dict[str, Any], job_id: str) -> Job:
    """Answer what a waiting job asks; the first valid answer wins.

    With `question`, the id that the job shows, the answer never goes to another question: sent again it changes
    nothing, and another answer to the same question is refused.
    """
    check_json(fields["value"], "/value")
    return service.give_input(job_id, team_id=team_id(), value=fields["value"], question=fields["question"])
