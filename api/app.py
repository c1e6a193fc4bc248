"""Put the Flask application together."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from agora import __version__
from agora.telemetry import configure_logging
from api import (
    acting,
    admission,
    auth,
    cache_headers,
    conditions,
    cors,
    docs,
    headers,
    health,
    limits,
    openapi_document,
    openapi_versions,
    portal,
    well_known,
)
from api.errors import pages, problems
from api.openapi import document_version, make_api
from api.v1 import BLUEPRINTS
from api.versions import negotiate
from api.versions import pages as version_pages

SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key of a team."},
    "user": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access token of a user. The header `Agora-Team` names one of their teams.",
    },
}
OPENAPI = {
    "API_TITLE": "Agora",
    "API_VERSION": "v1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": "/api/v1",
    "OPENAPI_JSON_PATH": "openapi.json",
    "API_SPEC_OPTIONS": {
        "info": {
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "components": {"securitySchemes": SECURITY},
        "security": [{name: []} for name in SECURITY],
    },
}


class Application(Flask):
    """Flask that does not ask, at each of some twenty-five calls for a request, whether a function is a coroutine."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function: none of ours is a coroutine."""
        return func


def create_app() -> Flask:
    """The WSGI application."""
    configure_logging()
    app = Application(__name__)
    app.config.update(OPENAPI)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # fields come in the order in which people read them
    headers.install(app)
    limits.install(app)
    cors.install(app)
    acting.install(app)
    admission.install(app)
    auth.install(app)
    cache_headers.install(app)
    conditions.install(app)
    negotiate.install(app)
    app.before_request(conditions.check)
    app.before_request(limits.refuse_unread)
    app.before_request(limits.refuse_unstorable)
    problems.install(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(docs.blueprint)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(version_pages.blueprint)
    app.register_blueprint(well_known.blueprint)
    app.register_blueprint(portal.blueprint)
    api = make_api()
    api.init_app(app)
    document_version(api)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    openapi_document.complete(app, api)
    openapi_versions.install(app, api)
    app.extensions["agora-api"] = api
    problems.install(app)  # flask-smorest registers handlers of its own; ours answer
    return app
