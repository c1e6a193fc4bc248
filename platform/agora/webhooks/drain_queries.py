"""SQL that releases what endpoints hold, after they were resumed or for a replay, at a pace. For all teams."""

from sqlalchemy import text
from sqlalchemy.orm import Session

CHOOSE = text("""
SELECT id FROM webhook_endpoints
WHERE draining AND status = 'active' AND (open_until IS NULL OR open_until <= now()) AND id > :after
ORDER BY id
LIMIT :slice
FOR NO KEY UPDATE SKIP LOCKED
""")

# A statement of its own: it sees all that whoever had the lock before has held, and so does not end a drain too early.
# A delivery that waits for its turn stays without a time; what rests or fails is left alone until it is well.
DRAIN = text("""
WITH oldest AS MATERIALIZED (
    SELECT d.id, c.id AS endpoint_id
    FROM unnest(CAST(:endpoint_ids AS text[])) AS c (id) CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE endpoint_id = c.id AND status = 'held'
        ORDER BY id
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    ) d
), released AS (
    UPDATE webhook_deliveries d SET status = 'pending' FROM oldest WHERE d.id = oldest.id
), counted AS (
    SELECT c.id, (SELECT count(*) FROM oldest o WHERE o.endpoint_id = c.id) AS n
    FROM unnest(CAST(:endpoint_ids AS text[])) AS c (id)
), noted AS (
    UPDATE webhook_endpoints e SET
        draining = c.n = :most,
        next_due_at = CASE WHEN c.n > 0 THEN LEAST(e.next_due_at, now()) ELSE e.next_due_at END
    FROM counted c
    WHERE e.id = c.id
)
SELECT COALESCE(sum(n), 0) FROM counted
""")


def drain_held(session: Session, *, slice_: int, most: int, after: str = "") -> tuple[int, str]:
    """Make held deliveries pending, the oldest first: up to ``most`` of each of the next endpoints that drain.

    Returns how many in all, and behind which endpoint to go on; empty when that is the beginning.
    """
    endpoint_ids = session.scalars(CHOOSE, {"slice": slice_, "after": after}).all()
    if not endpoint_ids:
        return 0, ""
    released = session.execute(DRAIN, {"endpoint_ids": list(endpoint_ids), "most": most}).scalar_one()
    return int(released), endpoint_ids[-1] if len(endpoint_ids) == slice_ else ""


# From one endpoint that holds something to the next, by index: the rows of a backlog are not read.
MARK_DRAINING = text("""
WITH RECURSIVE holding AS (
    (SELECT endpoint_id, 1 AS n FROM webhook_deliveries WHERE status = 'held' AND endpoint_id > :after
     ORDER BY endpoint_id, id LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id, holding.n + 1
    FROM holding CROSS JOIN LATERAL (
        SELECT d.endpoint_id FROM webhook_deliveries d
        WHERE d.status = 'held' AND d.endpoint_id > holding.endpoint_id
        ORDER BY d.endpoint_id, d.id LIMIT 1
    ) following
    WHERE holding.n < :most
), forgotten AS (
    SELECT e.id FROM holding h JOIN webhook_endpoints e ON e.id = h.endpoint_id
    WHERE e.status = 'active' AND NOT e.draining
    ORDER BY e.id
    FOR NO KEY UPDATE OF e SKIP LOCKED
), marked AS (
    UPDATE webhook_endpoints e SET draining = true FROM forgotten f WHERE e.id = f.id
    RETURNING e.id
)
SELECT (SELECT count(*) FROM marked) AS n, (SELECT endpoint_id FROM holding WHERE n = :most) AS reached
""")


def mark_draining(session: Session, *, most: int, after: str = "") -> tuple[int, str]:
    """Let active endpoints behind ``after`` drain that hold something although nobody said so.

    A delivery that was made, or given back, just as its endpoint was resumed was held by what was true before. Returns
    how many, and where to go on; empty when that is the beginning.
    """
    row = session.execute(MARK_DRAINING, {"most": most, "after": after}).one()
    return int(row.n), row.reached or ""
