"""Approve that a job goes on."""

from typing import Any

from agora.jobs import approval
from agora.jobs.types import Job
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.schemas.budgets import ApproveIn
from api.schemas.common import Problem
from api.schemas.jobs import JobOut

blueprint = Blueprint("budgets", __name__, url_prefix="/api/v1/jobs", description="Budgets of jobs.")


@blueprint.post("/<job_id>/approve")
@scope("jobs:approve")
@blueprint.arguments(ApproveIn, required=False)
@blueprint.response(200, JobOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such job.")
@blueprint.alt_response(409, schema=Problem, description="The job asks for no approval, or for another one.")
@blueprint.alt_response(422, schema=Problem, description="A new limit is not above what the job has used.")
def approve_job(fields: dict[str, Any], job_id: str) -> Job:
    """Let a job go on that is over its budget.

    Without new limits, each limit that it is over grants once more what it granted at first. To end the job instead,
    cancel it.
    """
    limits, which = fields.get("budget"), fields.get("approval")
    return approval.approve_job(job_id, team_id=team_id(), limits=limits, approval=which)
