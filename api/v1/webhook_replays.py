"""Deliveries that are sent again: replays by filter, and recoveries of an endpoint."""

from typing import Any

from flask import Response, json

from agora.webhooks import replays
from agora.webhooks.operation_types import NewReplay, ReplayFilter
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.idempotency import idempotency_key, mark_replayed
from api.schemas.common import PageArgs, Problem
from api.schemas.webhook_operations import RecoverIn, ReplayIn, ReplayOut, ReplayPage, ReplayPreviewOut
from api.shaping import listed
from api.v1.webhooks import MISSING, endpoints

OK, ACCEPTED = 200, 202
GOES_ON = "Accepted: it goes on behind the answer."
DRY_RUN = "A dry run: how many it would find."
NO_REPLAY = "The team has no such replay."

blueprint = Blueprint(
    "webhook-replays", __name__, url_prefix="/api/v1/webhook-replays", description="Deliveries that are sent again."
)
_shown, _preview = ReplayOut(), ReplayPreviewOut()


@endpoints.post("/<ref>/recover")
@scope("webhooks:manage")
@endpoints.arguments(RecoverIn)
@endpoints.response(ACCEPTED, ReplayOut, description=GOES_ON)
@endpoints.alt_response(OK, schema=ReplayPreviewOut, description=DRY_RUN)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def recover_endpoint(fields: dict[str, Any], ref: str) -> Response:
    """Send again every delivery to an endpoint that was given up since a time.

    They come with the ids that the receiver knows, at the pace of a drain. While the endpoint is paused or disabled
    they are held.
    """
    new = replays.recovery(ref, fields["since"])
    return _begin(new, f"POST /api/v1/webhook-endpoints/{ref}/recover", dry_run=fields["dry_run"])


@blueprint.post("")
@scope("webhooks:manage")
@blueprint.arguments(ReplayIn)
@blueprint.response(ACCEPTED, ReplayOut, description=GOES_ON)
@blueprint.alt_response(OK, schema=ReplayPreviewOut, description=DRY_RUN)
@blueprint.alt_response(404, schema=Problem, description=MISSING)
def begin_replay(fields: dict[str, Any]) -> Response:
    """Send again the ended deliveries that a filter finds now, each once, at the pace of a drain.

    They come with the ids that the receiver knows. While their endpoint is paused or disabled they are held.
    """
    filters = ReplayFilter(
        statuses=tuple(fields["status"]), event_types=tuple(fields["event_types"]), job_id=fields["job_id"],
        since=fields["since"], until=fields["until"],
    )  # fmt: skip
    new = NewReplay(endpoint=fields["endpoint"], everything=fields["all"], filter=filters)
    return _begin(new, "POST /api/v1/webhook-replays", dry_run=fields["dry_run"])


def _begin(new: NewReplay, route: str, *, dry_run: bool) -> Response:
    if dry_run:
        found = {"dry_run": True, "matched": replays.count(new, team_id=team_id())}
        return Response(json.dumps(_preview.dump(found)), content_type="application/json")
    replay, replayed = replays.begin(new, team_id=team_id(), idempotency=idempotency_key(route))
    response = Response(json.dumps(_shown.dump(replay)), status=ACCEPTED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/webhook-replays/{replay.id}"
    return mark_replayed(response, replayed)


@blueprint.get("")
@scope("webhooks:manage")
@blueprint.arguments(listed(PageArgs, ReplayOut), location="query")
@blueprint.response(OK, ReplayPage)
def list_replays(query: dict[str, Any]) -> Any:
    """List replays and recoveries, newest first. They are kept for 30 days after their end."""
    return replays.list_replays(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@blueprint.get("/<replay_id>")
@scope("webhooks:manage")
@blueprint.sparse(ReplayOut)
@blueprint.response(OK, ReplayOut)
@blueprint.alt_response(404, schema=Problem, description=NO_REPLAY)
def get_replay(replay_id: str) -> Any:
    """A replay and how far it has come."""
    return replays.get_replay(replay_id, team_id=team_id())


@blueprint.post("/<replay_id>/cancel")
@scope("webhooks:manage")
@blueprint.response(OK, ReplayOut)
@blueprint.alt_response(404, schema=Problem, description=NO_REPLAY)
@blueprint.alt_response(409, schema=Problem, description="It has ended.")
def cancel_replay(replay_id: str) -> Any:
    """Stop a replay; what it has put in line is sent."""
    return replays.cancel_replay(replay_id, team_id=team_id())
