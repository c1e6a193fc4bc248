"""Who calls, and whether they may: deny by default, each view names the permission that it needs."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, g, request

from agora.errors import Forbidden, NotFound, SecondFactorRequired, Unauthenticated, invalid_field
from agora.identity import principals, refresh_tokens
from agora.identity.access_tokens import RunOut
from agora.identity.principals import Credential, Principal, SessionCredential
from agora.identity.service import KEY_PREFIX, credential
from agora.ids import is_id
from api import admission
from api.portal import session as portal

View = TypeVar("View", bound=Callable[..., Any])

OPEN_ENDPOINTS = frozenset(
    {
        "health.live", "health.ready", "health.metrics", "docs.page", "api-docs.openapi_json",
        "errors.list_errors", "errors.show_error", "versions.list_versions", "versions.show_version",
        "sign-in.sign_up", "sign-in.verify_email",
        "sign-in.ask_to_verify", "sign-in.sign_in_user",
        "sign-in.refresh", "sign-in.accept_as_new", "sign-in.ask_to_reset", "sign-in.reset_password", "well-known.jwks",
        "oidc.about", "oidc.start", "oidc.callback", "oidc.finish",
    }
)  # fmt: skip
"""What needs no credentials: health, metrics, docs, and what leads to credentials."""
ANY_KEY = "any"
"""Stands in for a permission where whoever has valid credentials may."""
SELF = "self"
"""Stands in for a permission where users do something about themselves, which a key cannot."""
TEAM_HEADER = "Agora-Team"
REFRESH, LONGEST_REFRESH = "sign-in.refresh", 1024
OWN_DOORS = frozenset({"portal"})
"""Blueprints that let visitors in by themselves: each of their views is behind a check of their own."""


def scope(name: str) -> Callable[[View], View]:
    """Name the permission that a view needs: a key has it by its scope, a user by the role in the team."""

    def mark(view: View) -> View:
        view.__agora_scope__ = name  # type: ignore[attr-defined]
        return view

    return mark


def principal() -> Principal:
    """Who calls."""
    found: Principal = g.principal
    return found


def team_id() -> str:
    """The caller's team: every service call is scoped by it."""
    return principal().team_id


def marked(endpoint: str | None, name: str) -> Any:
    """What a decorator has marked an endpoint's view with, under this name; None if none has."""
    view = current_app.view_functions.get(endpoint or "")
    while view is not None:
        if hasattr(view, name):
            return getattr(view, name)
        view = getattr(view, "__wrapped__", None)
    return None


def scope_of(endpoint: str) -> str | None:
    """The scope that an endpoint's view declares."""
    found: str | None = marked(endpoint, "__agora_scope__")
    return found


def check_request() -> None:
    """Authenticate and authorise, before any view runs.

    Raises:
        Unauthenticated: there are no valid credentials.
        NotFound: the user is no member of the team that the request names.
        Forbidden: they lack the permission, or the view declares none.
        RateLimited: they, their team or their address have called too often.
    """
    if request.endpoint in OPEN_ENDPOINTS or request.blueprint in OWN_DOORS:
        _admit_visitor()
        return
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        admission.admit_stranger()
        raise Unauthenticated("send `Authorization: Bearer <API key or access token>`")
    g.principal = _authenticated(token.strip())
    if request.endpoint is None:
        return  # no such route: 404 for whoever has a key
    needed = scope_of(request.endpoint)
    if needed is None:
        raise Forbidden(f"{request.endpoint} declares no scope")
    if needed == SELF and g.principal.user_id is None:
        raise Forbidden("this is for users who signed in; an API key is nobody", needed=needed)
    if g.principal.lacks_second_factor(needed):
        raise SecondFactorRequired(f"{needed} needs a session that was begun with a second factor", needed=needed)
    if needed not in {ANY_KEY, SELF} and not g.principal.may(needed):
        who = "this key lacks the scope" if g.principal.role is None else f"a {g.principal.role} lacks the permission"
        raise Forbidden(f"{who} {needed}", needed=needed)


def _admit_visitor() -> None:
    """Whoever comes to an open door is a stranger, unless they bring what shows that it was issued here."""
    session_id = _session_of_refresh() if request.endpoint == REFRESH else None
    visitor = portal.holder() if request.blueprint in OWN_DOORS else None
    if session_id is not None:
        admission.admit_holder("session", session_id)
    elif visitor is not None:
        admission.admit_holder("link", visitor)
    else:
        admission.admit_stranger()


def _session_of_refresh() -> str | None:
    """The session that the refresh token in the body was issued for. A body longer than such a token is not read."""
    if not 0 < (request.content_length or 0) <= LONGEST_REFRESH:
        return None
    try:
        body = request.get_json(silent=True)
    except RecursionError:
        return None
    token = body.get("refresh_token") if isinstance(body, dict) else None
    return refresh_tokens.session_of(token) if isinstance(token, str) else None


def _authenticated(token: str) -> Principal:
    named = request.headers.get(TEAM_HEADER)
    if named is not None and not is_id(named, "team"):
        admission.admit_stranger()
        raise invalid_field(f"/headers/{TEAM_HEADER}", "pattern", f"{TEAM_HEADER} must be the id of a team", named)
    if not token.startswith(KEY_PREFIX):
        return admission.admit(_credential(token, named))
    found = admission.admit(credential(token))
    if named not in {None, found.team_id}:
        raise NotFound(f"there is no team {named}")
    return found


def _credential(token: str, team_id: str | None) -> SessionCredential:
    try:
        return principals.of_token(token, team_id)
    except RunOut:
        raise  # it was issued here: whoever has it is to learn that they should refresh it
    except Unauthenticated:
        admission.admit_stranger()
        raise


def still_may(needed: str) -> Callable[[], bool]:
    """Asks, in a stream that outlives its request, whether the caller still may: else it must end.

    It outlives the access token as well: what counts is the session.
    """
    held, token = principal(), request.headers["Authorization"].partition(" ")[2].strip()
    presented: Credential = credential(token)
    if held.session_id is not None and held.user_id is not None:
        presented = principals.of_session(held.user_id, held.session_id, held.team_id)

    def ask() -> bool:
        try:
            return presented.read().may(needed)
        except (Unauthenticated, NotFound):
            return False

    return ask


def user_id() -> str:
    """The user who calls; only behind ``SELF``."""
    found = principal().user_id
    if found is None:
        raise Forbidden("this is for users who signed in")
    return found


def install(app: Flask) -> None:
    """Check every request."""
    app.before_request(check_request)
