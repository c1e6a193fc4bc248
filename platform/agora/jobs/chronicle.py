"""Record events in the caller's transaction, with the webhook deliveries that they cause."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from agora.events import queries
from agora.events.types import JobRef, NewEvent
from agora.webhooks import queries as webhooks


def record(session: Session, job: JobRef, events: Sequence[NewEvent]) -> bool:
    """Insert events of one job; call it last in the transaction. True: there are deliveries to ring for."""
    occurred_at = queries.append_events(session, team_id=job.team_id, job_id=job.id, events=events)
    return webhooks.fan_out(
        session, team_id=job.team_id, job_id=job.id, agent=job.agent, events=events, occurred_at=occurred_at
    )
