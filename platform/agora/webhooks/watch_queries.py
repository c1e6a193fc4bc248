"""SQL of what operators watch: states of endpoints, how late deliveries are, how recent tries went. Over all teams."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

ENDPOINTS = text("""
SELECT CASE WHEN status <> 'active' THEN status
            WHEN open_until > now() THEN 'resting'
            WHEN consecutive_failures > 0 THEN 'failing'
            WHEN draining THEN 'draining'
            ELSE 'well' END AS state,
       count(*) AS n
FROM webhook_endpoints WHERE kind = 'endpoint'
GROUP BY 1
""")

# The lag is that of endpoints which may be served: what waits for one that rests is late for a reason.
LAG = text("""
SELECT GREATEST(0, extract(epoch FROM now() - min(next_due_at))) AS lag
FROM webhook_endpoints WHERE status = 'active' AND (open_until IS NULL OR open_until <= now())
""")

TRIES = text("""
SELECT CASE WHEN delivered THEN 'delivered' ELSE error_class END AS outcome, count(*) AS n,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS quantiles
FROM webhook_attempts WHERE id >= :since
GROUP BY 1
""")


def count_endpoints(session: Session) -> dict[str, int]:
    """How many endpoints are in which state: the breaker's ``resting`` among them."""
    return {row.state: row.n for row in session.execute(ENDPOINTS)}


def find_lag(session: Session) -> float:
    """Seconds since the first endpoint that may be served should have been looked at."""
    return float(session.execute(LAG).scalar() or 0.0)


def list_tries(session: Session, *, since: str) -> Sequence[RowMapping]:
    """Tries from an id on, by outcome: how many, and p50, p95 and p99 of their milliseconds."""
    return session.execute(TRIES, {"since": since}).mappings().all()
