"""SQL that sends deliveries again: one by hand, or those of a replay in slices.

Lock order, as everywhere: endpoints by id, then deliveries.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text
from sqlalchemy.orm import Session, aliased

from agora.ids import CLOCKS, floor_id
from agora.paging import Span
from agora.webhooks.models import DeliveryRow, EndpointRow, ReplayRow
from agora.webhooks.operation_types import CANCELLED, COMPLETED, RUNNING, ReplayFilter

COUNTED = 1_000_000
"""Deliveries that a count looks at, the newest."""
OLDEST = datetime(1970, 1, 2, tzinfo=UTC)
"""Ids tell no time before 1970."""

# Numbers in the log of tries go on where they were; it counts in small integers, however often somebody sends again.
_ANEW = """
    attempt = 0, earlier_attempts = LEAST(d.earlier_attempts + d.attempt, 32000), lost_leases = 0,
    next_attempt_at = now(), order_key = NULL, place = NULL, ended_at = NULL
"""


def lock_delivery(session: Session, *, team_id: str, delivery_id: str) -> DeliveryRow | None:
    """A delivery as it is now, locked; the caller has locked its endpoint."""
    statement = select(DeliveryRow).where(DeliveryRow.id == delivery_id, DeliveryRow.team_id == team_id)
    return session.scalar(statement.with_for_update().execution_options(populate_existing=True))


RESEND = text(f"""
UPDATE webhook_deliveries d
SET status = CASE e.status WHEN 'active' THEN 'pending' ELSE 'held' END, {_ANEW}
FROM webhook_endpoints e
WHERE d.id = :delivery_id AND d.team_id = :team_id AND d.status IN ('succeeded', 'exhausted') AND e.id = d.endpoint_id
""")
HURRY = text("""
UPDATE webhook_deliveries d
SET status = CASE e.status WHEN 'active' THEN 'pending' ELSE d.status END, next_attempt_at = now()
FROM webhook_endpoints e
WHERE d.id = :delivery_id AND d.team_id = :team_id AND d.status IN ('pending', 'held') AND e.id = d.endpoint_id
""")
LOOK = text("""
UPDATE webhook_endpoints SET next_due_at = LEAST(next_due_at, GREATEST(now(), open_until))
WHERE id = :endpoint_id AND team_id = :team_id AND status = 'active'
""")


def send_again(session: Session, *, team_id: str, delivery: DeliveryRow) -> None:
    """Let a delivery that the caller has locked be sent now: an ended one anew, an open one before its time."""
    parameters = {"delivery_id": delivery.id, "team_id": team_id}
    session.execute(RESEND if delivery.ended_at is not None else HURRY, parameters)
    session.execute(LOOK, {"endpoint_id": delivery.endpoint_id, "team_id": team_id})
    session.refresh(delivery)


def _in_scope(team_id: str, endpoint_id: str | None, filters: ReplayFilter) -> Select[Any]:
    """The deliveries that an index finds."""
    found = select(DeliveryRow).where(DeliveryRow.team_id == team_id)
    if endpoint_id is not None:
        found = found.where(DeliveryRow.endpoint_id == endpoint_id)
    if filters.job_id is not None:
        found = found.where(DeliveryRow.job_id == filters.job_id)
    if filters.since is not None:
        found = found.where(DeliveryRow.id >= floor_id("whd", max(filters.since, OLDEST) - CLOCKS))
    return found


def _fits(row: type[DeliveryRow], filters: ReplayFilter, made: Any) -> ColumnElement[bool]:
    """What is looked at in each of them. Those that ended after ``made`` are for another replay."""
    found = [row.status.in_(filters.statuses), row.ended_at <= made]
    if filters.event_types and "*" not in filters.event_types:
        starts = [one.removesuffix("*") for one in filters.event_types if one.endswith("*")]
        named = [row.event_type.startswith(start, autoescape=True) for start in starts]
        found.append(or_(row.event_type.in_(filters.event_types), *named))
    if filters.since is not None:
        found.append(row.created_at >= filters.since)
    if filters.until is not None:
        found.append(row.created_at <= filters.until)
    if filters.ended_since is not None:
        found.append(row.ended_at >= filters.ended_since)
    found.append(select(EndpointRow.id).where(EndpointRow.id == row.endpoint_id).exists())
    return and_(*found)


def count_matches(session: Session, *, team_id: str, endpoint_id: str | None, filters: ReplayFilter) -> int:
    """How many deliveries fit now, of the newest million."""
    newest = _in_scope(team_id, endpoint_id, filters).order_by(DeliveryRow.id.desc()).limit(COUNTED).subquery()
    row = aliased(DeliveryRow, newest)
    counted: Select[Any] = select(func.count()).select_from(row).where(_fits(row, filters, func.now()))
    return session.scalar(counted) or 0


def _slice(team_id: str, replay: ReplayRow, filters: ReplayFilter, scan: int) -> Select[Any, Any, Any]:
    before = floor_id("whd", replay.created_at + CLOCKS)
    scope = _in_scope(team_id, replay.endpoint_id, filters)
    scope = scope.where(DeliveryRow.id > replay.after, DeliveryRow.id < before).order_by(DeliveryRow.id).limit(scan)
    row = aliased(DeliveryRow, scope.subquery())
    return select(row.id, row.endpoint_id, _fits(row, filters, replay.created_at).label("fits")).order_by(row.id)


def list_slice(
    session: Session, *, team_id: str, replay: ReplayRow, filters: ReplayFilter, scan: int
) -> tuple[str | None, Sequence[tuple[str, str]]]:
    """Look at the next ``scan`` deliveries of a replay: the last one's id, None at the end; and which of them fit.

    These come as pairs of delivery and endpoint.
    """
    seen = session.execute(_slice(team_id, replay, filters, scan)).all()
    return seen[-1].id if len(seen) == scan else None, [(one.id, one.endpoint_id) for one in seen if one.fits]


LOCK_ENDPOINTS = text("""
SELECT id FROM webhook_endpoints WHERE team_id = :team_id AND id = ANY(:endpoint_ids) ORDER BY id FOR NO KEY UPDATE
""")
HOLD_AGAIN = text(f"""
WITH chosen AS MATERIALIZED (
    SELECT id FROM webhook_deliveries
    WHERE id = ANY(:ids) AND team_id = :team_id AND endpoint_id = ANY(:endpoint_ids)
      AND status = ANY(:statuses) AND ended_at <= :made
    ORDER BY id
    FOR UPDATE
), moved AS (
    UPDATE webhook_deliveries d SET status = 'held', {_ANEW} FROM chosen WHERE d.id = chosen.id
    RETURNING d.endpoint_id
), drained AS (
    UPDATE webhook_endpoints e SET draining = true
    WHERE e.id IN (SELECT endpoint_id FROM moved) AND e.status = 'active' AND NOT e.draining
)
SELECT count(*) FROM moved
""")


def hold_again(
    session: Session,
    *,
    team_id: str,
    found: Sequence[tuple[str, str]],
    statuses: Sequence[str],
    made: datetime,
) -> int:
    """Put deliveries, given with their endpoints, in line to be sent again: held, and released at the pace of a drain.

    What has left these states meanwhile, or ended anew since ``made``, is let alone. Those of endpoints that are not
    active stay held until they are resumed. Returns how many were put in line.
    """
    given = {"team_id": team_id, "endpoint_ids": sorted({endpoint_id for _, endpoint_id in found})}
    there = session.scalars(LOCK_ENDPOINTS, given).all()
    parameters = {
        "team_id": team_id, "ids": [delivery_id for delivery_id, _ in found], "endpoint_ids": list(there),
        "statuses": list(statuses), "made": made,
    }  # fmt: skip
    return int(session.execute(HOLD_AGAIN, parameters).scalar_one())


def insert_replay(session: Session, *, team_id: str, **columns: Any) -> ReplayRow:
    """Insert a replay."""
    row = ReplayRow(team_id=team_id, **columns)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def find_replay(session: Session, *, team_id: str, replay_id: str, lock: bool = False) -> ReplayRow | None:
    """One replay of the team."""
    statement = select(ReplayRow).where(ReplayRow.id == replay_id, ReplayRow.team_id == team_id)
    return session.scalar(statement.with_for_update() if lock else statement)


def list_replays(session: Session, *, team_id: str, span: Span) -> Sequence[ReplayRow]:
    """Replays."""
    statement = select(ReplayRow).where(ReplayRow.team_id == team_id)
    return session.scalars(span.of(statement, ReplayRow.id)).all()


def lock_next(session: Session) -> ReplayRow | None:
    """The open replay that was let alone longest, of any team, locked; None when there is none, or others are at it."""
    statement = select(ReplayRow).where(ReplayRow.status == RUNNING).order_by(ReplayRow.touched_at).limit(1)
    return session.scalar(statement.with_for_update(skip_locked=True))


def advance(session: Session, *, replay: ReplayRow, after: str | None, moved: int) -> None:
    """Note how far a replay that the caller has locked has come; ``after`` None: it is completed."""
    replay.done += moved
    replay.touched_at = func.clock_timestamp()
    if after is not None:
        replay.after = after
    else:
        replay.skipped = max(0, replay.matched - replay.done)
        end(session, replay=replay, status=COMPLETED)
    session.flush()


def end(session: Session, *, replay: ReplayRow, status: str = CANCELLED) -> None:
    """End a replay that the caller has locked."""
    replay.status, replay.ended_at = status, func.clock_timestamp()
    session.flush()
    session.refresh(replay)


FORGET = text("""
DELETE FROM webhook_replays WHERE id IN (
    SELECT id FROM webhook_replays
    WHERE id < :before AND ended_at < now() - make_interval(days => :days) ORDER BY id LIMIT :limit)
""")


def forget_replays(session: Session, *, before: str, days: int, limit: int) -> int:
    """Delete replays of all teams that ended so many days ago; ``before`` is an id that younger ones do not have."""
    parameters = {"before": before, "days": days, "limit": limit}
    return session.execute(FORGET, parameters).rowcount  # type: ignore[attr-defined,no-any-return]
