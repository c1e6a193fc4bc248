"""What callers do with bulk actions: preview, begin, look, stop."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.bulk import queries
from agora.bulk.models import BulkRow, ItemRow
from agora.bulk.types import (
    ACTIONS,
    CANCEL,
    FORK,
    OUTCOMES,
    RETRY,
    RUNNING,
    Bulk,
    Item,
    NewBulk,
    Preview,
)
from agora.db.session import transaction
from agora.errors import IllegalTransition, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import is_id, new_id
from agora.jobs import list_queries, views
from agora.jobs.intake import check_metadata
from agora.jobs.lineage import RETRIED
from agora.jobs.states import JOB_OPEN, JobState
from agora.jobs.types import JobFilter
from agora.paging import NEWEST_FIRST, Page, Span, cut

SAMPLE = 10
"""Jobs that a dry run shows."""
REASONS_COUNTED = 10_000
OPTIONS: Mapping[str, frozenset[str]] = {
    CANCEL: frozenset({"reason"}),
    RETRY: frozenset({"from_step", "version", "priority", "metadata"}),
    FORK: frozenset({"from_step", "version", "priority", "metadata", "input"}),
}
"""What each action takes."""
CONCERNED: Mapping[str, frozenset[JobState]] = {
    CANCEL: JOB_OPEN, RETRY: frozenset(RETRIED), FORK: frozenset(JobState),
}  # fmt: skip
"""Jobs in other states are not looked at."""


def preview(new: NewBulk, *, team_id: str) -> Preview:
    """What a bulk action would find, without doing it. Raises Invalid."""
    filters = _checked(new)
    with transaction() as session:
        matched = queries.count_matches(session, team_id=team_id, filters=filters)
        rows = list_queries.list_jobs(session, team_id=team_id, filters=filters, span=Span(SAMPLE))
        return Preview(matched=matched, sample=[views.job(row) for row in rows])


def begin(
    new: NewBulk, *, team_id: str, key_id: str | None = None, idempotency: IdempotencyKey | None = None
) -> tuple[Bulk, bool]:
    """Begin a bulk action over the jobs that there are now; also whether this was a repeat.

    The dispatcher carries it out. Raises Invalid, IdempotencyKeyReused.
    """
    filters = _checked(new)
    bulk_id = new_id("blk")
    with transaction() as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=bulk_id)
        if known is not None:
            return _shown(session, _find(session, known, team_id=team_id)), True
        row = queries.insert_bulk(
            session, team_id=team_id, id=bulk_id, key_id=key_id, action=new.action, filter=as_json(filters),
            options={name: value for name, value in new.options.items() if value is not None},
            matched=queries.count_matches(session, team_id=team_id, filters=filters),
        )  # fmt: skip
        told = {"action": row.action, "filter": row.filter, "matched": row.matched, **row.options}
        audit.record(session, "bulk.created", row.id, team_id=team_id, after=told)
        return _shown(session, row), False


def _checked(new: NewBulk) -> JobFilter:
    """The filter with the states that the action concerns. Raises Invalid."""
    if new.action not in ACTIONS:
        raise invalid_field("/action", "enum", f"action must be one of {', '.join(ACTIONS)}", new.action)
    if not any(asdict(new.filter).values()) and not new.everything:
        message = "an empty filter finds every job of the team; say `all: true` if that is meant"
        raise invalid_field("/filter", "not-empty", message)
    _check_options(new)
    concerned = CONCERNED[new.action]
    wanted = set(new.filter.statuses or concerned)
    unknown = sorted(wanted - set(JobState))
    if unknown:
        raise invalid_field("/filter/status", "enum", f"status must be one of {', '.join(JobState)}", unknown[0])
    statuses = tuple(sorted(wanted & concerned))
    if not statuses:
        message = f"to {new.action} concerns {', '.join(sorted(concerned))} jobs only"
        raise invalid_field("/filter/status", "concerned", message, list(new.filter.statuses))
    return replace(new.filter, statuses=statuses if len(statuses) < len(JobState) else ())


def _check_options(new: NewBulk) -> None:
    given = {name for name, value in new.options.items() if value not in (None, "")}
    surplus = sorted(given - OPTIONS[new.action])
    if surplus:
        message = f"to {new.action} takes {', '.join(sorted(OPTIONS[new.action]))}, not {surplus[0]}"
        raise invalid_field(f"/{surplus[0]}", "unknown-field", message)
    if new.action == FORK and "from_step" not in given:
        raise invalid_field("/from_step", "required", "a fork begins at a step: give from_step")
    check_metadata(new.options.get("metadata") or {})


def as_json(filters: JobFilter) -> dict[str, Any]:
    """A filter as its row keeps it."""
    given = {name: value for name, value in asdict(filters).items() if value}
    return {
        name: value.isoformat() if isinstance(value, datetime) else list(value) if name == "statuses" else value
        for name, value in given.items()
    }


def from_json(kept: Mapping[str, Any]) -> JobFilter:
    """The filter that a row keeps."""
    given = dict(kept)
    for name in ("created_after", "created_before"):
        if name in given:
            given[name] = datetime.fromisoformat(given[name])
    if "statuses" in given:
        given["statuses"] = tuple(given["statuses"])
    return JobFilter(**given)


def get_bulk(bulk_id: str, *, team_id: str) -> Bulk:
    """A bulk action and how far it has come. Raises NotFound."""
    with transaction() as session:
        return _shown(session, _find(session, bulk_id, team_id=team_id))


def list_bulks(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[Bulk]:  # fmt: skip
    """A page of bulk actions. Raises Invalid for a cursor that is none."""
    span = Span.of_ids("blk", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = queries.list_bulks(session, team_id=team_id, span=span)
        page = cut(rows, span)
        items = [_shown(session, row, reasons=False) for row in page.items]
    return Page(items=items, next_cursor=page.next_cursor)


def list_items(
    bulk_id: str, *, team_id: str, outcome: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[Item]:
    """A page of the jobs that a bulk action dealt with, in order of their ids. Raises NotFound, Invalid."""
    if cursor is not None and not is_id(cursor, "job"):
        raise invalid_field("/cursor", "cursor", "cursor must come from next_cursor of a list of items", cursor)
    if outcome is not None and outcome not in OUTCOMES:
        raise invalid_field("/outcome", "enum", f"outcome must be one of {', '.join(OUTCOMES)}", outcome)
    with transaction() as session:
        _find(session, bulk_id, team_id=team_id)
        rows = queries.list_items(
            session, team_id=team_id, bulk_id=bulk_id, outcome=outcome, after=cursor or "", limit=limit + 1
        )
        items = [_item(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=items[-1].job_id if len(rows) > limit else None)


def cancel_bulk(bulk_id: str, *, team_id: str) -> Bulk:
    """Stop a bulk action; what it has done stays done.

    Raises:
        NotFound: the team has no such bulk action.
        IllegalTransition: it has ended.
    """
    with transaction() as session:
        row = _find(session, bulk_id, team_id=team_id)
        if not queries.request_cancel(session, team_id=team_id, bulk_id=bulk_id):
            raise IllegalTransition(f"bulk action {bulk_id} is {row.status}", state=row.status, allowed=[])
        session.refresh(row)
        told = {"status": row.status, "done": row.done, "failed": row.failed}
        audit.record(session, "bulk.cancelled", bulk_id, team_id=team_id, before=told)
        return _shown(session, row)


def _find(session: Session, bulk_id: str, *, team_id: str) -> BulkRow:
    row = queries.find_bulk(session, team_id=team_id, bulk_id=bulk_id) if is_id(bulk_id, "blk") else None
    if row is None:
        raise NotFound(f"there is no bulk action {bulk_id}")
    return row


def _shown(session: Session, row: BulkRow, *, reasons: bool = True) -> Bulk:
    dealt = row.done + row.failed
    counted: Mapping[str, int] = {}
    if reasons and row.failed:
        counted = queries.count_reasons(session, team_id=row.team_id, bulk_id=row.id, limit=REASONS_COUNTED)
    running = row.status == RUNNING
    return Bulk(
        id=row.id, team_id=row.team_id, action=row.action, filter=row.filter, options=row.options, status=row.status,
        matched=row.matched, done=row.done, failed=row.failed,
        remaining=max(0, row.matched - dealt) if running else 0,
        progress=min(1.0, dealt / row.matched) if running and row.matched else float(not running),
        reasons=counted, cancel_requested_at=row.cancel_requested_at, created_at=row.created_at,
        ended_at=row.ended_at,
    )  # fmt: skip


def _item(row: ItemRow) -> Item:
    return Item(
        job_id=row.job_id, outcome=row.outcome, new_job_id=row.new_job_id, error=row.error, created_at=row.created_at
    )
