"""SQL that makes restored rows those of a platform that has just been started."""

import psycopg

LET_GO = (
    # Whoever ran these steps belongs to the platform that was dumped: they are due, and the try counts as not begun.
    """
    UPDATE steps
    SET status = 'ready', fence = NULL, worker_id = NULL, lease_expires_at = NULL, started_at = NULL,
        attempt = attempt - 1, rung_at = NULL
    WHERE status = 'running'
    """,
    # No broker holds these rings.
    "UPDATE steps SET rung_at = NULL WHERE status = 'ready' AND rung_at IS NOT NULL",
    # Nobody sends these deliveries; the dispatcher sees for itself when endpoints are due.
    """
    UPDATE webhook_deliveries SET status = 'pending', lease_token = NULL, lease_expires_at = NULL
    WHERE status = 'leased'
    """,
    "DELETE FROM workers",
)


def let_go(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    """Take leases, rings and workers of the dumped platform out; returns how much it had under way."""
    counts = [connection.execute(statement).rowcount for statement in LET_GO]
    return counts[0] + counts[2]
