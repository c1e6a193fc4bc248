"""SQL about webhooks as their owners see them: fan-out, endpoints, deliveries. Every function is scoped by team."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, func, select, text, update
from sqlalchemy.orm import Session

from agora.events.types import NewEvent
from agora.ids import month_id
from agora.settings import get_settings
from agora.webhooks.models import AttemptRow, DeliveryRow, EndpointRow
from agora.webhooks.states import DeliveryState, EndpointState

FAN_OUT = text("""
WITH happened AS (
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:types AS text[]), CAST(:bodies AS text[])) AS h (id, type, body)
), concerned AS (
    SELECT id, status, event_types, agents, schedule FROM webhook_endpoints
    WHERE team_id = :team_id AND kind = 'endpoint'
    UNION ALL
    SELECT id, status, event_types, agents, schedule FROM webhook_endpoints
    WHERE job_id = :job_id AND kind = 'inline' AND team_id = :team_id
), made AS (
    INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, job_id, event_type, body, status,
                                    next_attempt_at)
    SELECT agora_new_id('whd'), :team_id, e.id, h.id, :job_id, h.type, h.body,
           CASE e.status WHEN 'active' THEN 'pending' ELSE 'held' END,
           now() + make_interval(secs => COALESCE(e.schedule[1], :first))
    FROM concerned e, happened h
    WHERE (e.agents = '{}' OR :agent = ANY(e.agents))
      AND (h.type = ANY(e.event_types)
           OR h.type <> 'job.progressed' AND EXISTS (
               SELECT FROM unnest(e.event_types) p WHERE right(p, 1) = '*' AND starts_with(h.type, left(p, -1))))
    ON CONFLICT (event_id, endpoint_id) DO NOTHING
    RETURNING endpoint_id, status
), idle AS (
    -- Only an endpoint that is not due already is written, so that a busy one is no hot row of its team's jobs.
    SELECT e.id FROM webhook_endpoints e
    WHERE e.id IN (SELECT endpoint_id FROM made WHERE status = 'pending')
      AND (e.next_due_at IS NULL OR e.next_due_at > now()) AND (e.open_until IS NULL OR e.open_until <= now())
    ORDER BY e.id
    FOR NO KEY UPDATE
), due AS (
    UPDATE webhook_endpoints e SET next_due_at = now() FROM idle WHERE e.id = idle.id
)
SELECT count(*) FROM made WHERE status = 'pending'
""")


def fan_out(
    session: Session,
    *,
    team_id: str,
    job_id: str | None,
    agent: str,
    events: Sequence[NewEvent],
    occurred_at: datetime,
) -> bool:
    """Make the deliveries of events in the transaction that records them. True: ring for them after the commit."""
    if not events:
        return False
    parameters = {
        "team_id": team_id,
        "job_id": job_id,
        "agent": agent,
        "ids": [event.id for event in events],
        "types": [event.type for event in events],
        "bodies": [body_of(event.type, event.data, occurred_at) for event in events],
        "first": get_settings().webhook_schedule[0],
    }
    return bool(session.execute(FAN_OUT, parameters).scalar_one())


def body_of(kind: str, data: Mapping[str, Any], occurred_at: datetime) -> str:
    """The body that is signed and sent: compact JSON, in ASCII, serialised here once and for all."""
    timestamp = occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": timestamp, "data": data}, separators=(",", ":"))


def insert_delivery(
    session: Session, *, team_id: str, delivery_id: str, endpoint: EndpointRow, event: NewEvent, occurred_at: datetime
) -> DeliveryRow:
    """Insert one delivery that is no job's, due at once, for an endpoint that the caller has locked."""
    row = DeliveryRow(
        id=delivery_id, team_id=team_id, endpoint_id=endpoint.id, event_id=event.id, event_type=event.type,
        body=body_of(event.type, event.data, occurred_at),
        status=DeliveryState.PENDING if endpoint.status == EndpointState.ACTIVE else DeliveryState.HELD,
    )  # fmt: skip
    session.add(row)
    if row.status == DeliveryState.PENDING:
        endpoint.next_due_at = func.now()
    session.flush()
    session.refresh(row)
    return row


def insert_endpoint(session: Session, *, team_id: str, **columns: Any) -> EndpointRow:
    """Insert an endpoint. Raises IntegrityError for a uid that the team has already."""
    row = EndpointRow(team_id=team_id, **columns)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def find_endpoint(session: Session, *, team_id: str, ref: str, lock: bool = False) -> EndpointRow | None:
    """An endpoint by its id or uid."""
    statement = select(EndpointRow).where(
        EndpointRow.team_id == team_id, (EndpointRow.id == ref) | (EndpointRow.uid == ref)
    )
    return session.scalars(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


def list_endpoints(
    session: Session, *, team_id: str, before: str | None, limit: int, job_id: str | None = None
) -> Sequence[EndpointRow]:
    """Endpoints, newest first; those inline of one job when it is given."""
    statement = select(EndpointRow).where(EndpointRow.team_id == team_id)
    if job_id is None:
        statement = statement.where(EndpointRow.kind == "endpoint")
    else:
        statement = statement.where(EndpointRow.kind == "inline", EndpointRow.job_id == job_id)
    if before is not None:
        statement = statement.where(EndpointRow.id < before)
    return session.scalars(statement.order_by(EndpointRow.id.desc()).limit(limit)).all()


DELETE = text("DELETE FROM webhook_endpoints WHERE id = :endpoint_id AND team_id = :team_id")
CANCEL = text("""
UPDATE webhook_deliveries
SET status = 'cancelled', ended_at = now(), lease_token = NULL, lease_expires_at = NULL,
    last_error = 'the endpoint was deleted'
WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status IN ('pending', 'held', 'leased')
""")


def delete_endpoint(session: Session, *, team_id: str, endpoint_id: str) -> None:
    """Delete an endpoint that the caller has locked; what it was still to get is cancelled."""
    parameters = {"endpoint_id": endpoint_id, "team_id": team_id}
    session.execute(CANCEL, parameters)
    session.execute(DELETE, parameters)


def hold_pending(session: Session, *, team_id: str, endpoint_id: str) -> int:
    """Hold what is pending for an endpoint that the caller has locked."""
    return _move(session, team_id=team_id, endpoint_id=endpoint_id, source="pending", target="held")


def release_held(session: Session, *, team_id: str, endpoint_id: str) -> int:
    """Make what is held for an endpoint pending again, at the times it had."""
    return _move(session, team_id=team_id, endpoint_id=endpoint_id, source="held", target="pending")


def _move(session: Session, *, team_id: str, endpoint_id: str, source: str, target: str) -> int:
    statement = (
        update(DeliveryRow)
        .where(DeliveryRow.team_id == team_id, DeliveryRow.endpoint_id == endpoint_id, DeliveryRow.status == source)
        .values(status=target)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    return result.rowcount if isinstance(result, CursorResult) else 0


def list_deliveries(
    session: Session,
    *,
    team_id: str,
    endpoint_id: str | None,
    statuses: Sequence[str],
    job_id: str | None,
    event_type: str | None,
    before: str | None,
    limit: int,
) -> Sequence[DeliveryRow]:
    """Deliveries, newest first."""
    statement = select(DeliveryRow).where(DeliveryRow.team_id == team_id)
    if endpoint_id is not None:
        statement = statement.where(DeliveryRow.endpoint_id == endpoint_id)
    if statuses:
        statement = statement.where(DeliveryRow.status.in_(statuses))
    if job_id is not None:
        statement = statement.where(DeliveryRow.job_id == job_id)
    if event_type is not None:
        statement = statement.where(DeliveryRow.event_type == event_type)
    if before is not None:
        statement = statement.where(DeliveryRow.id < before)
    return session.scalars(statement.order_by(DeliveryRow.id.desc()).limit(limit)).all()


def find_delivery(session: Session, *, team_id: str, delivery_id: str) -> DeliveryRow | None:
    """A delivery."""
    statement = select(DeliveryRow).where(DeliveryRow.id == delivery_id, DeliveryRow.team_id == team_id)
    return session.scalars(statement).one_or_none()


def list_attempts(session: Session, *, team_id: str, delivery: DeliveryRow, limit: int) -> Sequence[AttemptRow]:
    """The tries of a delivery, oldest first; its creation keeps older partitions out."""
    statement = select(AttemptRow).where(
        AttemptRow.team_id == team_id,
        AttemptRow.delivery_id == delivery.id,
        AttemptRow.id >= month_id("wha", delivery.created_at),
    )
    # In an order that no index has: else Postgres might walk all tries of the month to spare itself a sort.
    return session.scalars(statement.order_by(AttemptRow.id.concat("")).limit(limit)).all()
