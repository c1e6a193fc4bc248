"""Record events in the caller's transaction, with the webhook deliveries that they cause."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from agora.events import queries
from agora.events.types import JobRef, NewEvent
from agora.webhooks import fan_out_queries as webhooks

OWED = "agora.ring-for-deliveries"


def record(session: Session, job: JobRef, events: Sequence[NewEvent]) -> bool:
    """Insert events of one job; call it last in the transaction. True: there are deliveries to ring for."""
    occurred_at = queries.append_events(session, team_id=job.team_id, job_id=job.id, events=events)
    return fan_out(session, job, events, occurred_at)


def fan_out(session: Session, job: JobRef, events: Sequence[NewEvent], occurred_at: datetime) -> bool:
    """Insert the deliveries of events that are recorded already. True: there are deliveries to ring for."""
    if not events:
        return False
    return webhooks.fan_out(
        session, team_id=job.team_id, job_id=job.id, agent=job.agent, events=events, occurred_at=occurred_at,
        metadata=job.metadata,
    )  # fmt: skip


def record_for_team(session: Session, *events: NewEvent, team_id: str, agent: str = "") -> bool:
    """Insert events that are a team's and no job's. True: there are deliveries to ring for.

    Without an ``agent``, endpoints that listen to certain agents only are not told. The session remembers that it
    :func:`owes_ring`, for callers who do not commit themselves.
    """
    if not events:
        return False
    added = queries.add_events(session, team_id=team_id, events=events)
    if not added["subscribed"]:
        return False
    made = webhooks.fan_out(
        session, team_id=team_id, job_id=None, agent=agent, events=events, occurred_at=added["occurred_at"]
    )
    session.info[OWED] = owes_ring(session) or made
    return made


def owes_ring(session: Session) -> bool:
    """Whether whoever commits this transaction shall ring for deliveries of events that are no job's."""
    return bool(session.info.get(OWED))
