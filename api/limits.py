"""What a request may look like: its id, its size, how deep its JSON nests."""

import math
import re
from typing import Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import UnsupportedMediaType

from agora.errors import Invalid, NotFound, TooLarge, invalid_field
from agora.ids import new_id
from agora.settings import get_settings
from api.errors.fields import step

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
STREAMED = frozenset({"files.upload"})
"""Views that read the body as a stream, with a limit of their own."""
FORMS = frozenset({"portal"})
"""Blueprints of pages."""
SUSPICIOUS = re.compile(rb"\x00|\\u0000|\\u[dD][89a-fA-F]|NaN|Infinity|[0-9][eE]\+?[0-9]{3}|[0-9]{200}")
"""A body that holds something that cannot be stored has one of these, and only then is it walked. JSON that is not in
UTF-8 has NUL bytes."""
SURROGATE = re.compile("[\ud800-\udfff]")
UNSTORABLE = {
    "no-nul": "contains a NUL character",
    "no-surrogate": "contains half of a surrogate pair",
    "finite": "is not a finite number",
}
BATCHED = frozenset({"batches.submit_batch", "webhook-endpoint-exchange.import_endpoints"})
"""Views whose body holds many things."""


def begin_request() -> None:
    """Give the request its id, and refuse one that is too large before it is read."""
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else new_id("req")
    structlog.contextvars.clear_contextvars()  # a kept connection's greenlet had another request before
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    settings = get_settings()
    limit = settings.max_batch_bytes if request.endpoint in BATCHED else settings.max_body_bytes
    if request.endpoint not in STREAMED:
        # Werkzeug cuts a body of chunks off at its limit and says nothing: one byte more shows that there is more.
        request.max_content_length = limit + ("Transfer-Encoding" in request.headers)
        if (request.content_length or 0) > limit:
            raise TooLarge(f"the body has {request.content_length} bytes, the limit is {limit}; upload files instead")


def refuse_unread() -> None:
    """Refuse a body that nobody would read, such as a form's: its fields would pass for missing; and too many chunks.

    Raises UnsupportedMediaType, TooLarge.
    """
    sent = bool(request.content_length) or "Transfer-Encoding" in request.headers
    takes_forms = request.endpoint in STREAMED or request.blueprint in FORMS
    if sent and request.endpoint is not None and not takes_forms and not request.is_json:
        raise UnsupportedMediaType(f"send JSON as application/json, not {request.mimetype or 'nothing'}")
    if "Transfer-Encoding" in request.headers and request.endpoint not in STREAMED:
        limit = (request.max_content_length or 0) - 1
        if len(request.get_data(cache=True)) > limit:
            raise TooLarge(f"the body has more than {limit} bytes, the limit; upload files instead")


def check_json(value: Any, pointer: str) -> None:
    """Refuse JSON that nests too deep. Raises Invalid that names the place."""
    limit = get_settings().max_json_depth
    level = [(value, pointer, 1)]
    while level:
        found, where, depth = level.pop()
        if depth > limit:
            raise invalid_field(where, "max-depth", f"{where}: JSON may nest {limit} levels deep")
        if isinstance(found, dict):
            level.extend((inner, where + step(name), depth + 1) for name, inner in found.items())
        elif isinstance(found, list):
            level.extend((inner, where + step(index), depth + 1) for index, inner in enumerate(found))


def too_deep() -> Invalid:
    """What is said of JSON that nests deeper than Python reads it, wherever in the body that is."""
    return invalid_field("/", "max-depth", f"JSON may nest {get_settings().max_json_depth} levels deep")


def refuse_unstorable() -> None:
    """Refuse what Postgres cannot hold: NUL characters, halves of surrogate pairs, numbers that are not finite.

    Raises Invalid that names the place, NotFound.
    """
    if "\x00" in request.path:
        raise NotFound("nothing has a NUL character in its name")
    for name, value in request.args.items(multi=True) if request.query_string else ():
        if "\x00" in name or "\x00" in value:
            raise _unstorable(step(name), "no-nul")
    if request.is_json and request.endpoint not in STREAMED and SUSPICIOUS.search(request.get_data(cache=True)):
        try:
            level: list[tuple[Any, str]] = [(request.get_json(silent=True), "")]
        except RecursionError:
            raise too_deep() from None
        while level:
            found, where = level.pop()
            rule = _broken_rule(found)
            if rule is not None:
                raise _unstorable(where, rule)
            if isinstance(found, dict):
                level.extend((name, where + step(name)) for name in found)
                level.extend((inner, where + step(name)) for name, inner in found.items())
            elif isinstance(found, list):
                level.extend((inner, where + step(index)) for index, inner in enumerate(found))


def _broken_rule(found: Any) -> str | None:
    if isinstance(found, str):
        if "\x00" in found:
            return "no-nul"
        return "no-surrogate" if SURROGATE.search(found) else None
    return "finite" if isinstance(found, float) and not math.isfinite(found) else None


def _unstorable(pointer: str, rule: str) -> Invalid:
    shown = pointer.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()
    return invalid_field(shown, rule, f"{shown} {UNSTORABLE[rule]}, which cannot be stored")


def end_request(response: Response) -> Response:
    """Say the request's id."""
    response.headers["X-Request-Id"] = g.get("request_id", "")
    return response


def install(app: Flask) -> None:
    """Apply to every request."""
    app.before_request(begin_request)
    app.after_request(end_request)
