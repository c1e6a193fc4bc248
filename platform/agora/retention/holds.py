"""Legal holds: while one is in force, no job is removed whose metadata contains its metadata, whenever it was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import is_id, new_id
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.retention import queries
from agora.retention.models import HoldRow

MAX_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold(Edited):
    """A hold with who made and released it (ids of API keys), and when. In force while ``released_at`` is None."""

    id: str
    name: str
    metadata: Mapping[str, Any]
    created_by: str | None
    created_at: datetime
    released_by: str | None
    released_at: datetime | None


def _view(row: HoldRow) -> Hold:
    return Hold(
        id=row.id, name=row.name, metadata=row.labels, created_by=row.created_by, created_at=row.created_at,
        released_by=row.released_by, released_at=row.released_at,
    )  # fmt: skip


def _told(row: HoldRow) -> dict[str, Any]:
    """A hold as the audit log tells of it."""
    return {"name": row.name, "metadata": row.labels}


def create_hold(
    name: str,
    metadata: Mapping[str, Any],
    *,
    team_id: str,
    key_id: str | None = None,
    idempotency: IdempotencyKey | None = None,
) -> tuple[Hold, bool]:
    """Put jobs on hold; returns the hold and whether this was a repeat. Once it returns, no matching job is removed.

    Raises:
        Invalid: the metadata is empty (it would hold every job) or too long.
    """
    if not metadata:
        raise invalid_field("/metadata", "min-properties", "metadata must name what is to be held; {} would be all", {})
    if len(json.dumps(dict(metadata))) > MAX_BYTES:
        raise invalid_field("/metadata", "max-bytes", f"metadata must have at most {MAX_BYTES} bytes of JSON")
    hold_id = new_id("hld")
    with transaction() as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=hold_id)
        if known is None:
            queries.wait_for_removals(session)
            row = queries.insert_hold(
                session, team_id=team_id, hold_id=hold_id, name=name, metadata=metadata, key_id=key_id
            )
            audit.record(session, "hold.created", row.id, team_id=team_id, after=_told(row))
            return _view(row), False
    return get_hold(known, team_id=team_id), True


def get_hold(hold_id: str, *, team_id: str) -> Hold:
    """A hold. Raises NotFound."""
    with transaction() as session:
        return _view(_find(session, hold_id, team_id=team_id))


def _find(session: Session, hold_id: str, *, team_id: str, lock: bool = False) -> HoldRow:
    row = queries.find_hold(session, team_id=team_id, hold_id=hold_id, lock=lock) if is_id(hold_id, "hld") else None
    if row is None:
        raise NotFound(f"there is no hold {hold_id}")
    return row


def list_holds(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST, released: bool = False
) -> Page[Hold]:  # fmt: skip
    """A page of holds; with ``released`` also those that have ended. Raises Invalid for a cursor that is none."""
    span = Span.of_ids("hld", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = queries.list_holds(session, team_id=team_id, span=span, released=released)
    return cut([_view(row) for row in rows], span)


def release_hold(
    hold_id: str, *, team_id: str, key_id: str | None = None, expected: Expected = ANYTHING
) -> Hold:  # fmt: skip
    """End a hold; what it kept goes when its time has come. A repeat changes nothing.

    Raises NotFound, PreconditionFailed.
    """
    with transaction() as session:
        row = _find(session, hold_id, team_id=team_id, lock=True)
        expected.check(_view(row))
        if queries.release_hold(session, team_id=team_id, hold_id=hold_id, key_id=key_id):
            audit.record(session, "hold.released", hold_id, team_id=team_id, before=_told(row))
    return get_hold(hold_id, team_id=team_id)
