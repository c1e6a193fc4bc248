"""Schedules: jobs by cron, at an interval, or once at a moment."""

from typing import Any

from flask import Response, json

from agora.schedules import firing, service
from agora.schedules.types import ORDERS, NewSchedule
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected, note
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.common import PageArgs, Problem
from api.schemas.jobs import JobOut
from api.schemas.schedules import (
    NextOut,
    NextQuery,
    RunQuery,
    RunsOut,
    ScheduleIn,
    ScheduleOut,
    SchedulePage,
    SchedulePatch,
)
from api.shaping import listed

OK, CREATED, ACCEPTED, NO_CONTENT = 200, 201, 202, 204

blueprint = Blueprint("schedules", __name__, url_prefix="/api/v1/schedules", description="Jobs at times told before.")
_shown = ScheduleOut()
_job = JobOut()


@blueprint.post("")
@scope("jobs:write")
@blueprint.arguments(ScheduleIn)
@blueprint.response(CREATED, ScheduleOut)
@blueprint.alt_response(409, schema=Problem, description="The team has a schedule of this name.")
def create_schedule(fields: dict[str, Any]) -> Response:
    """Make a schedule: one of `cron`, `every` and `at`. Its next ten fire times are in the answer."""
    check_json(fields["input"], "/input")
    check_json(fields["metadata"], "/metadata")
    made, replayed = service.create_schedule(
        NewSchedule(**fields), team_id=team_id(), key_id=principal().actor_id,
        idempotency=idempotency_key("POST /api/v1/schedules"),
    )  # fmt: skip
    note(made)
    response = Response(json.dumps(_shown.dump(made)), status=CREATED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/schedules/{made.id}"
    return mark_replayed(response, replayed)


@blueprint.get("")
@scope("jobs:read")
@blueprint.arguments(listed(PageArgs, ScheduleOut, orders=ORDERS), location="query")
@blueprint.response(OK, SchedulePage)
def list_schedules(query: dict[str, Any]) -> Any:
    """List schedules, newest first."""
    return service.list_schedules(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@blueprint.get("/<ref>")
@scope("jobs:read")
@blueprint.sparse(ScheduleOut)
@blueprint.response(OK, ScheduleOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
def get_schedule(ref: str) -> Any:
    """A schedule, by id or name."""
    return service.get_schedule(ref, team_id=team_id())


@blueprint.patch("/<ref>")
@scope("jobs:write")
@blueprint.guarded
@blueprint.arguments(SchedulePatch)
@blueprint.response(OK, ScheduleOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
@blueprint.alt_response(409, schema=Problem, description="The name is taken, or somebody changed it just now.")
def update_schedule(fields: dict[str, Any], ref: str) -> Any:
    """Change a schedule; what is not given stays. It goes on from now."""
    for name in ("input", "metadata"):
        check_json(fields.get(name), f"/{name}")
    return service.update_schedule(ref, fields, team_id=team_id(), expected=expected())


@blueprint.delete("/<ref>")
@scope("jobs:write")
@blueprint.guarded
@blueprint.response(NO_CONTENT)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
def delete_schedule(ref: str) -> None:
    """Delete a schedule; the jobs that it made stay."""
    service.delete_schedule(ref, team_id=team_id(), expected=expected())


@blueprint.post("/<ref>/pause")
@scope("jobs:write")
@blueprint.response(OK, ScheduleOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
def pause_schedule(ref: str) -> Any:
    """Let it fire no more until it is resumed."""
    return service.pause_schedule(ref, team_id=team_id())


@blueprint.post("/<ref>/resume")
@scope("jobs:write")
@blueprint.response(OK, ScheduleOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
def resume_schedule(ref: str) -> Any:
    """Let it fire again, from now on: what passed in its pause is not made up."""
    return service.resume_schedule(ref, team_id=team_id())


@blueprint.post("/<ref>/run")
@scope("jobs:write")
@blueprint.response(ACCEPTED, JobOut, description="Accepted: its job will run.")
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
@blueprint.alt_response(409, schema=Problem, description="It fires at this very moment.")
@blueprint.alt_response(422, schema=Problem, description="Its action is gone, or no longer takes the input.")
def run_schedule(ref: str) -> Response:
    """Make its job now, paused or not; its fire times stay what they are."""
    submitted = firing.run_now(
        ref, team_id=team_id(), key_id=principal().actor_id,
        idempotency=idempotency_key(f"POST /api/v1/schedules/{ref}/run"),
    )  # fmt: skip
    response = Response(json.dumps(_job.dump(submitted.job)), status=ACCEPTED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/jobs/{submitted.job.id}"
    return mark_replayed(response, submitted.replayed)


@blueprint.get("/<ref>/next")
@scope("jobs:read")
@blueprint.arguments(NextQuery, location="query")
@blueprint.response(OK, NextOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
def next_times(query: dict[str, Any], ref: str) -> Any:
    """Its next fire times; none while it is paused."""
    return {"items": service.next_times(ref, team_id=team_id(), count=query["count"])}


@blueprint.get("/<ref>/runs")
@scope("jobs:read")
@blueprint.arguments(RunQuery, location="query")
@blueprint.response(OK, RunsOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such schedule.")
def list_runs(query: dict[str, Any], ref: str) -> Any:
    """What became of its fire times, newest first; pass the last one's `fire_at` as `before` for those before it."""
    return {"items": service.list_runs(ref, team_id=team_id(), limit=query["limit"], before=query["before"])}
