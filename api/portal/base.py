"""The blueprint of the portal: who gets in, what every answer carries, and how errors look."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from flask import Blueprint, Response, g, render_template, request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from agora import __version__
from agora.errors import AgoraError, Forbidden
from agora.paging import Page, seal, unseal
from agora.telemetry import get_logger
from agora.webhooks import portal_links
from agora.webhooks.portal_links import LinkState, PortalLink
from api.errors.catalogue import CATALOGUE
from api.portal import session, show

MAX_FORM_BYTES = 64 * 1024
PAGE = 25
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STYLE_SECONDS = 3600
WITHOUT_SESSION = frozenset({"portal.open_link", "portal.static"})
FORBIDDEN, NOT_FOUND, GONE, SERVER_ERROR, UNAVAILABLE = 403, 404, 410, 500, 503

ENDED = {
    LinkState.EXPIRED: (GONE, "This link has expired", "Ask whoever sent it to you for a new one."),
    LinkState.REVOKED: (FORBIDDEN, "This link was revoked", "Ask whoever sent it to you whether you need a new one."),
}

T = TypeVar("T")

log = get_logger(__name__)
blueprint = Blueprint("portal", __name__, url_prefix=session.ROOT, static_folder="static", static_url_path="/static")


def link() -> PortalLink:
    """The link that the visitor holds."""
    found: PortalLink = g.portal.link
    return found


def _list_of(filters: tuple[str | None, ...]) -> list[Any]:
    return [link().id, request.endpoint, request.view_args, filters]


def position(*filters: str | None) -> str | None:
    """Where a list goes on, by the cursor in the page's address. Raises Invalid."""
    cursor = request.args.get("cursor")
    return None if cursor is None else unseal(cursor, _list_of(filters))


def signed(found: Page[T], *filters: str | None) -> Page[T]:
    """A page of a list whose cursor may go into a link: it is good for the visitor's own link and this list only."""
    if found.next_cursor is None:
        return found
    return replace(found, next_cursor=seal(found.next_cursor, _list_of(filters)))


def page(template: str, code: int = 200, **values: Any) -> Response:
    """A page of the portal."""
    found: session.Session | None = g.get("portal")
    values = {"done": show.DONE.get(request.args.get("done", "")), **values}
    html = render_template(
        f"portal/{template}", version=__version__, show=show, link=found.link if found else None,
        form_token=found.form_token if found else "", **values,
    )  # fmt: skip
    return Response(html, code, content_type="text/html; charset=utf-8")


def told(status: int, title: str, detail: str) -> Response:
    """A page that says one thing."""
    return page("message.html", status, title=title, detail=detail)


@blueprint.before_request
def admit() -> Response | None:
    """Let in who holds a link that works; a form besides must be of this session, and the link not for reading only."""
    request.max_content_length = MAX_FORM_BYTES
    if request.endpoint in WITHOUT_SESSION:
        return None
    found = session.find()
    if found is None:
        return told(FORBIDDEN, "This page needs a link", "Open the link that was sent to you; it lets you in here.")
    if found.link.status != LinkState.OPEN:
        return told(*ENDED[LinkState(found.link.status)])
    g.portal = found
    if request.method == "POST":
        found.check_form()
        if found.link.read_only and request.endpoint != "portal.leave":
            raise Forbidden("this link is for reading only")
    return None


@blueprint.after_request
def guard(response: Response) -> Response:
    """Keep every answer out of caches, frames, referrers and search engines."""
    response.headers.update(HEADERS)
    if request.endpoint == "portal.static":
        response.headers["Cache-Control"] = f"public, max-age={STYLE_SECONDS}"
    else:
        response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/l/<token>")
def open_link(token: str) -> Response:
    """Begin a session, and go on to the page without the token in its address.

    The page itself leads on, and no redirect: within one that began on another site (a mail, a chat), browsers would
    not send a SameSite=Strict cookie.
    """
    found = portal_links.find_by_token(token)
    if found is None:
        return told(NOT_FOUND, "There is no such link", "Is it whole? It may also have expired long ago.")
    if found.status != LinkState.OPEN:
        return told(*ENDED[LinkState(found.status)])
    response = page("opening.html")
    session.begin(response, found, token)
    return response


@blueprint.post("/leave")
def leave() -> Response:
    """End the session in this browser; the link stays."""
    g.portal = None
    response = told(200, "You have left", "Open your link again to come back.")
    session.end(response)
    return response


@blueprint.route("/<path:rest>", methods=["GET", "POST"])
def nothing(rest: str) -> Response:
    """No such page."""
    del rest
    return told(NOT_FOUND, "There is no such page", "It may have been deleted meanwhile.")


@blueprint.errorhandler(AgoraError)
def on_domain_error(error: AgoraError) -> Response:
    """An error of the domain, as a page."""
    if error.slug not in CATALOGUE:
        return on_unexpected(error)
    return told(CATALOGUE[error.slug].status, error.title(), f"{str(error)[:1].upper()}{str(error)[1:]}.")


@blueprint.errorhandler(HTTPException)
def on_http_error(error: HTTPException) -> Response:
    """An error of the HTTP layer, as a page."""
    return told(error.code or SERVER_ERROR, error.name, error.description or "")


@blueprint.errorhandler(OperationalError)
@blueprint.errorhandler(InterfaceError)
@blueprint.errorhandler(PoolTimeout)
def on_database_away(error: Exception) -> Response:
    """The database does not answer."""
    log.warning("database away", error=type(error).__name__, detail=str(error)[:300])
    return told(UNAVAILABLE, "Not available just now", "Try again in a moment.")


@blueprint.errorhandler(Exception)
def on_unexpected(error: Exception) -> Response:
    """A fault of ours: logged whole, shown without internals."""
    log.error("request failed", path=request.path if request.endpoint != "portal.open_link" else "", exc_info=error)
    return told(SERVER_ERROR, "Something went wrong", f"The fault is logged under {g.get('request_id')}.")


@blueprint.context_processor
def clock() -> dict[str, Any]:
    """What time it is: pages say when they were made."""
    return {"shown_at": datetime.now(UTC)}
