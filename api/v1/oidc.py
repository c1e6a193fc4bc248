"""Sign-in at an OpenID provider: the browser goes there, comes back, and gets tokens as from any sign-in."""

from typing import Any

from flask import Response, jsonify, request

from agora.identity import oidc
from agora.identity.oidc import Returned, Started
from agora.settings import get_settings
from api.auth import SELF, scope, user_id
from api.blueprint import Blueprint
from api.headers import is_secure
from api.schemas.common import Problem
from api.schemas.oidc import CallbackArgs, LinksOut, ProviderOut, TicketIn, UrlOut
from api.schemas.sign_in import EnrolIn, TokensOut
from api.v1.sign_in import device

PREFIX = "/api/v1/auth/oidc"
FOUND, NO_CONTENT = 302, 204

blueprint = Blueprint("oidc", __name__, url_prefix=PREFIX, description="Sign-in at an OpenID provider.")
identities = Blueprint(
    "identities", __name__, url_prefix="/api/v1/me/identities", description="How providers know the user."
)
OPEN = blueprint.doc(security=[])
UNSET = blueprint.alt_response(404, schema=Problem, description="The platform has no provider.")
_tokens = TokensOut()


def _bring_back(response: Response, started: Started) -> Response:
    """Only this browser may come back: a link that somebody else has begun signs nobody in."""
    response.set_cookie(
        started.cookie_name, started.cookie, max_age=int(oidc.LIVES.total_seconds()), path=PREFIX, httponly=True,
        secure=is_secure(), samesite="Lax",
    )  # fmt: skip
    return response


@blueprint.get("")
@OPEN
@blueprint.response(200, ProviderOut)
@UNSET
def about() -> Any:
    """The provider, if there is one."""
    oidc.check_configured()
    settings = get_settings()
    return {"name": settings.oidc_name, "issuer": settings.oidc_issuer, "start": f"{PREFIX}/start"}


@blueprint.get("/start")
@OPEN
@blueprint.response(FOUND, description="To the provider; the cookie must come back from there.")
@UNSET
def start() -> Response:
    """Send a browser to the provider."""
    started = oidc.start(device())
    return _bring_back(Response(status=FOUND, headers={"Location": started.url}), started)


@blueprint.get("/callback")
@OPEN
@blueprint.arguments(CallbackArgs, location="query")
@blueprint.response(200, TokensOut)
@blueprint.alt_response(NO_CONTENT, description="The user who began this is linked.")
@blueprint.alt_response(401, schema=Problem, description="Not valid; or `second-factor-needed`, with a `ticket`.")
@blueprint.alt_response(403, schema=Problem, description="No account may be made, or the address is not confirmed.")
@blueprint.alt_response(409, schema=Problem, description="There is an account with this address: link it from there.")
@UNSET
def callback(query: dict[str, Any]) -> Response:
    """Begin a session for a browser that comes back from the provider."""
    name = oidc.cookie_name(query["state"])
    returned = Returned(
        state=query["state"], code=query["code"], error=query["error"], issuer=query["iss"],
        cookie=request.cookies.get(name),
    )  # fmt: skip
    tokens = oidc.finish(returned, device())
    response = Response(status=NO_CONTENT) if tokens is None else jsonify(_tokens.dump(tokens))
    response.delete_cookie(name, path=PREFIX)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blueprint.post("/finish")
@OPEN
@blueprint.arguments(TicketIn)
@blueprint.response(200, TokensOut)
@UNSET
def finish(fields: dict[str, Any]) -> Any:
    """Begin the session of a user who has a second factor, with the ticket that `callback` answered."""
    return oidc.finish_with_code(fields["ticket"], fields["code"], device())


@identities.get("")
@scope(SELF)
@identities.response(200, LinksOut)
def list_links() -> Any:
    """How providers know the user."""
    return {"items": oidc.list_links(user_id())}


@identities.post("")
@scope(SELF)
@identities.arguments(EnrolIn)
@identities.response(200, UrlOut)
@identities.alt_response(404, schema=Problem, description="The platform has no provider.")
def begin_link(fields: dict[str, Any]) -> Response:
    """Begin to link the user with the provider; asks for the password."""
    started = oidc.start_to_link(user_id(), fields["password"], device())
    return _bring_back(jsonify(url=started.url), started)


@identities.delete("/<link_id>")
@scope(SELF)
@identities.response(204)
@identities.alt_response(404, schema=Problem, description="The user has no such identity.")
def unlink(link_id: str) -> None:
    """Sign in by it no more."""
    oidc.unlink(user_id(), link_id)
