"""Legal holds."""

from typing import Any

from flask import Response, json

from agora.retention import holds
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected, note
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.common import Problem
from api.schemas.holds import HoldIn, HoldOut, HoldPage, HoldsArgs
from api.shaping import listed

ROUTE = "POST /api/v1/holds"
CREATED = 201

blueprint = Blueprint(
    "holds", __name__, url_prefix="/api/v1/holds", description="Legal holds: jobs that retention must not remove."
)
_shown = HoldOut()


@blueprint.post("")
@scope("holds:manage")
@blueprint.arguments(HoldIn)
@blueprint.response(CREATED, HoldOut)
@blueprint.alt_response(422, schema=Problem, description="The metadata is empty, or another field not acceptable.")
def create_hold(fields: dict[str, Any]) -> Response:
    """Keep every job whose metadata contains this metadata, also those that are older than the hold.

    Once this has answered, no such job is removed until the hold is released.
    """
    check_json(fields["metadata"], "/metadata")
    hold, replayed = holds.create_hold(
        fields["name"], fields["metadata"], team_id=team_id(), key_id=principal().actor_id,
        idempotency=idempotency_key(ROUTE),
    )  # fmt: skip
    note(hold)
    response = Response(json.dumps(_shown.dump(hold)), status=CREATED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/holds/{hold.id}"
    return mark_replayed(response, replayed)


@blueprint.get("")
@scope("holds:manage")
@blueprint.arguments(listed(HoldsArgs, HoldOut), location="query")
@blueprint.response(200, HoldPage)
def list_holds(query: dict[str, Any]) -> Any:
    """List holds in force, newest first; with `released=true` also those that have ended."""
    return holds.list_holds(team_id=team_id(), **query)


@blueprint.get("/<hold_id>")
@scope("holds:manage")
@blueprint.sparse(HoldOut)
@blueprint.response(200, HoldOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such hold.")
def get_hold(hold_id: str) -> Any:
    """A hold: what it keeps, who made and released it, and when."""
    return holds.get_hold(hold_id, team_id=team_id())


@blueprint.delete("/<hold_id>")
@scope("holds:manage")
@blueprint.guarded
@blueprint.response(200, HoldOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such hold.")
def release_hold(hold_id: str) -> Any:
    """Release a hold. It stays readable; what it kept is removed when its time has come."""
    return holds.release_hold(hold_id, team_id=team_id(), key_id=principal().actor_id, expected=expected())
