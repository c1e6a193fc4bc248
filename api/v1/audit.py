"""The audit log of the caller's team, and for administrators the platform's own: listed, and exported as a sheet."""

import csv
import errno
import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flask import Response, json

from agora.audit import service
from agora.audit.acting import PLATFORM
from agora.audit.types import Entry, Filter
from agora.paging import Page
from api import capacity
from api.auth import principal, scope, still_may, team_id
from api.blueprint import Blueprint
from api.schemas.audit import AuditArgs, AuditFilter, EntryOut, EntryPage
from api.shaping import listed

CSV = "text/csv"
READ, READ_PLATFORM = "audit:read", "system:audit:read"
OBJECTS = frozenset({"before", "after"})
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What spreadsheets take for the beginning of a formula."""
ASK_SECONDS = 2.0
"""How often a sheet asks whether its caller is still let in."""
PIECE = 16 * 1024
"""Characters that are sent at once: a client has AGORA_READ_SECONDS to take them."""

blueprint = Blueprint("audit", __name__, url_prefix="/api/v1", description="Who did what: append-only, chained.")
platform = Blueprint(
    "system-audit", __name__, url_prefix="/api/v1/system", description="Who did what that concerns no team."
)
_shown = EntryOut()


@blueprint.get("/audit")
@scope(READ)
@blueprint.arguments(listed(AuditArgs, EntryOut), location="query")
@blueprint.response(200, EntryPage)
def list_entries(query: dict[str, Any]) -> Any:
    """List entries, newest first. What was just done is there within a second or two."""
    return _page(query, team_id())


@blueprint.get("/audit.csv")
@scope(READ)
@blueprint.arguments(AuditFilter, location="query")
@blueprint.response(200, {"type": "string"}, content_type=CSV)
def export_entries(query: dict[str, Any]) -> Response:
    """Every entry that the filter finds, newest first, as CSV (RFC 4180), streamed.

    A cell that a spreadsheet would take for a formula begins with an apostrophe. It counts as a stream, and is broken
    off when its caller may no longer read the log.
    """
    return _sheet(query, team_id(), READ)


@platform.get("/audit")
@scope(READ_PLATFORM)
@platform.arguments(listed(AuditArgs, EntryOut), location="query")
@platform.response(200, EntryPage)
def list_platform_entries(query: dict[str, Any]) -> Any:
    """List entries of what concerns no team, newest first: administrators, tiers, keys that sign, erased teams."""
    return _page(query, PLATFORM)


@platform.get("/audit.csv")
@scope(READ_PLATFORM)
@platform.arguments(AuditFilter, location="query")
@platform.response(200, {"type": "string"}, content_type=CSV)
def export_platform_entries(query: dict[str, Any]) -> Response:
    """Every entry of them that the filter finds, newest first, as CSV (RFC 4180), streamed."""
    return _sheet(query, PLATFORM, READ_PLATFORM)


def _page(query: dict[str, Any], of: str) -> Page[Entry]:
    where = {name: query.pop(name) for name in ("limit", "cursor", "sort")}
    return service.list_entries(Filter(**query), team_id=of, **where)


def _sheet(query: dict[str, Any], of: str, needed: str) -> Response:
    slices = service.all_entries(Filter(**query), team_id=of)
    first = next(slices)  # what is wrong with the filter is told before the answer begins
    key_id = principal().actor_id
    capacity.take(key_id)
    rows = _lines(itertools.chain([first], slices), still_may(needed))
    response = Response(rows, content_type=f"{CSV}; charset=utf-8; header=present")
    response.headers["Content-Disposition"] = 'attachment; filename="audit.csv"'
    response.call_on_close(lambda: capacity.give_back(key_id))
    return response


def _lines(slices: Iterable[Sequence[Entry]], is_let_in: Callable[[], bool]) -> Iterator[str]:
    names = list(_shown.fields)
    yield _written([names])
    asked = time.monotonic()
    for entries in slices:
        if time.monotonic() - asked > ASK_SECONDS:
            if not is_let_in():
                # The connection breaks: a sheet that merely ended here would look whole.
                raise ConnectionResetError(errno.ECONNRESET, "the caller may no longer read the audit log")
            asked = time.monotonic()
        if entries:
            told = [_shown.dump(one) for one in entries]
            text = _written([[_cell(name, one[name]) for name in names] for one in told])
            yield from (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _written(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, sort_keys=True) if name in OBJECTS else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
