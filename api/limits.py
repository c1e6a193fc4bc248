"""What a request may look like: its id, its size, how deep its JSON nests."""

import re
from typing import Any, NoReturn

from flask import Flask, Response, g, request

from agora.errors import NotFound, TooLarge, invalid_field
from agora.ids import new_id
from agora.settings import get_settings

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
STREAMED = frozenset({"files.upload"})
"""Views that read the body as a stream, with a limit of their own."""
BATCHED = frozenset({"batches.submit_batch"})
"""Views whose body holds many jobs."""


def begin_request() -> None:
    """Give the request its id, and refuse one that is too large before it is read."""
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else new_id("req")
    settings = get_settings()
    limit = settings.max_batch_bytes if request.endpoint in BATCHED else settings.max_body_bytes
    if request.endpoint not in STREAMED:
        request.max_content_length = limit
        if (request.content_length or 0) > limit:
            raise TooLarge(f"the body has {request.content_length} bytes, the limit is {limit}; upload files instead")


def check_json(value: Any, pointer: str) -> None:
    """Refuse JSON that nests too deep. Raises Invalid that names the place."""
    limit = get_settings().max_json_depth
    level = [(value, pointer, 1)]
    while level:
        found, where, depth = level.pop()
        if depth > limit:
            raise invalid_field(where, "max-depth", f"{where}: JSON may nest {limit} levels deep")
        if isinstance(found, dict):
            level.extend((inner, f"{where}/{name}", depth + 1) for name, inner in found.items())
        elif isinstance(found, list):
            level.extend((inner, f"{where}/{index}", depth + 1) for index, inner in enumerate(found))


def refuse_nul() -> None:
    """Refuse text with a NUL character, which Postgres cannot hold. Raises Invalid that names the place, NotFound."""
    if "\x00" in request.path:
        raise NotFound("nothing has a NUL character in its name")
    for name, value in request.args.items(multi=True) if request.query_string else ():
        if "\x00" in name or "\x00" in value:
            _raise_nul(f"/{name}")
    if request.is_json and request.endpoint not in STREAMED and b"\\u0000" in request.get_data(cache=True):
        level: list[tuple[Any, str]] = [(request.get_json(silent=True), "")]
        while level:
            found, where = level.pop()
            if isinstance(found, str) and "\x00" in found:
                _raise_nul(where)
            elif isinstance(found, dict):
                level.extend((name, f"{where}/{name}") for name in found)
                level.extend((inner, f"{where}/{name}") for name, inner in found.items())
            elif isinstance(found, list):
                level.extend((inner, f"{where}/{index}") for index, inner in enumerate(found))


def _raise_nul(pointer: str) -> NoReturn:
    shown = pointer.replace("\x00", "\\u0000")
    raise invalid_field(shown, "no-nul", f"{shown} contains a NUL character, which cannot be stored")


def end_request(response: Response) -> Response:
    """Say the request's id, and keep answers out of caches and frames."""
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def install(app: Flask) -> None:
    """Apply to every request."""
    app.before_request(begin_request)
    app.after_request(end_request)
