"""SQL of the deliveries of many jobs' events in one statement."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.events.types import JobRef, NewEvent
from agora.settings import get_settings
from agora.webhooks.queries import body_of

FAN_OUT_EACH = text("""
WITH happened AS (
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:types AS text[]), CAST(:bodies AS text[]),
                         CAST(:job_ids AS text[]), CAST(:agents AS text[])) AS h (id, type, body, job_id, agent)
), made AS (
    INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, job_id, event_type, body, status,
                                    next_attempt_at)
    SELECT agora_new_id('whd'), :team_id, e.id, h.id, h.job_id, h.type, h.body,
           CASE e.status WHEN 'active' THEN 'pending' ELSE 'held' END,
           now() + make_interval(secs => COALESCE(e.schedule[1], :first))
    FROM webhook_endpoints e, happened h
    WHERE e.team_id = :team_id AND e.kind = 'endpoint'
      AND (e.agents = '{}' OR h.agent = ANY(e.agents))
      AND (h.type = ANY(e.event_types)
           OR h.type <> 'job.progressed' AND EXISTS (
               SELECT FROM unnest(e.event_types) p WHERE right(p, 1) = '*' AND starts_with(h.type, left(p, -1))))
    ON CONFLICT (event_id, endpoint_id) DO NOTHING
    RETURNING endpoint_id, status
), idle AS (
    SELECT e.id FROM webhook_endpoints e
    WHERE e.id IN (SELECT DISTINCT endpoint_id FROM made WHERE status = 'pending')
      AND (e.next_due_at IS NULL OR e.next_due_at > now()) AND (e.open_until IS NULL OR e.open_until <= now())
    ORDER BY e.id
    FOR NO KEY UPDATE
), due AS (
    UPDATE webhook_endpoints e SET next_due_at = now() FROM idle WHERE e.id = idle.id
)
SELECT count(*) FROM made WHERE status = 'pending'
""")


def fan_out_each(
    session: Session, *, team_id: str, happened: Sequence[tuple[JobRef, NewEvent]], occurred_at: datetime
) -> bool:
    """Make the deliveries, to a team's endpoints, of events of jobs that have no inline webhook.

    To be called in the transaction that records the events. True: ring for them after the commit.
    """
    parameters = {
        "team_id": team_id,
        "ids": [event.id for _, event in happened],
        "types": [event.type for _, event in happened],
        "bodies": [body_of(event.type, event.data, occurred_at) for _, event in happened],
        "job_ids": [job.id for job, _ in happened],
        "agents": [job.agent for job, _ in happened],
        "first": get_settings().webhook_schedule[0],
    }
    return bool(session.execute(FAN_OUT_EACH, parameters).scalar_one())
