"""The catalogue: what workers have registered."""

from typing import Any

from agora.jobs import service
from api.auth import scope
from api.blueprint import Blueprint
from api.schemas.agents import AgentsOut
from api.schemas.common import Problem

blueprint = Blueprint("agents", __name__, url_prefix="/api/v1/agents", description="Agents and their actions.")


@blueprint.get("")
@scope("jobs:read")
@blueprint.response(200, AgentsOut)
def list_agents() -> Any:
    """Every registered version of every action, with its JSON Schemas and live workers."""
    return {"items": service.list_agents()}


@blueprint.get("/<name>")
@scope("jobs:read")
@blueprint.response(200, AgentsOut)
@blueprint.alt_response(404, schema=Problem, description="No worker has registered such an agent.")
def get_agent(name: str) -> Any:
    """The registered action versions of one agent."""
    return {"items": service.get_agent(name)}
