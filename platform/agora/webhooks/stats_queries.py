"""SQL that counts how an endpoint does. Bounded: a look at its last deliveries and their tries, by index."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.ids import CLOCKS, floor_id, month_id

LOOKED_AT = 1_000
"""Deliveries, the newest."""
TRIES = 20_000
COUNTED = 10_000

LATELY = text("""
WITH latest AS MATERIALIZED (
    SELECT id, status, created_at FROM webhook_deliveries
    WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND id >= :first AND created_at >= :since
    ORDER BY id DESC
    LIMIT :most
), tried AS MATERIALIZED (
    SELECT l.id AS delivery_id, a.delivered, a.started_at, a.duration_ms, a.status_code, a.error_class, a.error
    FROM latest l JOIN webhook_attempts a ON a.delivery_id = l.id
    WHERE a.team_id = :team_id AND a.id >= :first_try
    LIMIT :tries
)
SELECT (SELECT COALESCE(jsonb_object_agg(s.status, s.n), '{}')
        FROM (SELECT status, count(*) AS n FROM latest GROUP BY status) s) AS statuses,
       (SELECT min(created_at) FROM latest) AS since,
       count(*) AS tries,
       count(*) FILTER (WHERE delivered) AS delivered,
       count(DISTINCT delivery_id) AS tried,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE delivered) AS p50_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE delivered) AS p95_ms,
       max(started_at) FILTER (WHERE delivered) AS last_success_at,
       (SELECT to_jsonb(f) FROM (
            SELECT started_at AS at, delivery_id, error_class, error, status_code FROM tried
            WHERE NOT delivered ORDER BY started_at DESC LIMIT 1) f) AS last_failure
FROM tried
""")


def look_at_latest(session: Session, *, team_id: str, endpoint_id: str, since: datetime) -> Mapping[str, Any]:
    """The last deliveries since a moment, at most 1,000, counted by status, and what their tries came to."""
    parameters = {
        "team_id": team_id, "endpoint_id": endpoint_id, "since": since, "first": floor_id("whd", since - CLOCKS),
        "first_try": month_id("wha", since), "most": LOOKED_AT, "tries": TRIES,
    }  # fmt: skip
    return dict(session.execute(LATELY, parameters).mappings().one())


OPEN = text("""
SELECT (SELECT count(*) FROM (
            SELECT FROM webhook_deliveries
            WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'pending' LIMIT :most) p) AS pending,
       (SELECT count(*) FROM (
            SELECT FROM webhook_deliveries
            WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'held' LIMIT :most) h) AS held,
       (SELECT count(*) FROM (
            SELECT FROM webhook_deliveries
            WHERE endpoint_id = :endpoint_id AND team_id = :team_id AND status = 'leased' LIMIT :most) l) AS in_flight
""")


def count_open(session: Session, *, team_id: str, endpoint_id: str) -> Mapping[str, int]:
    """How many deliveries are pending, held and in flight, each counted to 10,000."""
    parameters = {"team_id": team_id, "endpoint_id": endpoint_id, "most": COUNTED}
    return dict(session.execute(OPEN, parameters).mappings().one())
