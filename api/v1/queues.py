"""Queues: look, pause, resume."""

from typing import Any

from agora.jobs import queues
from agora.jobs.queues import Queue
from api.auth import scope
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.order import PauseIn, QueueOut, QueuesOut

blueprint = Blueprint("queues", __name__, url_prefix="/api/v1/queues", description="Queues: where steps wait.")


@blueprint.get("")
@scope("jobs:read")
@blueprint.response(200, QueuesOut)
def list_queues() -> Any:
    """Every queue, with how much work it holds: what an autoscaler needs."""
    return {"items": queues.list_queues()}


@blueprint.post("/<name>/pause")
@scope("queues:write")
@blueprint.arguments(PauseIn, required=False)
@blueprint.response(200, QueueOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such queue.")
def pause_queue(fields: dict[str, Any], name: str) -> Queue:
    """Pause a queue, for all teams: what runs ends, nothing new begins."""
    return queues.pause(name, reason=fields.get("reason", ""))


@blueprint.post("/<name>/resume")
@scope("queues:write")
@blueprint.response(200, QueueOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such queue.")
def resume_queue(name: str) -> Queue:
    """Let a queue go on."""
    return queues.resume(name)
