"""Limits of the caller's team. Those over all teams are set by the operator, with `agora limits`."""

from typing import Any

from agora.jobs import limits
from agora.jobs.limits import Limit
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected
from api.schemas.common import Problem
from api.schemas.order import LimitIn, LimitOut, LimitsOut

blueprint = Blueprint("limits", __name__, url_prefix="/api/v1/limits", description="Limits: how many, how fast.")


@blueprint.get("")
@scope("jobs:read")
@blueprint.response(200, LimitsOut)
def list_limits() -> Any:
    """The limits that concern the team: its own, and the operator's."""
    return {"items": limits.list_limits(team_id=team_id())}


@blueprint.get("/<target>")
@scope("jobs:read")
@blueprint.response(200, LimitOut)
@blueprint.alt_response(404, schema=Problem, description="The team has set no such limit.")
@blueprint.alt_response(422, schema=Problem, description="The target is none.")
def get_limit(target: str) -> Limit:
    """One limit of the team."""
    return limits.get_limit(target, team_id=team_id())


@blueprint.put("/<target>")
@scope("limits:write")
@blueprint.guarded
@blueprint.arguments(LimitIn)
@blueprint.response(200, LimitOut)
@blueprint.alt_response(422, schema=Problem, description="A field is not acceptable.")
def put_limit(fields: dict[str, Any], target: str) -> Limit:
    """Set a limit of the team: of all its jobs (`*`), of an agent's, or of an action's (`agent.action`).

    With `If-None-Match: *` it is set only if there is none yet.
    """
    return limits.put_limit(target, team_id=team_id(), expected=expected(), **fields)


@blueprint.delete("/<target>")
@scope("limits:write")
@blueprint.guarded
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description="The team has set no such limit.")
@blueprint.alt_response(422, schema=Problem, description="The target is none.")
def delete_limit(target: str) -> None:
    """Lift a limit of the team: whoever waits there is let in."""
    limits.delete_limit(target, team_id=team_id(), expected=expected())
