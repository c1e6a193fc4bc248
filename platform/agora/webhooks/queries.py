"""SQL about webhooks as their owners see them: endpoints, deliveries. Every function is scoped by team."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from agora.events.types import NewEvent
from agora.ids import month_id
from agora.paging import Span
from agora.webhooks.fan_out_queries import body_of
from agora.webhooks.models import AttemptRow, DeliveryRow, EndpointRow
from agora.webhooks.states import DeliveryState, EndpointState, Signing


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
        endpoint.next_due_at = func.greatest(func.now(), endpoint.open_until)
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


def list_endpoints(session: Session, *, team_id: str, span: Span, job_id: str | None = None) -> Sequence[EndpointRow]:
    """Endpoints; those inline of one job when it is given."""
    statement = select(EndpointRow).where(EndpointRow.team_id == team_id)
    if job_id is None:
        statement = statement.where(EndpointRow.kind == "endpoint")
    else:
        statement = statement.where(EndpointRow.kind == "inline", EndpointRow.job_id == job_id)
    return session.scalars(span.of(statement, EndpointRow.id)).all()


def count_team_signed(session: Session, *, team_id: str) -> int:
    """How many endpoints the team's own keys sign for."""
    statement = select(func.count()).where(EndpointRow.team_id == team_id, EndpointRow.signing == Signing.TEAM)
    return session.scalar(statement) or 0


DELETE = text("DELETE FROM webhook_endpoints WHERE id = :endpoint_id AND team_id = :team_id")
CANCEL = text("""
UPDATE webhook_deliveries
SET status = 'cancelled', ended_at = now(), lease_token = NULL, lease_expires_at = NULL,
    last_error = 'the endpoint was deleted'
WHERE team_id = :team_id AND status IN ('pending', 'held', 'leased') AND id IN (
    SELECT id FROM webhook_deliveries
    WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'leased'
    UNION ALL
    (SELECT id FROM webhook_deliveries
     WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'pending' LIMIT :most)
    UNION ALL
    (SELECT id FROM webhook_deliveries
     WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'held' LIMIT :most))
""")
MOST_CANCELLED = 5_000
"""Of what is pending, and of what is held: senders wait for this transaction."""


def delete_endpoint(session: Session, *, team_id: str, endpoint_id: str) -> None:
    """Delete an endpoint that the caller has locked; what is being sent to it, and some thousand others, are cancelled.

    The dispatcher cancels the rest: none of it is sent, since claims go by endpoints.
    """
    parameters = {"endpoint_id": endpoint_id, "team_id": team_id}
    session.execute(CANCEL, parameters | {"most": MOST_CANCELLED})
    session.execute(DELETE, parameters)


HOLD = text("""
UPDATE webhook_deliveries SET status = 'held'
WHERE id IN (SELECT id FROM webhook_deliveries
             WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'pending' LIMIT 10000)
  AND team_id = :team_id AND status = 'pending'
""")


def hold_pending(session: Session, *, team_id: str, endpoint_id: str) -> None:
    """Hold what is pending for an endpoint that the caller has locked: ten thousand of it, so that nobody waits long.

    More is not sent either, since claims pass an endpoint by that is not active; it only is not shown as held.
    """
    session.execute(HOLD, {"endpoint_id": endpoint_id, "team_id": team_id})


RELEASE_HELD = text("""
WITH oldest AS (
    SELECT id FROM webhook_deliveries
    WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'held'
    ORDER BY id
    LIMIT :most
    FOR UPDATE
)
UPDATE webhook_deliveries d SET status = 'pending' FROM oldest WHERE d.id = oldest.id
""")


def release_held(session: Session, *, team_id: str, endpoint_id: str, most: int) -> int:
    """Make the oldest that are held for an endpoint, which the caller has locked, pending at the times they had."""
    parameters = {"endpoint_id": endpoint_id, "team_id": team_id, "most": most}
    return session.execute(RELEASE_HELD, parameters).rowcount  # type: ignore[attr-defined,no-any-return]


def list_deliveries(
    session: Session,
    *,
    team_id: str,
    endpoint_id: str | None,
    statuses: Sequence[str],
    job_id: str | None,
    event_type: str | None,
    span: Span,
) -> Sequence[DeliveryRow]:
    """Deliveries."""
    statement = select(DeliveryRow).where(DeliveryRow.team_id == team_id)
    if endpoint_id is not None:
        statement = statement.where(DeliveryRow.endpoint_id == endpoint_id)
    if statuses:
        statement = statement.where(DeliveryRow.status.in_(statuses))
    if job_id is not None:
        statement = statement.where(DeliveryRow.job_id == job_id)
    if event_type is not None:
        statement = statement.where(DeliveryRow.event_type == event_type)
    return session.scalars(span.of(statement, DeliveryRow.id)).all()


MOST_OF_JOB = 20
DELIVERIES_OF = text("""
SELECT d.* FROM unnest(CAST(:job_ids AS text[])) AS j (id)
CROSS JOIN LATERAL (
    SELECT * FROM webhook_deliveries d WHERE d.job_id = j.id AND d.team_id = :team_id
    ORDER BY d.id || '' DESC LIMIT :most  -- in an order that no index has: else the team's whole past might be walked
) d
ORDER BY d.id DESC
""")


def list_deliveries_of(session: Session, *, team_id: str, job_ids: Sequence[str]) -> Sequence[DeliveryRow]:
    """The newest twenty deliveries about each job, newest first."""
    parameters = {"team_id": team_id, "job_ids": list(job_ids), "most": MOST_OF_JOB}
    return session.scalars(select(DeliveryRow).from_statement(DELIVERIES_OF), parameters).all()


def find_delivery(session: Session, *, team_id: str, delivery_id: str) -> DeliveryRow | None:
    """A delivery."""
    statement = select(DeliveryRow).where(DeliveryRow.id == delivery_id, DeliveryRow.team_id == team_id)
    return session.scalars(statement).one_or_none()


MOST_TRIES = 50
ATTEMPTS_OF = text("""
SELECT a.* FROM unnest(CAST(:delivery_ids AS text[])) AS d (id)
CROSS JOIN LATERAL (
    SELECT * FROM webhook_attempts a
    WHERE a.delivery_id = d.id AND a.team_id = :team_id AND a.id >= :since
    ORDER BY a.id || '' DESC LIMIT :most
) a
ORDER BY a.id
""")


def list_attempts_of(
    session: Session, *, team_id: str, deliveries: Sequence[DeliveryRow]
) -> Mapping[str, Sequence[AttemptRow]]:
    """The newest fifty tries of each delivery, oldest first, of all at once."""
    found: dict[str, list[AttemptRow]] = defaultdict(list)
    if deliveries:
        parameters = {
            "team_id": team_id, "delivery_ids": [one.id for one in deliveries], "most": MOST_TRIES,
            "since": month_id("wha", min(one.created_at for one in deliveries)),
        }  # fmt: skip
        for row in session.scalars(select(AttemptRow).from_statement(ATTEMPTS_OF), parameters):
            found[row.delivery_id].append(row)
    return found


def list_attempts(session: Session, *, team_id: str, delivery: DeliveryRow, limit: int) -> Sequence[AttemptRow]:
    """The tries of a delivery, oldest first; its creation keeps older partitions out."""
    statement = select(AttemptRow).where(
        AttemptRow.team_id == team_id,
        AttemptRow.delivery_id == delivery.id,
        AttemptRow.id >= month_id("wha", delivery.created_at),
    )
    # In an order that no index has: else Postgres might walk all tries of the month to spare itself a sort.
    return session.scalars(statement.order_by(AttemptRow.id.concat("")).limit(limit)).all()
