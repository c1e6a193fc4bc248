"""SQL that releases what endpoints hold, after they were resumed, at a pace. For all teams."""

from sqlalchemy import text
from sqlalchemy.orm import Session

# A delivery that waits for its turn stays without a time; what rests or fails is left alone until it is well.
DRAIN = text("""
WITH chosen AS MATERIALIZED (
    SELECT id FROM webhook_endpoints
    WHERE draining AND status = 'active' AND (open_until IS NULL OR open_until <= now())
    ORDER BY id
    LIMIT :slice
    FOR NO KEY UPDATE SKIP LOCKED
), oldest AS MATERIALIZED (
    SELECT d.id, c.id AS endpoint_id
    FROM chosen c CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE endpoint_id = c.id AND status = 'held'
        ORDER BY id
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    ) d
), released AS (
    UPDATE webhook_deliveries d SET status = 'pending' FROM oldest WHERE d.id = oldest.id
), counted AS (
    SELECT c.id, (SELECT count(*) FROM oldest o WHERE o.endpoint_id = c.id) AS n FROM chosen c
), noted AS (
    UPDATE webhook_endpoints e SET
        draining = c.n = :most,
        next_due_at = CASE WHEN c.n > 0 THEN LEAST(e.next_due_at, now()) ELSE e.next_due_at END
    FROM counted c
    WHERE e.id = c.id
)
SELECT COALESCE(sum(n), 0) FROM counted
""")


def drain_held(session: Session, *, slice_: int, most: int) -> int:
    """Make up to ``most`` held deliveries of each endpoint that drains pending, the oldest first; how many in all."""
    return int(session.execute(DRAIN, {"slice": slice_, "most": most}).scalar_one())
