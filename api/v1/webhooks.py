"""Webhook endpoints, and what was delivered to them."""

from dataclasses import asdict
from typing import Any

from flask import Response, json

from agora.webhooks import service
from agora.webhooks.types import DeliveryFilter, NewEndpoint
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected, note
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.schemas.common import PageArgs, Problem
from api.schemas.webhooks import (
    DeliveryOut,
    DeliveryPage,
    DeliveryQuery,
    EndpointIn,
    EndpointOut,
    EndpointPage,
    EndpointPatch,
    NewEndpointOut,
    TestIn,
    given,
)
from api.shaping import listed

endpoints = Blueprint(
    "webhook-endpoints", __name__, url_prefix="/api/v1/webhook-endpoints", description="Where events are delivered."
)
deliveries = Blueprint(
    "webhook-deliveries", __name__, url_prefix="/api/v1/webhook-deliveries", description="What was delivered, and how."
)
CREATED = 201
ROUTE = "POST /api/v1/webhook-endpoints"
MISSING = "The team has no such endpoint."
NESTED = ("metadata", "metadata_filter")
_new = NewEndpointOut()


def check_nested(fields: dict[str, Any], at: str = "") -> None:
    """Refuse an endpoint, which is ``at`` this pointer, whose JSON nests too deep. Raises Invalid."""
    for name in NESTED:
        check_json(fields.get(name), f"{at}/{name}")


@endpoints.post("")
@scope("webhooks:manage")
@endpoints.arguments(EndpointIn)
@endpoints.response(CREATED, NewEndpointOut)
@endpoints.alt_response(409, schema=Problem, description="Another endpoint of the team has this uid.")
@endpoints.alt_response(422, schema=Problem, description="A field is not acceptable.")
def create_endpoint(fields: dict[str, Any]) -> Response:
    """Make an endpoint. Its secret is shown this once."""
    check_nested(fields)
    created = service.create_endpoint(
        NewEndpoint(**given(fields)), team_id=team_id(), idempotency=idempotency_key(ROUTE)
    )
    note(created.endpoint)
    shown = _new.dump({**asdict(created.endpoint), "secret": created.secret})
    response = Response(json.dumps(shown), status=CREATED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/webhook-endpoints/{created.endpoint.id}"
    return mark_replayed(response, created.secret is None)


@endpoints.get("")
@scope("webhooks:manage")
@endpoints.arguments(listed(PageArgs, EndpointOut), location="query")
@endpoints.response(200, EndpointPage)
def list_endpoints(query: dict[str, Any]) -> Any:
    """List endpoints."""
    return service.list_endpoints(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@endpoints.get("/<ref>")
@scope("webhooks:manage")
@endpoints.sparse(EndpointOut)
@endpoints.response(200, EndpointOut)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def get_endpoint(ref: str) -> Any:
    """An endpoint, by its id or uid."""
    return service.get_endpoint(ref, team_id=team_id())


@endpoints.patch("/<ref>")
@scope("webhooks:manage")
@endpoints.guarded
@endpoints.arguments(EndpointPatch)
@endpoints.response(200, EndpointOut)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def update_endpoint(fields: dict[str, Any], ref: str) -> Any:
    """Change an endpoint."""
    check_nested(fields)
    return service.update_endpoint(ref, given(fields), team_id=team_id(), expected=expected())


@endpoints.delete("/<ref>")
@scope("webhooks:manage")
@endpoints.guarded
@endpoints.response(204)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def delete_endpoint(ref: str) -> None:
    """Delete an endpoint; what it has not got yet is cancelled."""
    service.delete_endpoint(ref, team_id=team_id(), expected=expected())


@endpoints.post("/<ref>/pause")
@scope("webhooks:manage")
@endpoints.response(200, EndpointOut)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def pause_endpoint(ref: str) -> Any:
    """Pause an endpoint: its deliveries are held, not lost."""
    return service.pause_endpoint(ref, team_id=team_id())


@endpoints.post("/<ref>/resume")
@scope("webhooks:manage")
@endpoints.response(200, EndpointOut)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def resume_endpoint(ref: str) -> Any:
    """Resume an endpoint: what was held is delivered."""
    return service.resume_endpoint(ref, team_id=team_id())


@endpoints.post("/<ref>/test")
@scope("webhooks:manage")
@endpoints.arguments(TestIn, required=False)
@endpoints.response(202, DeliveryOut)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
@endpoints.alt_response(409, schema=Problem, description="The endpoint is paused or disabled.")
@endpoints.alt_response(422, schema=Problem, description="There is no such event type.")
def send_test(fields: dict[str, Any], ref: str) -> Any:
    """Send a test event: ``webhook.test``, or the example of a type, whatever the endpoint's filter says."""
    return service.send_test(ref, team_id=team_id(), event_type=fields["event_type"])


@deliveries.get("")
@scope("webhooks:manage")
@deliveries.arguments(listed(DeliveryQuery, DeliveryOut, include=("attempts",)), location="query")
@deliveries.response(200, DeliveryPage)
@deliveries.alt_response(404, schema=Problem, description="The team has no such endpoint.")
def list_deliveries(query: dict[str, Any]) -> Any:
    """List deliveries, newest first."""
    filters = DeliveryFilter(
        endpoint=query["endpoint"], statuses=tuple(query["status"]), job_id=query["job_id"],
        event_type=query["event_type"],
    )  # fmt: skip
    return service.list_deliveries(
        filters, team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"],
        attempts="attempts" in query["include"],
    )  # fmt: skip


@deliveries.get("/<delivery_id>")
@scope("webhooks:manage")
@deliveries.sparse(DeliveryOut)
@deliveries.response(200, DeliveryOut)
@deliveries.alt_response(404, schema=Problem, description="The team has no such delivery.")
def get_delivery(delivery_id: str) -> Any:
    """A delivery with every try."""
    return service.get_delivery(delivery_id, team_id=team_id())
