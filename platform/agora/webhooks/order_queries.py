"""SQL that keeps deliveries in their order: when one has ended, the next of its key becomes due. For all teams."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.orm import Session

_PROMOTED = """
UPDATE webhook_deliveries d SET next_attempt_at = clock_timestamp()
FROM (
    SELECT f.id FROM {keys} k CROSS JOIN LATERAL (
        SELECT id, next_attempt_at FROM webhook_deliveries
        WHERE endpoint_id = k.endpoint_id AND order_key = k.order_key AND status IN ('pending', 'leased', 'held')
        ORDER BY place
        LIMIT 1
    ) f
    WHERE f.next_attempt_at IS NULL
) n
WHERE d.id = n.id AND d.next_attempt_at IS NULL AND d.status IN ('pending', 'held')
"""

PROMOTE = text(
    _PROMOTED.format(keys="(SELECT * FROM unnest(CAST(:endpoint_ids AS text[]), CAST(:keys AS text[]))"
                          " AS u (endpoint_id, order_key))")
)  # fmt: skip

# From one key with something open to the next, by index: the rows of a backlog are not read.
PROMOTE_ALL = text(f"""
WITH RECURSIVE open AS (
    (SELECT endpoint_id, order_key, 1 AS n FROM webhook_deliveries
     WHERE order_key IS NOT NULL AND status IN ('pending', 'leased', 'held')
       AND (endpoint_id, order_key) > (:after, :after_key)
     ORDER BY endpoint_id, order_key, place LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id, following.order_key, open.n + 1
    FROM open CROSS JOIN LATERAL (
        SELECT d.endpoint_id, d.order_key FROM webhook_deliveries d
        WHERE d.order_key IS NOT NULL AND d.status IN ('pending', 'leased', 'held')
          AND (d.endpoint_id, d.order_key) > (open.endpoint_id, open.order_key)
        ORDER BY d.endpoint_id, d.order_key, d.place LIMIT 1
    ) following
    WHERE open.n < :most
)
, promoted AS (
    {_PROMOTED.format(keys="open")}
    RETURNING d.endpoint_id
)
SELECT ARRAY(SELECT DISTINCT endpoint_id FROM promoted) AS endpoint_ids,
       (SELECT ARRAY[endpoint_id, order_key] FROM open WHERE n = :most) AS reached
""")

BEGINNING = ("", "")


def promote(session: Session, *, keys: Collection[tuple[str, str]]) -> int:
    """Make the first open delivery of each (endpoint, order key) due if it waits for its turn; how many did."""
    if not keys:
        return 0
    endpoint_ids, order_keys = zip(*sorted(keys), strict=True)
    parameters = {"endpoint_ids": list(endpoint_ids), "keys": list(order_keys)}
    return session.execute(PROMOTE, parameters).rowcount  # type: ignore[attr-defined,no-any-return]


def promote_all(
    session: Session, *, most: int, after: tuple[str, str] = BEGINNING
) -> tuple[list[str], tuple[str, str]]:  # fmt: skip
    """The same for ``most`` keys behind ``after``, whichever they are: those that settling could not see.

    Returns the endpoints that have something due by that, and where to go on.
    """
    parameters = {"most": most, "after": after[0], "after_key": after[1]}
    row = session.execute(PROMOTE_ALL, parameters).one()
    return row.endpoint_ids, tuple(row.reached) if row.reached else BEGINNING
