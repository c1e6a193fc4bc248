"""Move open jobs to another version of their action."""

from typing import Any

from agora.jobs import moves
from agora.jobs.types import Job
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.jobs import JobOut
from api.schemas.moves import MoveAllIn, MovedOut, MoveIn

blueprint = Blueprint("moves", __name__, url_prefix="/api/v1", description="Versions that jobs are on.")


@blueprint.post("/jobs/<job_id>/move")
@scope("jobs:write")
@blueprint.arguments(MoveIn)
@blueprint.response(200, JobOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
@blueprint.alt_response(409, schema=Problem, description="The job has ended, or one of its steps runs just now.")
@blueprint.alt_response(422, schema=Problem, description="The version has other steps so far, or refuses the input.")
def move_job(fields: dict[str, Any], job_id: str) -> Job:
    """Let an open job go on at another version of its action, from the step where it stands."""
    return moves.move_job(job_id, team_id=team_id(), version=fields["version"])


@blueprint.post("/agents/<name>/move")
@scope("jobs:write")
@blueprint.arguments(MoveAllIn)
@blueprint.response(200, MovedOut)
@blueprint.alt_response(422, schema=Problem, description="There is no such action or version.")
def move_jobs(fields: dict[str, Any], name: str) -> Any:
    """Move up to 200 of the team's open jobs of one version of an action to another one; call again while `more`."""
    return moves.move_jobs(
        name, fields["action"], team_id=team_id(), before=fields["before"], version=fields["version"]
    )  # fmt: skip
