"""Which version a request speaks, and what its answer says about that.

The header `Agora-Version` decides; without it, what the API key is pinned to; without a key, the oldest version, so
that a program that says nothing is answered as it was on its first day.
"""

from datetime import UTC
from email.utils import format_datetime

from flask import Flask, Response, g, request

from agora.api_versions import HEADER, NEWEST
from agora.clock import now
from agora.errors import NotFound, Unavailable, VersionRetired, invalid_field
from agora.identity import uses
from agora.settings import get_settings
from api.versions import registry, translate
from api.versions.registry import Registry

READ = frozenset({"GET", "HEAD"})
DOCUMENT = "api-docs.openapi_json"
"""Describes the newest version, unless another is asked for."""


def _registry() -> Registry | None:
    major = registry.MAJORS.named(request.path)
    return None if major is None else registry.MAJORS.known.get(major)


def begin_request() -> None:
    """Find the request's version.

    Raises:
        NotFound: the path names a major that there is not, or an operation that this version has no longer.
        Invalid: the header names no version.
        VersionRetired: the operator takes that version no longer.
        Unavailable: the key is pinned to a version that is newer than this process.
    """
    major = registry.MAJORS.named(request.path)
    if major is None:
        return
    known = registry.MAJORS.known.get(major)
    if known is None:
        there = ", ".join(f"/api/{name}" for name in registry.MAJORS.known)
        raise NotFound(f"there is no /api/{major}; there is {there}")
    silent = HEADER not in request.headers
    version = g.api_version = known.newest if silent and request.endpoint == DOCUMENT else _spoken(known)
    _refuse_retired(known, version)
    gone = known.removed.get(request.endpoint or "")
    if gone is not None and version >= gone:
        raise NotFound(f"this operation is gone since {gone}; {HEADER} of before has it")
    g.version_changes = known.between(version, request.endpoint)


def _spoken(known: Registry) -> str:
    given = request.headers.get(HEADER)
    if given is not None:
        if given not in known.dates:
            raise invalid_field(
                f"/headers/{HEADER}", "api-version", f"{HEADER} must be one of {', '.join(known.dates)}", given[:50]
            )
        return given
    pinned = g.principal.api_version if "principal" in g else None
    if pinned is None:
        return known.oldest
    if pinned > NEWEST:  # while hosts are upgraded one by one, or after a step back
        raise Unavailable(f"the key is pinned to {pinned}, and this process knows {NEWEST} at most")
    return known.at(pinned)


def _presumed(known: Registry) -> str:
    """What a request speaks that was refused before that was looked at, with a header that may be none."""
    given, pinned = request.headers.get(HEADER), g.principal.api_version if "principal" in g else None
    if given in known.dates:
        return str(given)
    return known.oldest if pinned is None else known.at(min(pinned, NEWEST))


def version_for_new_key() -> str:
    """What a key that this request makes is pinned to: what the request speaks, if it said so, else the newest.

    A program of before that hands out keys hands them to programs of before.
    """
    said = HEADER in request.headers or g.principal.api_version is not None
    return str(g.api_version) if said else NEWEST


def _refuse_retired(known: Registry, version: str) -> None:
    found = known.deprecated(version)
    if found is None or found.sunset is None or get_settings().sunset != "refuse" or now() < found.sunset:
        return
    raise VersionRetired(
        f"{version} is retired since {found.sunset.date()}; send {HEADER}: {known.newest}, and see /versions",
        version=version, newest=known.newest,
    )  # fmt: skip


def end_request(response: Response) -> Response:
    """Make the answer into one of the version, say which it is, and whether it will go."""
    known = _registry()
    if known is None:
        return response
    if request.method in READ:  # nobody keeps the answer to a write
        response.vary.add(HEADER)
    version = g.get("api_version")
    if version is None:  # refused before it could be asked for
        version = _presumed(known)
    response.headers[HEADER] = version
    translate.older_answer(response)
    _tell_of_sunset(response, known, version)
    return response


def _tell_of_sunset(response: Response, known: Registry, version: str) -> None:
    found = known.deprecated(version)
    if found is None:
        return
    response.headers["Deprecation"] = f"@{int(found.since.timestamp())}"  # RFC 9745, a date of RFC 9651
    if found.sunset is not None:
        response.headers["Sunset"] = format_datetime(found.sunset.astimezone(UTC), usegmt=True)  # RFC 8594
    response.headers.add("Link", f'</versions/{found.successor}>; rel="successor-version"')
    response.headers.add("Link", f'</versions/{version}>; rel="deprecation"; type="text/html"')
    if "principal" in g:
        features = {f"version.{version}", *g.get("used_changes", ())}
        uses.note(g.principal.team_id, g.principal.actor_id, features)


def install(app: Flask) -> None:
    """Apply to every request of the API. After authentication, which finds the key; before bodies are read."""
    app.before_request(begin_request)
    app.after_request(end_request)
