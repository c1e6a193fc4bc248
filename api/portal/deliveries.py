"""Pages about deliveries: one with every try."""

from flask import Response

from agora.webhooks import portal_deliveries
from api.portal.base import blueprint, link, page


@blueprint.get("/deliveries/<delivery_id>")
def delivery(delivery_id: str) -> Response:
    """A delivery: its payload, and every try at it."""
    endpoint, found = portal_deliveries.get_delivery(link(), delivery_id)
    return page("delivery.html", endpoint=endpoint, delivery=found)
