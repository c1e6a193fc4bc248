"""Write and read the audit log. Writing is one INSERT in the transaction of what is done: both happen or neither."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import acting, queries
from agora.audit.acting import Actor
from agora.audit.actions import ACTIONS, HIDDEN, Action
from agora.audit.models import EntryRow
from agora.audit.types import Entry, Filter
from agora.clock import now
from agora.db.session import transaction
from agora.errors import invalid_field
from agora.ids import new_id, twin_id
from agora.paging import NEWEST_FIRST, Page, Span, cut

MAX_VALUE = 2_000
"""Characters of JSON that a value may have; of a longer one its size and digest are kept."""
MAX_TEXT = 300
EXACT = 2**53
"""Beyond it, JSON's readers do not agree on an integer."""
SLICE = 500

Change = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Fields before and after."""


def record(
    session: Session, action: str, object_id: str, *, team_id: str | None, before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None, actor: Actor | None = None,
) -> None:  # fmt: skip
    """Note what was done, in the caller's transaction, of whichever database. ``team_id`` None: of the actor's team.

    What is the same before and after is left out; a change that changed nothing is not noted. Without ``actor``,
    whoever acts in this context did it.
    """
    who = actor or acting.actor()
    team = team_id or who.team_id or acting.PLATFORM
    record_for(session, action, object_id, team_ids=[team], before=before, after=after, actor=who)


def record_for(
    session: Session, action: str, object_id: str, *, team_ids: Sequence[str],
    before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None, actor: Actor | None = None,
) -> None:  # fmt: skip
    """As :func:`record`, in the logs of several teams; of none: in the platform's own."""
    said = _said(action, object_id, (before or {}, after or {}), actor or acting.actor())
    rows = [{"id": new_id("aud"), "team_id": team, **said} for team in team_ids or [acting.PLATFORM]]
    if not _is_nothing(said, before, after):
        queries.insert_entries(session, rows)


def record_of_user(
    session: Session, action: str, object_id: str, *, after: Mapping[str, Any], actor: Actor
) -> None:  # fmt: skip
    """As :func:`record_for`, of all teams of a user, by :func:`spread` later: one row, however many teams they have."""
    queries.insert_of_user(session, {"id": new_id("aud"), **_said(action, object_id, ({}, after), actor)})


def spread(
    session: Session, teams_of: Callable[[Collection[str]], Mapping[str, Sequence[str]]], *, slice_: int, most: int
) -> int:
    """Write what :func:`record_of_user` has left into the logs of the teams that ``teams_of`` finds; how many rows.

    What is of no user's is in the platform's own. Each entry has the time of what it tells of, and its id, too. Of a
    slice, as many rows as become ``most`` entries, and one at least: a user may be in many teams.
    """
    rows = queries.lock_of_users(session, slice_=slice_)
    teams = teams_of({row["object_id"] for row in rows}) if rows else {}
    entries, done = list[dict[str, Any]](), list[str]()
    for row in rows:
        meant = teams.get(row["object_id"]) or [acting.PLATFORM]
        if entries and len(entries) + len(meant) > most:
            break
        entries += [{**row, "id": twin_id(row["id"]), "team_id": team_id} for team_id in meant]
        done.append(row["id"])
    if entries:
        queries.insert_entries(session, entries)
        queries.forget_of_users(session, done)
    return len(done)


def record_all(session: Session, action: str, changes: Mapping[str, Change], *, team_id: str) -> None:
    """As :func:`record`, for many objects at once: what each was before and is after, by its id."""
    who = acting.actor()
    rows = [
        {"id": new_id("aud"), "team_id": team_id, **_said(action, object_id, change, who)}
        for object_id, change in changes.items()
    ]
    if rows:
        queries.insert_entries(session, rows)


def _said(action: str, object_id: str, change: Change, who: Actor) -> dict[str, Any]:
    known = ACTIONS[action]
    old, new = _changes(known, *change)
    return {
        "at": now(), "actor_kind": who.kind, "actor_id": who.id, "actor_name": who.name[:MAX_TEXT], "action": action,
        "object_type": known.object_type, "object_id": object_id[:MAX_TEXT], "address": who.address,
        "request_id": who.request_id, "before": old, "after": new,
    }  # fmt: skip


def _is_nothing(said: Mapping[str, Any], before: object, after: object) -> bool:
    return bool(before and after) and not said["before"] and not said["after"]


def _changes(
    action: Action, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """What changed, as it may be seen. Raises ValueError for a field that the action's lists do not name."""
    unknown = (before.keys() | after.keys()) - action.shown - action.hidden
    if unknown:
        raise ValueError(f"{action.name}: {min(unknown)} is neither among its shown fields nor its hidden ones")
    same = {name for name in before.keys() & after.keys() if before[name] == after[name]}
    old, new = (
        {name: _seen(action, name, value) for name, value in side.items() if name not in same}
        for side in (before, after)
    )
    return old, new


def _seen(action: Action, name: str, value: Any) -> Any:
    if name in action.hidden:
        return HIDDEN if value else None
    found = _plain(value)
    written = json.dumps(found, ensure_ascii=False)
    if len(written) <= MAX_VALUE:
        return found
    return {"characters": len(written), "sha256": hashlib.sha256(written.encode()).hexdigest()}


def _plain(value: Any) -> Any:
    """A value as JSON, and the same once it has been in the database: no number that two readers read differently."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, datetime):
        return told(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, float | Decimal) and value == int(value):
        value = int(value)
    if isinstance(value, int):
        return value if abs(value) < EXACT else str(value)
    return float(value) if isinstance(value, float | Decimal) else str(value)


def told(moment: datetime) -> str:
    """A time in UTC, to the microsecond: always 27 characters."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def view(row: EntryRow) -> Entry:
    """A row as the value that callers get."""
    names = [name for name in Entry.__slots__ if name != "hash"]
    known: dict[str, Any] = {name: getattr(row, name) for name in names}
    return Entry(**known, hash=None if row.hash is None else row.hash.hex())


def list_entries(
    filters: Filter, *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[Entry]:
    """A page of a team's entries. Raises Invalid for a cursor that is none, or an unknown action."""
    span = Span.of_ids("aud", limit=limit, cursor=cursor, sort=sort)
    _check_action(filters.action)
    with transaction("auth") as session:
        rows = queries.list_entries(session, team_id=team_id, filters=filters, span=span)
        return cut([view(row) for row in rows], span)


def _check_action(action: str | None) -> None:
    """A misspelt action must not answer that nothing was done."""
    if action is None:
        return
    known = any(one.startswith(action[:-1]) for one in ACTIONS) if action.endswith("*") else action in ACTIONS
    if not known:
        message = "action must be one of docs/audit.md, or the beginning of some with * at its end, such as key.*"
        raise invalid_field("/action", "enum", message, action)


def all_entries(filters: Filter, *, team_id: str) -> Iterator[Sequence[Entry]]:
    """Every entry that a filter finds, newest first, in slices that are each read by themselves. Raises Invalid."""
    cursor: str | None = None
    while True:
        page = list_entries(filters, team_id=team_id, limit=SLICE, cursor=cursor)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return
