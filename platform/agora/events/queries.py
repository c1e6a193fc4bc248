"""SQL about events."""

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from agora.events.models import EventRow
from agora.events.types import NewEvent
from agora.ids import month_id

APPEND = text("""
WITH job AS (
    UPDATE jobs SET event_seq = event_seq + jsonb_array_length(CAST(:events AS jsonb))
    WHERE id = :job_id AND team_id = :team_id
    RETURNING id, event_seq
), happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT e.id, :team_id, job.id, job.event_seq - jsonb_array_length(CAST(:events AS jsonb)) + e.n, e.type, e.data
    FROM job, ROWS FROM (jsonb_to_recordset(CAST(:events AS jsonb)) AS (id text, type text, data jsonb))
         WITH ORDINALITY AS e (id, type, data, n)
)
SELECT now() FROM job
""")


def as_json(events: Sequence[NewEvent]) -> str:
    """The JSON text that the statements take."""
    return json.dumps([{"id": event.id, "type": event.type, "data": event.data} for event in events])


def append_events(session: Session, *, team_id: str, job_id: str, events: Sequence[NewEvent]) -> datetime:
    """Number and insert events of a job; the last statement of its transaction, since it locks the job's row.

    Returns the moment at which they occurred.
    """
    parameters = {"team_id": team_id, "job_id": job_id, "events": as_json(events)}
    moment: datetime = session.execute(APPEND, parameters).scalar_one()
    return moment


ADD = text("""
WITH happened AS (
    INSERT INTO events (id, team_id, job_id, seq, type, data)
    SELECT e.id, :team_id, NULL, 1, e.type, e.data
    FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS e (id text, type text, data jsonb)
)
SELECT now() AS occurred_at, EXISTS (SELECT FROM webhook_endpoints w WHERE w.team_id = :team_id) AS subscribed
""")


def add_events(session: Session, *, team_id: str, events: Sequence[NewEvent]) -> RowMapping:
    """Insert events that are a team's and no job's: ``occurred_at``, and whether the team is ``subscribed`` to any."""
    parameters = {"team_id": team_id, "events": as_json(events)}
    return session.execute(ADD, parameters).mappings().one()


def list_events(
    session: Session, *, team_id: str, job_id: str, created_at: datetime, after: int, limit: int
) -> Sequence[EventRow]:
    """Events of a job with ``seq`` above ``after``, in order. ``created_at`` of the job keeps old partitions out."""
    statement = select(EventRow).where(
        EventRow.team_id == team_id,
        EventRow.job_id == job_id,
        EventRow.seq > after,
        EventRow.id >= month_id("evt", created_at),
    )
    return session.scalars(statement.order_by(EventRow.seq).limit(limit)).all()
