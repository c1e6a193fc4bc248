"""Pages about deliveries: one with every try, sending it again, and recovering all that failed since a time."""

from datetime import timedelta

from flask import Response, request
from werkzeug.wrappers import Response as AnyResponse

from agora.clock import now
from agora.webhooks import portal_deliveries
from agora.webhooks.portal_scope import get_endpoint
from api.portal import forms
from api.portal.base import blueprint, link, page
from api.portal.endpoints import lead

SPANS = {"last hour": 1, "last day": 24, "last three days": 72, "last week": 168}
"""Hours, by what they are called."""


@blueprint.get("/deliveries/<delivery_id>")
def delivery(delivery_id: str) -> Response:
    """A delivery: its payload, and every try at it."""
    endpoint, found = portal_deliveries.get_delivery(link(), delivery_id)
    return page("delivery.html", endpoint=endpoint, delivery=found)


@blueprint.post("/deliveries/<delivery_id>/resend")
def resend(delivery_id: str) -> AnyResponse:
    """Send a delivery again."""
    portal_deliveries.resend(link(), delivery_id)
    return lead("delivery", delivery_id=delivery_id, done="resent")


@blueprint.get("/endpoints/<endpoint_id>/recover")
def ask_recover(endpoint_id: str) -> Response:
    """How many were given up since a time, before they are sent again."""
    moment = now()
    since = forms.moment(request.args.get("since", "")) or (moment - timedelta(days=1)).replace(second=0, microsecond=0)
    spans = {name: forms.written(moment - timedelta(hours=hours)) for name, hours in SPANS.items()}
    return page(
        "recover.html", endpoint=get_endpoint(link(), endpoint_id), written=forms.written(since), since=since,
        spans=spans, count=portal_deliveries.count_failed(link(), endpoint_id, since),
    )  # fmt: skip


@blueprint.post("/endpoints/<endpoint_id>/recover")
def recover(endpoint_id: str) -> AnyResponse:
    """Send again what was given up since a time."""
    since = forms.required_moment("since")
    return lead("replay", replay_id=portal_deliveries.recover(link(), endpoint_id, since), done="recovering")


@blueprint.get("/replays/<replay_id>")
def replay(replay_id: str) -> Response:
    """How far a recovery has come."""
    endpoint, found = portal_deliveries.get_replay(link(), replay_id)
    return page("replay.html", endpoint=endpoint, replay=found)
