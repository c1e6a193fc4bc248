"""Who calls, and whether they may: deny by default, each view names its scope."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, g, request

from agora.errors import Forbidden, Unauthenticated
from agora.identity.service import Principal, authenticate

View = TypeVar("View", bound=Callable[..., Any])

OPEN_ENDPOINTS = frozenset({"health.live", "health.ready", "health.metrics", "docs.page", "api-docs.openapi_json"})
"""What needs no key: health, metrics, docs."""
ANY_KEY = "any"
"""Stands in for a scope where any valid key will do."""
OWN_DOORS = frozenset({"portal"})
"""Blueprints that let visitors in by themselves: each of their views is behind a check of their own."""
SCOPES: dict[str, str] = {}
"""The scope that each view needs, by endpoint name; filled by ``scope``."""


def scope(name: str) -> Callable[[View], View]:
    """Name the scope that a view needs."""

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


def scope_of(endpoint: str) -> str | None:
    """The scope that an endpoint's view declares."""
    view = current_app.view_functions.get(endpoint)
    while view is not None:
        if hasattr(view, "__agora_scope__"):
            return str(view.__agora_scope__)
        view = getattr(view, "__wrapped__", None)
    return None


def check_request() -> None:
    """Authenticate and authorise, before any view runs.

    Raises:
        Unauthenticated: there is no valid key.
        Forbidden: the key lacks the scope, or the view declares none.
    """
    if request.endpoint in OPEN_ENDPOINTS or request.blueprint in OWN_DOORS:
        return
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Unauthenticated("send `Authorization: Bearer <API key>`")
    g.principal = authenticate(token.strip())
    if request.endpoint is None:
        return  # no such route: 404 for whoever has a key
    needed = scope_of(request.endpoint)
    if needed is None:
        raise Forbidden(f"{request.endpoint} declares no scope")
    if needed != ANY_KEY and not g.principal.may(needed):
        raise Forbidden(f"this key lacks the scope {needed}", needed=needed)


def install(app: Flask) -> None:
    """Check every request."""
    app.before_request(check_request)
