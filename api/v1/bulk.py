"""Cancel, retry or fork every job that a filter finds."""

from typing import Any

from flask import Response, json

from agora.bulk import service
from agora.bulk.types import NewBulk
from agora.jobs.types import JobFilter
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.bulk import BulkIn, BulkItemPage, BulkItemQuery, BulkOut, BulkPage, PreviewOut
from api.schemas.common import PageArgs, Problem
from api.shaping import listed

OK, ACCEPTED = 200, 202

blueprint = Blueprint("bulk", __name__, url_prefix="/api/v1/bulk", description="One action for many jobs.")
_shown, _preview = BulkOut(), PreviewOut()


@blueprint.post("")
@scope("jobs:write")
@blueprint.arguments(BulkIn)
@blueprint.response(ACCEPTED, BulkOut, description="Accepted: it goes on behind the answer.")
@blueprint.alt_response(OK, schema=PreviewOut, description="A dry run: what it would find.")
def begin_bulk(fields: dict[str, Any]) -> Response:
    """Begin a bulk action over the jobs that there are now.

    A cancel concerns open jobs, a retry failed and cancelled ones, a fork any. A job that has left the filter when its
    turn comes is let alone. Each job is dealt with once, whatever is killed meanwhile.
    """
    for name in ("metadata", "input"):
        check_json(fields.get(name), f"/{name}")
    check_json(fields["filter"]["metadata"], "/filter/metadata")
    dry_run = fields.pop("dry_run")
    new = _new(fields)
    if dry_run:
        found = service.preview(new, team_id=team_id())
        return Response(json.dumps({"dry_run": True, **_preview.dump(found)}), content_type="application/json")
    bulk, replayed = service.begin(
        new, team_id=team_id(), key_id=principal().actor_id, idempotency=idempotency_key("POST /api/v1/bulk")
    )
    response = Response(json.dumps(_shown.dump(bulk)), status=ACCEPTED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/bulk/{bulk.id}"
    return mark_replayed(response, replayed)


def _new(fields: dict[str, Any]) -> NewBulk:
    given = fields.pop("filter")
    filters = JobFilter(
        statuses=tuple(given.pop("status")), batch_id=given.pop("batch"), schedule_id=given.pop("schedule"), **given
    )
    return NewBulk(action=fields.pop("action"), everything=fields.pop("all"), filter=filters, options=fields)


@blueprint.get("")
@scope("jobs:read")
@blueprint.arguments(listed(PageArgs, BulkOut), location="query")
@blueprint.response(OK, BulkPage)
def list_bulks(query: dict[str, Any]) -> Any:
    """List bulk actions, newest first."""
    return service.list_bulks(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@blueprint.get("/<bulk_id>")
@scope("jobs:read")
@blueprint.sparse(BulkOut)
@blueprint.response(OK, BulkOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such bulk action.")
def get_bulk(bulk_id: str) -> Any:
    """A bulk action and how far it has come."""
    return service.get_bulk(bulk_id, team_id=team_id())


@blueprint.get("/<bulk_id>/items")
@scope("jobs:read")
@blueprint.arguments(BulkItemQuery, location="query")
@blueprint.response(OK, BulkItemPage)
@blueprint.alt_response(404, schema=Problem, description="The team has no such bulk action.")
def list_items(query: dict[str, Any], bulk_id: str) -> Any:
    """The jobs that it dealt with, in order of their ids, and what became of each."""
    return service.list_items(
        bulk_id, team_id=team_id(), outcome=query["outcome"], limit=query["limit"], cursor=query["cursor"]
    )


@blueprint.post("/<bulk_id>/cancel")
@scope("jobs:write")
@blueprint.response(ACCEPTED, BulkOut, description="Accepted: it stops; what it has done stays done.")
@blueprint.alt_response(404, schema=Problem, description="The team has no such bulk action.")
@blueprint.alt_response(409, schema=Problem, description="It has ended.")
def cancel_bulk(bulk_id: str) -> Any:
    """Stop a bulk action."""
    return service.cancel_bulk(bulk_id, team_id=team_id())
