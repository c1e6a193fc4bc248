"""Errors as problem+json (RFC 9457): the catalogue says which status the slugs of the domain have."""

from typing import Any

from flask import Flask, Response, g, json, request
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from agora.errors import AgoraError, Invalid
from agora.telemetry import get_logger
from api.errors import fields
from api.errors.catalogue import BAD_REQUEST, BY_STATUS, CATALOGUE, INTERNAL
from api.versions import translate

RETRY_AFTER_SECONDS = "5"
UNAUTHORIZED, SERVER_ERROR, TOO_MANY, UNAVAILABLE = 401, 500, 429, 503

log = get_logger(__name__)


def problem(code: str, detail: str, *, errors: list[dict[str, Any]] | None = None, **extra: Any) -> Response:
    """A problem document as a response, with the status that the catalogue gives this code."""
    entry = CATALOGUE[code]
    body: dict[str, Any] = {
        "type": f"/errors/{code}",
        "title": entry.title,
        "status": entry.status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "request_id": g.get("request_id"),
        **extra,
    }
    if errors:
        body["errors"] = errors
    response = Response(json.dumps(body), status=entry.status, content_type="application/problem+json")
    if entry.status in {TOO_MANY, UNAVAILABLE}:
        response.headers["Retry-After"] = str(extra.get("retry_after", RETRY_AFTER_SECONDS))
    if entry.status == UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="agora"'
    return response


def on_domain_error(error: AgoraError) -> Response:
    """An error of the domain: its slug is the code, or it is a fault of ours that it came so far."""
    if error.slug not in CATALOGUE:
        return on_unexpected(error)
    errors = [fields.as_told(one) for one in error.errors] if isinstance(error, Invalid) else None
    return problem(error.slug, str(error), errors=errors, **error.extra)


def on_http_error(error: HTTPException) -> Response:
    """An error of the HTTP layer: unknown route, wrong method, malformed body, failed schema."""
    if error.response is not None:
        return error.response  # type: ignore[return-value]  # somebody made a whole response
    status = error.code or SERVER_ERROR
    entry = BY_STATUS.get(status, CATALOGUE[BAD_REQUEST if status < SERVER_ERROR else INTERNAL])
    data: Any = getattr(error, "data", None)
    errors = fields.of_schema(data["messages"], data.get("schema"), _given()) if _has_messages(data) else []
    response = problem(entry.code, errors[0]["message"] if errors else (error.description or error.name), errors=errors)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _has_messages(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("messages"), dict)


def _given() -> dict[str, Any]:
    """What the request held, by location."""
    query = {name: values if len(values) > 1 else values[0] for name, values in request.args.lists()}
    try:
        body = request.get_json(silent=True) if request.is_json else None
    except RecursionError:  # it nests too deep to be read, and something else was wrong
        body = None
    return {"json": translate.body_read(body), "query": translate.query_read(query)}


def on_database_away(error: Exception) -> Response:
    """The database does not answer: the caller may try again."""
    log.warning("database away", error=type(error).__name__, detail=str(error)[:300])
    return problem("unavailable", "the database is away")


def on_unexpected(error: Exception) -> Response:
    """A fault of ours: logged whole, shown without internals."""
    log.error("request failed", path=request.path, exc_info=error)
    return problem(INTERNAL, "the fault is logged under the request id")


def install(app: Flask) -> None:
    """Answer every error with a problem document."""
    app.register_error_handler(AgoraError, on_domain_error)
    app.register_error_handler(HTTPException, on_http_error)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(away, on_database_away)
    app.register_error_handler(Exception, on_unexpected)
