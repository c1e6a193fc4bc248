"""Conditional requests (RFC 9110, 13): ``ETag`` on answers, ``If-None-Match`` → 304, ``If-Match`` → 412.

A tag is ``"EDITION.BODY"``, ``"BODY"`` or, of what has a clock in it that runs, ``W/"VERSION"``: ``EDITION``
names what callers set in an object (agora/editions.py), ``BODY`` the bytes of the answer. ``If-None-Match`` compares
all of it, ``If-Match`` the edition alone, in the transaction that writes: an edit is refused when it would undo
another's, not because a counter has moved on.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flask import Flask, Response, g, request

from agora.editions import Expected, digest
from agora.errors import PreconditionFailed, invalid_field
from api.auth import OWN_DOORS, marked
from api.errors.problems import on_domain_error

View = TypeVar("View", bound=Callable[..., Any])

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
READ: Final = frozenset({"GET", "HEAD"})
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")
"""A list of tags, in which elements may be empty (5.6.1). There is one way only to read it: it costs linear time."""
ONE = re.compile(TAG)
ANY = "*"
OK, SUCCESS, NOT_MODIFIED = 200, 2, 304
UNTAGGED = OWN_DOORS | {"health"}


def guarded(view: View) -> View:
    """Mark a view that passes ``expected()`` to what writes."""
    view.__agora_guarded__ = True  # type: ignore[attr-defined]
    return view


def is_guarded(endpoint: str | None) -> bool:
    """Whether the view of an endpoint heeds ``If-Match``."""
    return bool(marked(endpoint, "__agora_guarded__"))


def expected() -> Expected:
    """What the request expects of the object that it changes. Raises Invalid."""
    match, none = _tags("If-Match"), _tags("If-None-Match")
    if none not in {None, ANY}:
        message = "If-None-Match of a write can only be *: it is done if there is no such object yet"
        raise invalid_field("/headers/If-None-Match", "entity-tag", message)
    # A weak tag never matches here (13.1.1).
    strong = None if match in {None, ANY} else {tag for tag in ONE.findall(match or "") if not tag.startswith("W/")}
    return Expected(
        editions=None if strong is None else frozenset(tag.strip('"').partition(".")[0] for tag in strong),
        exists=match == ANY,
        absent=none == ANY,
    )


def _tags(header: str) -> str | None:
    """A header of tags as it came, or ``*``; None when there is none. Raises Invalid."""
    given = request.headers.get(header)
    if given is None:
        return None
    if given.strip() == ANY:
        return ANY
    if not TAGS.fullmatch(given):
        message = f'{header} must be *, or entity tags in quotes, such as "5f2c", separated by commas'
        raise invalid_field(f"/headers/{header}", "entity-tag", message, given)
    return given


def refuse_unheeded() -> None:
    """Refuse a condition on a write that would not heed it: its caller would think that it does. Raises Invalid."""
    if request.method in SAFE or request.endpoint is None or request.blueprint in OWN_DOORS:
        return
    for header in ("If-Match", "If-None-Match"):
        if header in request.headers and not is_guarded(request.endpoint):
            message = f"{request.method} {request.path} cannot be made conditional: leave {header} out"
            raise invalid_field(f"/headers/{header}", "no-condition", message)


def note(found: Any) -> None:
    """Remember the edition of what is answered, for its tag."""
    edition = getattr(found, "edition", None)
    if edition is not None:
        g.edition = edition


def locate(path: str) -> None:
    """Say where that is which the answer of an edit shows, when it may be another than the one that was edited."""
    g.content_location = path


def unchanged_since(version: str | None) -> bool:
    """Whether the caller has the object of this version already, so that it need not be loaded. Raises Invalid.

    ``version`` names the rows that the answer is made of; None: what it is made of is not all rows.
    """
    if version is None:
        return False
    g.version = digest(f"{version} {g.get('api_version')} {request.full_path}".encode())
    given = _tags("If-None-Match")
    return given is not None and given != ANY and f'"{g.version}"' in {_opaque(tag) for tag in ONE.findall(given)}


def unchanged() -> Response:
    """The answer to who has it already."""
    return Response(status=NOT_MODIFIED)


def answer(response: Response) -> Response:
    """Tag an answer; leave its body out for who has it."""
    if request.blueprint in UNTAGGED or response.is_streamed or "ETag" in response.headers:
        return response
    if request.method not in READ:
        if "edition" in g and response.status_code // 100 == SUCCESS:
            place = g.get("content_location", request.path)
            if place == request.path:  # what was edited is another thing, and not this one's state
                response.headers["ETag"] = f'"{g.edition}"'
            if request.method in {"PUT", "PATCH"}:  # the body is what is there now (8.7)
                response.headers["Content-Location"] = place
        return response
    if response.status_code == NOT_MODIFIED or (response.status_code == OK and response.is_json):
        return _tagged_read(response)
    return response


def _tagged_read(response: Response) -> Response:
    tag = _tag_of(response)
    response.headers["ETag"] = tag
    match, none = _tags("If-Match"), _tags("If-None-Match")
    # A weak tag never matches If-Match (13.1.1).
    if match is not None and match != ANY and _strong(tag).isdisjoint(ONE.findall(match)):
        return _refused(response)
    if none is not None and (none == ANY or _opaque(tag) in {_opaque(one) for one in ONE.findall(none)}):
        response.status_code = NOT_MODIFIED
    if response.status_code == NOT_MODIFIED:
        response.set_data(b"")
        for header in ("Content-Type", "Content-Length"):
            response.headers.pop(header, None)
    return response


def _refused(response: Response) -> Response:
    """The same answer, which says of the version what it said, as a refusal."""
    problem = on_domain_error(PreconditionFailed("it is not, or no longer, what If-Match names"))
    response.status_code = problem.status_code
    response.set_data(problem.get_data())
    response.headers["Content-Type"] = problem.headers["Content-Type"]
    return response


def _tag_of(response: Response) -> str:
    if "version" in g:
        return f'W/"{g.version}"'
    body = digest(response.get_data())
    return f'"{g.edition}.{body}"' if "edition" in g else f'"{body}"'


def _strong(tag: str) -> set[str]:
    """The tags of ``If-Match`` that this answer has: its own, and its edition's alone, as a write answers it."""
    if tag.startswith("W/"):
        return set()
    return {tag, f'"{g.edition}"'} if "edition" in g else {tag}


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")


def check_read() -> None:
    """Refuse conditions that are none before anything is read. Raises Invalid."""
    if request.method in READ and request.blueprint not in UNTAGGED:
        for header in ("If-Match", "If-None-Match"):
            _tags(header)


def check() -> None:
    """Refuse conditions that would not be heeded. Raises Invalid."""
    check_read()
    refuse_unheeded()


def install(app: Flask) -> None:
    """Apply to every answer. Requests are checked by :func:`check`, once it is known which version they speak."""
    app.after_request(answer)
