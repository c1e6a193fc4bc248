"""Pages of other origins that may call the API from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol).

Only origins that are listed exactly, and never with cookies: ``Access-Control-Allow-Credentials`` is not sent, so a
page can do no more than the token that it holds. The portal, which goes by a cookie, is not opened to anybody.
"""

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from agora.settings import get_settings

OPENED = ("/api/", "/errors", "/.well-known/")
"""Paths that pages of other origins may be let to."""
SENT = (
    "Authorization", "Content-Type", "Agora-Team", "Agora-Version", "Idempotency-Key", "If-Match", "If-None-Match",
    "Last-Event-ID", "Prefer", "X-Request-Id", "traceparent",
)  # fmt: skip
"""Headers of requests that a page may set."""
EXPOSED = (
    "Agora-Version", "Content-Disposition", "Content-Location", "Deprecation", "ETag", "Idempotent-Replayed", "Link",
    "Location", "Preference-Applied", "RateLimit", "RateLimit-Policy", "Retry-After", "Sunset", "WWW-Authenticate",
    "X-Request-Id",
)  # fmt: skip
"""Headers of answers that a page may read."""
PREFLIGHT_SECONDS = 600
"""For so long a browser need not ask again."""
NO_CONTENT = 204


def allowed_origin() -> str | None:
    """The request's origin, if it is in the list and the path is one that can be opened."""
    origin = request.headers.get("Origin")
    return origin if origin in get_settings().cors_origins and request.path.startswith(OPENED) else None


def preflight() -> Response | None:
    """Answer a browser that asks whether it may send a request; it cannot send credentials with the question.

    Whatever is no such question goes on, to be refused as any request without credentials.
    """
    method = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or method is None or allowed_origin() is None or not _exists(method):
        return None
    response = Response(status=NO_CONTENT)
    response.headers["Access-Control-Allow-Methods"] = method
    response.headers["Access-Control-Allow-Headers"] = ", ".join(SENT)
    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    response.vary.update(("Access-Control-Request-Method", "Access-Control-Request-Headers"))
    return response


def _exists(method: str) -> bool:
    try:
        current_app.url_map.bind("").match(request.path, method)
    except (RequestRedirect, HTTPException):
        return False
    return method.isupper()  # methods have a case, which the map does not look at


def add(response: Response) -> Response:
    """Say who may read the answer. Without a list, nothing is said at all."""
    if get_settings().cors_origins and request.path.startswith(OPENED):
        response.vary.add("Origin")
        origin = allowed_origin()
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
    return response


def install(app: Flask) -> None:
    """Apply to every request; preflights are answered before credentials are asked for."""
    app.before_request(preflight)
    app.after_request(add)
