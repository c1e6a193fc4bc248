"""Links to the webhook portal: a customer's developer manages their endpoints there, without a key."""

from typing import Any

from flask import Response, json

from agora.webhooks import portal_links
from agora.webhooks.portal_links import NewLink
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected, note
from api.idempotency import idempotency_key, mark_replayed
from api.limits import check_json
from api.portal.session import link_url
from api.schemas.common import PageArgs, Problem
from api.schemas.webhook_portal import NewPortalLinkOut, PortalLinkIn, PortalLinkOut, PortalLinkPage
from api.shaping import listed

ROUTE = "POST /api/v1/webhook-portal-links"
CREATED = 201
MISSING = "The team has no such link."

blueprint = Blueprint(
    "webhook-portal-links", __name__, url_prefix="/api/v1/webhook-portal-links",
    description="Links with which a customer's developer manages their webhook endpoints on a page.",
)  # fmt: skip
_shown = NewPortalLinkOut()


@blueprint.post("")
@scope("webhooks:manage")
@blueprint.arguments(PortalLinkIn)
@blueprint.response(CREATED, NewPortalLinkOut)
@blueprint.alt_response(422, schema=Problem, description="The scope is empty, or another field not acceptable.")
def create_portal_link(fields: dict[str, Any]) -> Response:
    """Make a link to the webhook portal. Its URL is shown this once; whoever has it may do what it allows.

    Give `scope`, or say `all_endpoints: true`: a link without either is refused.
    """
    check_json(fields.get("scope", {}), "/scope")
    made = portal_links.create_link(NewLink(**fields), team_id=team_id(), idempotency=idempotency_key(ROUTE))
    note(made.link)
    shown = {**_dumped(made.link), "url": link_url(made.token) if made.token else None}
    response = Response(json.dumps(shown), status=CREATED, content_type="application/json")
    response.headers["Location"] = f"/api/v1/webhook-portal-links/{made.link.id}"
    return mark_replayed(response, made.token is None)


def _dumped(link: portal_links.PortalLink) -> dict[str, Any]:
    found: dict[str, Any] = _shown.dump(link)
    return found


@blueprint.get("")
@scope("webhooks:manage")
@blueprint.arguments(listed(PageArgs, PortalLinkOut), location="query")
@blueprint.response(200, PortalLinkPage)
def list_portal_links(query: dict[str, Any]) -> Any:
    """List links, newest first, with those that work no more: they are removed 30 days after they were made."""
    return portal_links.list_links(team_id=team_id(), limit=query["limit"], cursor=query["cursor"], sort=query["sort"])


@blueprint.get("/<link_id>")
@scope("webhooks:manage")
@blueprint.sparse(PortalLinkOut)
@blueprint.response(200, PortalLinkOut)
@blueprint.alt_response(404, schema=Problem, description=MISSING)
def get_portal_link(link_id: str) -> Any:
    """A link: what it opens, and whether it still works."""
    return portal_links.get_link(link_id, team_id=team_id())


@blueprint.delete("/<link_id>")
@scope("webhooks:manage")
@blueprint.guarded
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description=MISSING)
def revoke_portal_link(link_id: str) -> None:
    """Revoke a link: the pages that it opened answer no more, from the next request on."""
    portal_links.revoke_link(link_id, team_id=team_id(), expected=expected())
