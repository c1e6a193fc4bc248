"""What else is done with webhook endpoints and deliveries: re-send one, statistics, export and import."""

from collections import Counter
from typing import Any

from agora.webhooks import exchange, replays, stats
from agora.webhooks.operation_types import IMPORTED
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.webhook_operations import ExportArgs, ExportPage, ImportIn, ImportOut, StatsOut, StatsQuery
from api.schemas.webhooks import DeliveryOut
from api.v1.webhooks import MISSING, check_nested, deliveries, endpoints

exchange_ = Blueprint(
    "webhook-endpoint-exchange", __name__, url_prefix="/api/v1", description="Endpoints out of and into a team."
)
__all__ = ["deliveries", "endpoints", "exchange_"]


@deliveries.post("/<delivery_id>/resend")
@scope("webhooks:manage")
@deliveries.response(202, DeliveryOut, description="Accepted: it is sent, or held while its endpoint is not active.")
@deliveries.alt_response(404, schema=Problem, description="The team has no such delivery.")
@deliveries.alt_response(
    409,
    schema=Problem,
    description="It is being sent just now, was cancelled, waits for its turn, or its endpoint was deleted.",
)
def resend_delivery(delivery_id: str) -> Any:
    """Send a delivery again, now: the same id, the same bytes, and its whole schedule anew.

    One that is pending is sent now as well and spends nothing. Numbers in the log of tries go on.
    """
    return replays.resend_delivery(delivery_id, team_id=team_id())


@endpoints.get("/<ref>/stats")
@scope("webhooks:manage")
@endpoints.arguments(StatsQuery, location="query")
@endpoints.response(200, StatsOut)
@endpoints.alt_response(404, schema=Problem, description=MISSING)
def endpoint_stats(query: dict[str, Any], ref: str) -> Any:
    """How an endpoint does: over its last deliveries within the window, 1,000 at most, and how it stands now."""
    return stats.endpoint_stats(ref, team_id=team_id(), window=query["window"])


@exchange_.get("/webhook-endpoint-export")
@scope("webhooks:manage")
@exchange_.arguments(ExportArgs, location="query")
@exchange_.response(200, ExportPage)
def export_endpoints(query: dict[str, Any]) -> Any:
    """Export endpoints, oldest first, in the form that an import takes.

    Secrets are never exported; values of headers with telling names are redacted.
    """
    return exchange.export_endpoints(team_id=team_id(), limit=query["limit"], cursor=query["cursor"])


@exchange_.post("/webhook-endpoint-import")
@scope("webhooks:manage")
@exchange_.arguments(ImportIn)
@exchange_.response(200, ImportOut)
@exchange_.alt_response(409, schema=Problem, description="A uid was taken by another endpoint just now.")
def import_endpoints(fields: dict[str, Any]) -> Any:
    """Make or change up to 1,000 endpoints, all or none; errors name the item, as `/endpoints/3/url`.

    An item changes the endpoint with its `uid`, or, without a uid, the one with its `id`; where there is none it makes
    one, whose secret is shown this once. What an item does not name stays as it is.
    """
    for number, item in enumerate(fields["endpoints"]):
        check_nested(item, f"/endpoints/{number}")
    done = exchange.import_endpoints(fields["endpoints"], team_id=team_id(), dry_run=fields["dry_run"])
    counted = Counter(one.action for one in done)
    return {"dry_run": fields["dry_run"], "endpoints": done, **{action: counted[action] for action in IMPORTED}}
