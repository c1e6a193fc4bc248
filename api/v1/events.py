"""The events of a job: a list, or a live stream (server-sent events)."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, json, request

from agora.errors import invalid_field
from agora.events import stream
from agora.events.catalogue import TERMINAL
from agora.jobs import service
from api import capacity
from api.auth import principal, scope, still_may, team_id
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.jobs import EventOut, EventQuery, EventsOut
from api.versions.change import Body
from api.versions.translate import older_event

OK = 200
POLL_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
BATCH = 500
RETRY_MS = 1000
NO_RETRY_MS = 86_400_000
"""Browsers come again after each end: whoever has all of a job that has ended is told that there is no reason to."""
ASK_SECONDS = 2.0
"""How often a stream asks whether its caller is still let in."""

SEQUENCE, LAST = re.compile(r"[0-9]{1,10}"), 2**31 - 1
STREAM = "text/event-stream"
EXAMPLE = """retry: 1000

id: 1
event: job.created
data: {"id": "evt_01m8n68v92ex4sftxqvbxqdtbs", "job_id": "job_01m8n68v92ex4sftxqvbxqdtbs", "seq": 1, \
"type": "job.created", "version": 1, "data": {"status": "queued"}, "occurred_at": "2026-11-30T06:15:32.123Z"}

: still here

"""
"""How a stream begins: a block for each event, and a comment now and then while there is none."""

blueprint = Blueprint("events", __name__, url_prefix="/api/v1/jobs", description="What happened to a job.")
_shown = EventOut()


@blueprint.get("/<job_id>/events")
@scope("jobs:read")
@blueprint.arguments(EventQuery, location="query")
@blueprint.response(OK, EventsOut, description="A list; with `Accept: text/event-stream`, a live stream.")
@blueprint.doc(responses={OK: {"content": {STREAM: {"schema": {"type": "string"}, "example": EXAMPLE}}}})
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
def list_events(query: dict[str, Any], job_id: str) -> Any:
    """The events of a job, in order, without gaps.

    With `Accept: text/event-stream` they come live: everything from the start or from after `Last-Event-ID`, each with
    its sequence number as `id`. The stream ends after the event that ends the job, and within a few seconds when its
    caller signs out, is no member any more, or the key is revoked or has expired. After the last
    event of a job that has ended it ends at once, and says in `retry` that there is no need to come again.
    """
    if request.accept_mimetypes.best_match(["application/json", STREAM]) == STREAM:
        return _stream(job_id, _resume_after(query["after"]))
    found = service.list_events(job_id, team_id=team_id(), after=query["after"], limit=query["limit"])
    return {"items": found, "next_after": found[-1].seq if found else query["after"]}


def _resume_after(after: int) -> int:
    last = request.headers.get("Last-Event-ID", "")
    if not last:
        return after
    if not SEQUENCE.fullmatch(last) or int(last) > LAST:
        message = f"Last-Event-ID must be a sequence number, 0 to {LAST}"
        raise invalid_field("/headers/Last-Event-ID", "integer", message, last[:50])
    return int(last)


def _stream(job_id: str, after: int) -> Response:
    team, key_id = team_id(), principal().actor_id
    service.list_events(job_id, team_id=team, after=after, limit=1)  # 404 before the stream begins
    capacity.take(key_id)
    events = _events(job_id, team, after, older_event(), still_may("jobs:read"))
    response = Response(events, content_type=f"{STREAM}; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(lambda: capacity.give_back(key_id))
    return response


def _events(
    job_id: str, team: str, after: int, older: Callable[[Body], Body], is_let_in: Callable[[], bool]
) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    spoken = asked = time.monotonic()
    with stream.listen(job_id) as wake:
        while True:
            if time.monotonic() - asked > ASK_SECONDS:
                if not is_let_in():
                    return
                asked = time.monotonic()
            found, is_over = service.follow_events(job_id, team_id=team, after=after, limit=BATCH)
            for event in found:
                yield _message(older(_shown.dump(event)))
                after, spoken = event.seq, time.monotonic()
                if event.type in TERMINAL:
                    return
            if is_over:
                yield f"retry: {NO_RETRY_MS}\n\n"
                return
            if len(found) == BATCH:
                continue
            if not found and time.monotonic() - spoken > KEEP_ALIVE_SECONDS:
                yield ": still here\n\n"
                spoken = time.monotonic()
            wake.wait(POLL_SECONDS)


def _message(event: Body) -> str:
    return f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
