"""Errors as problem+json (RFC 9457): one table maps the slugs of the domain to HTTP."""

from typing import Any

from flask import Flask, Response, g, json, request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from agora.errors import AgoraError, Invalid
from agora.telemetry import get_logger

STATUS = {
    "error": 500,
    "settings": 500,
    "not-found": 404,
    "invalid": 422,
    "idempotency-key-reused": 422,
    "conflict": 409,
    "illegal-transition": 409,
    "concurrency-limit": 409,
    "already-answered": 409,
    "catalogue-conflict": 409,
    "data-dir-held": 409,
    "dump-failed": 500,
    "unauthenticated": 401,
    "forbidden": 403,
    "too-large": 413,
    "too-many-requests": 429,
    "unavailable": 503,
    "egress-refused": 422,
    "webhook-verification": 401,
    "domain-invalid": 500,
    **dict.fromkeys(
        (
            "document",
            "document-empty",
            "document-binary",
            "document-encrypted",
            "document-too-long",
            "document-language",
            "document-corrupt",
        ),
        422,
    ),
}
"""HTTP status of each slug of agora.errors; a test walks the classes so that none is forgotten."""

HTTP_SLUGS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "request-timeout",
    411: "length-required",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid",
    429: "too-many-requests",
}
RETRY_AFTER_SECONDS = "5"
UNAUTHORIZED, SERVER_ERROR, TOO_MANY, UNAVAILABLE = 401, 500, 429, 503

log = get_logger(__name__)


def problem(
    status: int, code: str, title: str, detail: str, *, errors: list[dict[str, Any]] | None = None, **extra: Any
) -> Response:
    """A problem document as a response."""
    body: dict[str, Any] = {
        "type": f"/errors/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "request_id": g.get("request_id"),
        **extra,
    }
    if errors:
        body["errors"] = errors
    response = Response(json.dumps(body), status=status, content_type="application/problem+json")
    if status in {TOO_MANY, UNAVAILABLE}:
        response.headers["Retry-After"] = RETRY_AFTER_SECONDS
    if status == UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="agora"'
    return response


def on_domain_error(error: AgoraError) -> Response:
    """An error of the domain: its slug decides the status."""
    status = STATUS[error.slug]
    if status >= SERVER_ERROR and status != UNAVAILABLE:
        return on_unexpected(error)
    errors = None
    if isinstance(error, Invalid):
        errors = [
            {"pointer": one.pointer, "rule": one.rule, "message": one.message, "value": one.value}
            for one in error.errors
        ]
    return problem(status, error.slug, error.title(), str(error), errors=errors, **error.extra)


def on_http_error(error: HTTPException) -> Response:
    """An error of the HTTP layer: unknown route, wrong method, malformed body, failed schema."""
    if error.response is not None:
        return error.response  # type: ignore[return-value]  # somebody made a whole response
    status = error.code or SERVER_ERROR
    code = HTTP_SLUGS.get(status, "http-error")
    messages = getattr(error, "data", {}).get("messages") if isinstance(getattr(error, "data", None), dict) else None
    errors = list(flatten(messages)) if messages else None
    detail = errors[0]["message"] if errors else (error.description or error.name)
    response = problem(status, code, error.name, detail, errors=errors)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def flatten(messages: Any, pointer: str = "") -> Any:
    """Marshmallow's nested messages as field errors with JSON pointers; the location name is left out."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            skip = not pointer and name in {"json", "query", "headers", "_schema"}
            yield from flatten(inner, pointer if skip or name == "_schema" else f"{pointer}/{name}")
    else:
        for message in messages if isinstance(messages, list) else [messages]:
            yield {"pointer": pointer or "/", "rule": "schema", "message": f"{pointer or '/'}: {message}"}


def on_database_away(error: Exception) -> Response:
    """The database does not answer: the caller may try again."""
    log.warning("database away", error=type(error).__name__, detail=str(error)[:300])
    return problem(UNAVAILABLE, "unavailable", "A service that is needed is not available", "the database is away")


def on_unexpected(error: Exception) -> Response:
    """A fault of ours: logged whole, shown without internals."""
    log.error("request failed", path=request.path, exc_info=error)
    return problem(SERVER_ERROR, "internal-error", "Something went wrong", "the fault is logged under the request id")


def install(app: Flask) -> None:
    """Answer every error with a problem document."""
    app.register_error_handler(AgoraError, on_domain_error)
    app.register_error_handler(HTTPException, on_http_error)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(away, on_database_away)
    app.register_error_handler(Exception, on_unexpected)
