"""SQL that makes deliveries of events, in the transaction that records them: which endpoints get what.

Where events match more than ``webhook_fan_out_limit`` endpoints each, the dispatcher makes the deliveries: one row says
so durably, and the commit of the job stays small. What follows such events to an endpoint that keeps an order is put
off as well, and those of a team are expanded one after the other.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.events.limits import bounded
from agora.events.types import JobRef, NewEvent
from agora.settings import get_settings

_MATCHES = """
    (e.agents = '{}' OR h.agent = ANY(e.agents))
    AND (e.projects = '{}' OR h.project = ANY(e.projects))
    AND (e.metadata_filter = '{}' OR h.metadata @> e.metadata_filter)
    AND (h.type = ANY(e.event_types)
         OR h.type <> 'job.progressed' AND EXISTS (
             SELECT FROM unnest(e.event_types) p WHERE right(p, 1) = '*' AND starts_with(h.type, left(p, -1))))
    AND h.skip IS DISTINCT FROM e.id
"""

# What needs an order is placed in it, and waits when something of its key is still open. A delivery that ends just now
# is still seen as open here, and its settling cannot see this one: the settler and the dispatcher look once more.
_MADE = """
), lined AS (
    SELECT m.*, CASE m.fifo WHEN 'endpoint' THEN '' WHEN 'job' THEN COALESCE(m.job_id, '')
                            WHEN 'project' THEN COALESCE(m.project, '') END AS order_key
    FROM matched m
), placed AS (
    SELECT l.*, row_number() OVER (PARTITION BY l.endpoint_id, l.order_key ORDER BY l.n) AS turn
    FROM lined l
    ORDER BY l.n
), made AS (
    INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, job_id, event_type, body, status,
                                    next_attempt_at, full_payload, order_key, place)
    SELECT agora_new_id('whd'), p.team_id, p.endpoint_id, p.id, p.job_id, p.type, p.body,
           CASE p.status WHEN 'active' THEN 'pending' ELSE 'held' END,
           CASE WHEN p.order_key IS NULL OR p.turn = 1 AND NOT EXISTS (
                    SELECT FROM webhook_deliveries d
                    WHERE d.endpoint_id = p.endpoint_id AND d.order_key = p.order_key
                      AND d.status IN ('pending', 'leased', 'held'))
                THEN now() + make_interval(secs => COALESCE(p.schedule[1], :first)) END,
           p.payload = 'full' AND p.job_id IS NOT NULL AND starts_with(p.type, 'job.'),
           p.order_key, CASE WHEN p.order_key IS NOT NULL THEN nextval('webhook_places') END
    FROM placed p
    ON CONFLICT (event_id, endpoint_id) DO NOTHING
    RETURNING endpoint_id, status
), idle AS (
    -- Only an endpoint that is not due already is written, so that a busy one is no hot row of its team's jobs.
    SELECT e.id FROM webhook_endpoints e
    WHERE e.id IN (SELECT endpoint_id FROM made WHERE status = 'pending')
      AND (e.next_due_at IS NULL OR e.next_due_at > now()) AND (e.open_until IS NULL OR e.open_until <= now())
    ORDER BY e.id
    -- One that somebody else has locked is being looked at, or told, already; and a transaction may fan out twice,
    -- so waiting for it could end in a deadlock.
    FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    UPDATE webhook_endpoints e SET next_due_at = now() FROM idle WHERE e.id = idle.id
"""

_SHOWN = "e.id AS endpoint_id, e.status, e.schedule, e.fifo, e.payload"

_FAN_OUT = f"""
WITH happened AS MATERIALIZED (
    SELECT id, type, body, job_id, agent, project, CAST(labels AS jsonb) AS metadata, skip, n
    FROM unnest(CAST(:ids AS text[]), CAST(:types AS text[]), CAST(:bodies AS text[]), CAST(:job_ids AS text[]),
                CAST(:agents AS text[]), CAST(:projects AS text[]), CAST(:labels AS text[]), CAST(:skips AS text[]))
         WITH ORDINALITY AS h (id, type, body, job_id, agent, project, labels, skip, n)
), chosen AS MATERIALIZED (
    SELECT h.*, e.team_id, {_SHOWN}
    FROM webhook_endpoints e, happened h
    WHERE e.team_id = :team_id AND e.kind = 'endpoint' AND {_MATCHES}
    LIMIT (SELECT :most + 1)
), many AS (
    SELECT count(*) > :most
           OR COALESCE(bool_or(fifo IS NOT NULL), false)
              AND EXISTS (SELECT FROM webhook_fan_outs f WHERE f.team_id = :team_id) AS many
    FROM chosen
), put_off AS (
    INSERT INTO webhook_fan_outs (id, team_id, events)
    SELECT agora_new_id('wfo'), :team_id, (SELECT jsonb_agg(h) FROM happened h) FROM many WHERE many
), matched AS (
    SELECT c.* FROM chosen c, many WHERE NOT many
    UNION ALL
    SELECT h.*, e.team_id, {_SHOWN}
    FROM webhook_endpoints e JOIN happened h ON e.job_id = h.job_id
    WHERE e.job_id = ANY(CAST(:job_ids AS text[])) AND e.kind = 'inline' AND e.team_id = :team_id
      AND e.status <> 'disabled' AND {_MATCHES}
{_MADE}
)
SELECT EXISTS (SELECT FROM made WHERE status = 'pending')
"""


FAN_OUT = text(_FAN_OUT)
MOST_AT_ONCE = 5_000
"""Deliveries of one commit, however many events it has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """An event with what endpoints choose by.

    ``metadata`` is that of its job; without one, what the event itself says. ``skip``: an endpoint that is not told,
    whatever its filter.
    """

    event: NewEvent
    job_id: str | None = None
    agent: str = ""
    metadata: Mapping[str, Any] | None = None
    skip: str | None = None

    @property
    def labels(self) -> Mapping[str, Any]:
        """The metadata of what it is about."""
        found = self.event.data.get("metadata") if self.metadata is None else self.metadata
        return found if isinstance(found, Mapping) else {}

    @property
    def project(self) -> str | None:
        """The project that it is about: its own, or the one in that metadata."""
        found = self.event.data.get("project_id") or self.labels.get("project_id")
        return found if isinstance(found, str) else None


def fan_out(
    session: Session,
    *,
    team_id: str,
    job_id: str | None,
    agent: str,
    events: Sequence[NewEvent],
    occurred_at: datetime,
    metadata: Mapping[str, Any] | None = None,
) -> bool:
    """Make the deliveries of events of one job, or none, in the transaction that records them.

    ``metadata`` is that of the job. True: ring for them after the commit.
    """
    happened = [Happened(event=event, job_id=job_id, agent=agent, metadata=metadata) for event in events]
    return fan_out_all(session, team_id=team_id, happened=happened, occurred_at=occurred_at)


def fan_out_each(
    session: Session, *, team_id: str, happened: Sequence[tuple[JobRef, NewEvent]], occurred_at: datetime
) -> bool:
    """Make the deliveries of events of several jobs in the transaction that records them. True: ring for them."""
    found = [Happened(event=event, job_id=job.id, agent=job.agent, metadata=job.metadata) for job, event in happened]
    return fan_out_all(session, team_id=team_id, happened=found, occurred_at=occurred_at)


def fan_out_all(
    session: Session,
    *,
    team_id: str,
    happened: Sequence[Happened],
    occurred_at: datetime,
) -> bool:
    """Make the deliveries of events in the transaction that records them. True: ring for them after the commit."""
    if not happened:
        return False
    parameters = {
        "team_id": team_id,
        "ids": [one.event.id for one in happened],
        "types": [one.event.type for one in happened],
        "bodies": [body_of(one.event.type, one.event.data, occurred_at) for one in happened],
        "job_ids": [one.job_id for one in happened],
        "agents": [one.agent for one in happened],
        "projects": [one.project for one in happened],
        "labels": [json.dumps(dict(one.labels)) for one in happened],
        "skips": [one.skip for one in happened],
        "first": get_settings().webhook_schedule[0],
        "most": min(get_settings().webhook_fan_out_limit * len(happened), MOST_AT_ONCE),
    }
    return bool(session.execute(FAN_OUT, parameters).scalar_one())


def body_of(kind: str, data: Mapping[str, Any], occurred_at: datetime) -> str:
    """The body that is signed and sent: compact ASCII JSON below 20,000 bytes, serialised once and for all."""
    timestamp = occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": timestamp, "data": bounded(data)}, separators=(",", ":"))


NEXT_TEAM = text("""
SELECT COALESCE(
    (SELECT team_id FROM webhook_fan_outs
     WHERE team_id > :after AND team_id <> ALL(CAST(:but AS text[])) ORDER BY team_id LIMIT 1),
    (SELECT team_id FROM webhook_fan_outs WHERE team_id <> ALL(CAST(:but AS text[])) ORDER BY team_id LIMIT 1))
""")


def next_team(session: Session, *, after: str, but: Collection[str]) -> str | None:
    """The team whose turn it is after another one's, of those with a fan-out that was put off; not one of ``but``."""
    found: str | None = session.execute(NEXT_TEAM, {"after": after, "but": list(but)}).scalar()
    return found


# Only the first of a team, so that two dispatchers do not overtake each other.
EXPAND = text(f"""
WITH put_off AS MATERIALIZED (
    SELECT id, team_id, events, after, created_at, GREATEST(1, :most / jsonb_array_length(events)) AS size
    FROM webhook_fan_outs
    WHERE id = (SELECT id FROM webhook_fan_outs WHERE team_id = :team_id ORDER BY number LIMIT 1)
    FOR UPDATE SKIP LOCKED
), slice AS MATERIALIZED (
    SELECT e.* FROM put_off o JOIN LATERAL (
        SELECT * FROM webhook_endpoints e
        WHERE e.team_id = o.team_id AND e.kind = 'endpoint' AND e.id > o.after AND e.created_at <= o.created_at
        ORDER BY e.id
        LIMIT o.size
    ) e ON true
), happened AS MATERIALIZED (
    SELECT h.* FROM put_off o CROSS JOIN LATERAL jsonb_to_recordset(o.events) AS h (
        id text, type text, body text, job_id text, agent text, project text, metadata jsonb, skip text, n bigint)
), matched AS (
    SELECT h.*, e.team_id, {_SHOWN} FROM slice e, happened h WHERE {_MATCHES}
{_MADE}
), moved AS (
    UPDATE webhook_fan_outs f SET after = (SELECT max(id) FROM slice)
    FROM put_off WHERE f.id = put_off.id AND (SELECT count(*) FROM slice) = put_off.size
), ended AS (
    DELETE FROM webhook_fan_outs f USING put_off WHERE f.id = put_off.id AND (SELECT count(*) FROM slice) < put_off.size
)
SELECT (SELECT count(*) FROM put_off) AS found, (SELECT count(*) FROM made) AS made
""")


def expand_fan_out(session: Session, *, team_id: str, most: int) -> tuple[bool, int]:
    """Make up to ``most`` deliveries of a team's first fan-out that was put off, for its next endpoints.

    Endpoints get all its events together, so it may be as many as there are events. Returns whether there was one that
    nobody else is at, and how many it made.
    """
    parameters = {"team_id": team_id, "most": most, "first": get_settings().webhook_schedule[0]}
    row = session.execute(EXPAND, parameters).one()
    return bool(row.found), int(row.made)
