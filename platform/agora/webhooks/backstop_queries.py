"""SQL that finds what senders left: lost leases, endpoints that do not say what is due, orphans. For all teams."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from agora.webhooks.delivery_queries import ROOM, SILENT_SECONDS

LOST = text("""
WITH lost AS (
    SELECT id FROM webhook_deliveries
    WHERE status = 'leased' AND lease_expires_at < now()
    ORDER BY lease_expires_at
    LIMIT :slice
    FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d SET
    status = CASE WHEN d.lost_leases + 1 >= :limit THEN 'exhausted'
                  WHEN e.status = 'active' THEN 'pending' ELSE 'held' END,
    ended_at = CASE WHEN d.lost_leases + 1 >= :limit THEN now() END,
    last_error = 'the sender was lost', attempt = d.attempt - 1, lost_leases = d.lost_leases + 1,
    next_attempt_at = now(), lease_token = NULL, lease_expires_at = NULL
FROM lost JOIN webhook_deliveries w ON w.id = lost.id JOIN webhook_endpoints e ON e.id = w.endpoint_id
WHERE d.id = lost.id
RETURNING d.id, d.team_id, d.endpoint_id, d.event_id, d.event_type, d.status, d.attempt, d.earlier_attempts,
          d.last_status_code, d.last_error, e.uid
""")


def return_lost(session: Session, *, slice_: int, limit: int) -> Sequence[Row[Any]]:
    """Take deliveries back from senders that went silent; a try that nobody saw end is not spent. Returns them."""
    return session.execute(LOST, {"slice": slice_, "limit": limit}).all()


# From one endpoint with something pending to the next, by index: the rows of a backlog are not read. What is full is
# left alone, since settling looks at it again, and what waits for its rate is due when that has a token: counted from
# now, if the clock was set back since it was noted.
MARK_DUE = text(f"""
WITH RECURSIVE busy AS (
    (SELECT endpoint_id, next_attempt_at, 1 AS n FROM webhook_deliveries
     WHERE status = 'pending' AND endpoint_id > :after
     ORDER BY endpoint_id, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id, following.next_attempt_at, busy.n + 1
    FROM busy CROSS JOIN LATERAL (
        SELECT d.endpoint_id, d.next_attempt_at FROM webhook_deliveries d
        WHERE d.status = 'pending' AND d.endpoint_id > busy.endpoint_id
        ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1
    ) following
    WHERE busy.n < :most
), late AS (
    SELECT e.id, d.due
    FROM busy JOIN webhook_endpoints e ON e.id = busy.endpoint_id CROSS JOIN LATERAL (
        SELECT GREATEST(busy.next_attempt_at, e.open_until,
                        LEAST(e.tokens_at, now()) + make_interval(secs => (1 - e.tokens) / e.rate_limit)) AS due
    ) d
    WHERE e.status = 'active' AND busy.next_attempt_at IS NOT NULL  -- null: all wait for their turn
      AND (e.next_due_at IS NULL OR e.next_due_at > d.due) AND {ROOM} > 0
    ORDER BY e.id
    FOR NO KEY UPDATE OF e SKIP LOCKED
), marked AS (
    UPDATE webhook_endpoints e SET next_due_at = late.due FROM late WHERE e.id = late.id
    RETURNING e.id
)
SELECT (SELECT count(*) FROM marked) AS n, (SELECT endpoint_id FROM busy WHERE n = :most) AS reached
""")


def mark_due(session: Session, *, most: int, lease: float, after: str = "") -> tuple[int, str]:
    """Correct ``next_due_at`` of endpoints that have more pending than it tells, of ``most`` of them behind ``after``.

    Returns how many were wrong, and where to go on; empty when that is the beginning. ``lease``: seconds of a lease.
    """
    parameters = {"most": most, "lease": lease, "silent": SILENT_SECONDS, "after": after}
    row = session.execute(MARK_DUE, parameters).one()
    return int(row.n), row.reached or ""


WAKE = text("""
WITH idle AS (
    SELECT id FROM webhook_endpoints
    WHERE id = ANY(:endpoint_ids) AND status = 'active' AND (next_due_at IS NULL OR next_due_at > now())
      AND (open_until IS NULL OR open_until <= now())
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE webhook_endpoints e SET next_due_at = now() FROM idle WHERE e.id = idle.id
""")


def wake(session: Session, *, endpoint_ids: Collection[str]) -> None:
    """Let these endpoints be looked at now, unless they rest; whoever has one locked looks again by itself."""
    session.execute(WAKE, {"endpoint_ids": sorted(set(endpoint_ids))})


NEXT_DUE = text("""
SELECT extract(epoch FROM (
    SELECT next_due_at FROM webhook_endpoints
    WHERE status = 'active' AND next_due_at IS NOT NULL AND (open_until IS NULL OR open_until <= now())
      AND (consecutive_failures = 0 OR :failing)
      AND (kind <> 'inline' OR team_id <> ALL(CAST(:crowded AS text[])))
    ORDER BY next_due_at LIMIT 1) - clock_timestamp())
""")


def next_due(session: Session, *, failing: bool = True, crowded: Collection[str] = ()) -> float | None:
    """Seconds until an endpoint should be looked at; negative: it is late; None: nothing is pending.

    Without ``failing``, those whose last try found nobody do not count; nor do in-line ones of ``crowded`` teams.
    """
    seconds = session.execute(NEXT_DUE, {"failing": failing, "crowded": list(crowded)}).scalar()
    return None if seconds is None else float(seconds)


# From one endpoint with something open to the next, by index: the rows of a backlog are not read.
_CANCEL_ORPHANS = """
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id, 1 AS n FROM webhook_deliveries
     WHERE status = '{status}' AND endpoint_id > :after
     ORDER BY endpoint_id, {then} LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id, waiting.n + 1
    FROM waiting CROSS JOIN LATERAL (
        SELECT d.endpoint_id FROM webhook_deliveries d
        WHERE d.status = '{status}' AND d.endpoint_id > waiting.endpoint_id
        ORDER BY d.endpoint_id, d.{then} LIMIT 1
    ) following
    WHERE waiting.n < :most
), gone AS MATERIALIZED (
    SELECT w.endpoint_id, COALESCE(e.status_reason, 'the endpoint was deleted') AS why
    FROM waiting w LEFT JOIN webhook_endpoints e ON e.id = w.endpoint_id
    WHERE e.id IS NULL OR (e.kind = 'inline' AND e.status = 'disabled')
), chosen AS MATERIALIZED (
    SELECT d.id, g.why FROM gone g CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE endpoint_id = g.endpoint_id AND status = '{status}'
        LIMIT :slice
        FOR UPDATE SKIP LOCKED
    ) d
    LIMIT :slice
), cancelled AS (
    UPDATE webhook_deliveries u SET status = 'cancelled', ended_at = now(), last_error = c.why
    FROM chosen c WHERE u.id = c.id
    RETURNING u.id
)
SELECT (SELECT count(*) FROM cancelled) AS n,
       CASE WHEN (SELECT count(*) FROM chosen) < :slice THEN (SELECT endpoint_id FROM waiting WHERE n = :most)
            ELSE :after END AS reached
"""
CANCEL_ORPHANS = {
    "pending": text(_CANCEL_ORPHANS.format(status="pending", then="next_attempt_at")),
    "held": text(_CANCEL_ORPHANS.format(status="held", then="id")),
}


def cancel_orphans(session: Session, *, status: str, slice_: int, most: int, after: str = "") -> tuple[int, str]:
    """Cancel up to ``slice_`` of this status for endpoints that are gone, of ``most`` behind ``after``.

    The rest of large backlogs, events that were being recorded when their endpoint was deleted, and those of jobs whose
    one-off receiver answered 410. Returns how many, and where to go on; empty when that is the beginning.
    """
    row = session.execute(CANCEL_ORPHANS[status], {"slice": slice_, "most": most, "after": after}).one()
    return int(row.n), row.reached or ""
