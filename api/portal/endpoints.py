"""Pages about endpoints: the list, making, changing, pausing, testing and deleting one."""

from dataclasses import replace

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from agora.errors import Conflict, Invalid
from agora.webhooks import portal, portal_deliveries
from agora.webhooks.portal_scope import get_endpoint
from api.portal import forms, session
from api.portal.base import PAGE, blueprint, link, page, position, signed
from api.portal.forms import EndpointForm

SEE_OTHER, UNPROCESSABLE = 303, 422


def lead(view: str, **values: str) -> AnyResponse:
    """Go on to a page after a form was taken, so that loading it again sends nothing twice."""
    return redirect(url_for(f"portal.{view}", **values), SEE_OTHER)  # type: ignore[arg-type]  # query values are texts


@blueprint.get("")
@blueprint.get("/")
def endpoints() -> Response:
    """The endpoints that the link opens."""
    return page("endpoints.html", found=signed(portal.list_endpoints(link(), limit=PAGE, cursor=position())))


@blueprint.get("/endpoints/new")
def new_endpoint() -> Response:
    """The form for a new endpoint."""
    offered = portal.offered_types(link())
    chosen = tuple(one for one in forms.FIRST_TYPES if one in offered)
    return page("endpoint_form.html", form=EndpointForm(event_types=chosen), offered=offered, endpoint=None)


@blueprint.post("/endpoints")
def create_endpoint() -> AnyResponse:
    """Make an endpoint; the next page shows its secret."""
    form = forms.sent()
    try:
        made = portal.create_endpoint(
            link(), url=form.url, description=form.description, event_types=form.event_types, algorithm=form.algorithm
        )
    except (Invalid, Conflict) as error:
        form = replace(form, errors=forms.errors_of(error))
        offered = portal.offered_types(link())
        return page("endpoint_form.html", UNPROCESSABLE, form=form, offered=offered, endpoint=None)
    response = lead("keys", endpoint_id=made.endpoint_id, done="created")
    session.keep_secret(response, link(), made, url_for("portal.keys", endpoint_id=made.endpoint_id))
    return response


@blueprint.get("/endpoints/<endpoint_id>")
def endpoint(endpoint_id: str) -> Response:
    """An endpoint with its deliveries."""
    status = request.args.get("status") or None
    deliveries = portal_deliveries.list_deliveries(
        link(), endpoint_id, status=status, limit=PAGE, cursor=position(status)
    )
    return page(
        "endpoint.html", endpoint=get_endpoint(link(), endpoint_id),
        stats=portal_deliveries.get_stats(link(), endpoint_id), deliveries=signed(deliveries, status), status=status,
    )  # fmt: skip


@blueprint.get("/endpoints/<endpoint_id>/edit")
def edit_endpoint(endpoint_id: str) -> Response:
    """The form to change an endpoint."""
    found = get_endpoint(link(), endpoint_id)
    offered = portal.offered_types(link(), found)
    return page("endpoint_form.html", form=forms.shown(found), offered=offered, endpoint=found)


@blueprint.post("/endpoints/<endpoint_id>/edit")
def update_endpoint(endpoint_id: str) -> AnyResponse:
    """Change an endpoint."""
    form = forms.sent()
    try:
        portal.update_endpoint(
            link(), endpoint_id, url=form.url, description=form.description, event_types=form.event_types
        )
    except Invalid as error:
        form = replace(form, errors=forms.errors_of(error))
        found = get_endpoint(link(), endpoint_id)
        offered = portal.offered_types(link(), found)
        return page("endpoint_form.html", UNPROCESSABLE, form=form, offered=offered, endpoint=found)
    return lead("endpoint", endpoint_id=endpoint_id, done="updated")


@blueprint.post("/endpoints/<endpoint_id>/pause")
def pause_endpoint(endpoint_id: str) -> AnyResponse:
    """Hold what comes."""
    portal.pause_endpoint(link(), endpoint_id)
    return lead("endpoint", endpoint_id=endpoint_id, done="paused")


@blueprint.post("/endpoints/<endpoint_id>/resume")
def resume_endpoint(endpoint_id: str) -> AnyResponse:
    """Deliver again."""
    portal.resume_endpoint(link(), endpoint_id)
    return lead("endpoint", endpoint_id=endpoint_id, done="resumed")


@blueprint.post("/endpoints/<endpoint_id>/test")
def send_test(endpoint_id: str) -> AnyResponse:
    """Send a test event, and show its delivery."""
    return lead("delivery", delivery_id=portal.send_test(link(), endpoint_id), done="tested")


@blueprint.get("/endpoints/<endpoint_id>/delete")
def ask_delete_endpoint(endpoint_id: str) -> Response:
    """Ask before an endpoint is deleted."""
    return page("delete_endpoint.html", endpoint=get_endpoint(link(), endpoint_id))


@blueprint.post("/endpoints/<endpoint_id>/delete")
def delete_endpoint(endpoint_id: str) -> AnyResponse:
    """Delete an endpoint."""
    portal.delete_endpoint(link(), endpoint_id)
    return lead("endpoints", done="deleted")
