"""SQL of retention, over all teams. Every statement takes a bounded slice and leaves what is open or on hold."""

from collections.abc import Sequence

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from agora.retention.queries import REMOVING, SPACE

HELD = """
    SELECT FROM holds h WHERE h.team_id = {job}.team_id AND h.released_at IS NULL AND {job}.metadata @> h.metadata
"""
"""Whether a legal hold keeps a job."""

ALONE = text("SELECT pg_try_advisory_xact_lock(:space, :lock)")


def try_alone(session: Session) -> bool:
    """Be the only one that removes, for this transaction; False while another does, or while a hold is being made."""
    return bool(session.execute(ALONE, {"space": SPACE, "lock": REMOVING}).scalar())


OLD_JOBS = text(f"""
WITH RECURSIVE seen AS (
    SELECT id FROM jobs WHERE id > :after AND id < :before ORDER BY id LIMIT :slice
), free AS (
    SELECT j.id FROM jobs j
    WHERE j.id IN (SELECT id FROM seen)
      AND j.ended_at < now() - make_interval(secs => CASE j.status
          WHEN 'succeeded' THEN CAST(:succeeded AS float8)
          WHEN 'failed' THEN CAST(:failed AS float8)
          WHEN 'cancelled' THEN CAST(:cancelled AS float8) END)
      AND NOT EXISTS ({HELD.format(job="j")})
      -- What others still wait for or tell of: an open parent, an unfinished batch, a delivery that is not made.
      AND NOT EXISTS (SELECT FROM jobs p WHERE p.id = j.parent_id AND p.ended_at IS NULL)
      AND NOT EXISTS (SELECT FROM batches b WHERE b.id = j.batch_id AND b.ended_at IS NULL)
      AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.job_id = j.id AND d.ended_at IS NULL)
      -- Children of an ended job that a retry of it has taken over, while it waits for its other ones. NOT IN is
      -- hashed: the open steps that have such are read once.
      AND j.id NOT IN (
          SELECT jsonb_array_elements_text(s.suspension -> 'taken') FROM steps s
          WHERE s.item = 0 AND s.status = 'suspended' AND s.suspension ->> 'kind' = 'children'
      )
    ORDER BY j.id
    FOR UPDATE OF j SKIP LOCKED
), numbered AS (
    SELECT ARRAY(SELECT id FROM free ORDER BY id) AS ids
), fits (n, steps) AS (
    -- How many steps go with the first n of them, counted no further than to the first that is too many.
    SELECT 0, CAST(0 AS bigint)
    UNION ALL
    SELECT n + 1, fits.steps + (
        SELECT count(*) FROM (SELECT FROM steps s WHERE s.job_id = ids[n + 1] LIMIT :steps + 1) counted
    )
    FROM fits, numbered WHERE n < cardinality(ids) AND fits.steps <= :steps
), cut AS (
    -- A job that has too many by itself goes alone.
    SELECT GREATEST(max(n) FILTER (WHERE steps <= :steps), LEAST(1, max(n))) AS n FROM fits
)
SELECT CASE WHEN n < cardinality(ids) THEN ids[n] ELSE (SELECT max(id) FROM seen) END AS last, ids[1:n] AS free
FROM cut, numbered
""")


def lock_old_jobs(
    session: Session, *, after: str, before: str, ages: dict[str, float | None], slice_: int, steps: int
) -> tuple[str | None, list[str]]:
    """Look at a slice of jobs between two ids; the last id seen (None: no more), and those that may go, locked.

    ``ages`` are seconds since the end by status; None keeps for ever. Those that may go have ``steps`` steps together
    at most, or it is one job: the last id seen is then theirs.
    """
    given = {"after": after, "before": before, "slice": slice_, "steps": steps}
    row = session.execute(OLD_JOBS, given | ages).one()
    return row.last, list(row.free)


REMOVE_JOBS = text("DELETE FROM jobs WHERE id = ANY(:ids) AND ended_at IS NOT NULL")
# Endpoints are locked before deliveries, here and everywhere.
LOCK_THEIR_ENDPOINTS = text(
    "SELECT FROM webhook_endpoints WHERE kind = 'inline' AND job_id = ANY(:ids) ORDER BY id FOR UPDATE"
)
REMOVE_THEIR_DELIVERIES = text("DELETE FROM webhook_deliveries WHERE job_id = ANY(:ids)")
REMOVE_THEIR_ENDPOINTS = text("DELETE FROM webhook_endpoints WHERE kind = 'inline' AND job_id = ANY(:ids)")


def remove_jobs(session: Session, *, ids: Sequence[str]) -> int:
    """Delete ended jobs with their steps, notes, deliveries and inline endpoints."""
    given = {"ids": list(ids)}
    session.execute(LOCK_THEIR_ENDPOINTS, given)
    session.execute(REMOVE_THEIR_DELIVERIES, given)
    session.execute(REMOVE_THEIR_ENDPOINTS, given)
    return session.execute(REMOVE_JOBS, given).rowcount  # type: ignore[attr-defined,no-any-return]


OLD_DELIVERIES = text(f"""
WITH seen AS (
    SELECT id, job_id, ended_at FROM webhook_deliveries WHERE id > :after AND id < :before ORDER BY id LIMIT :slice
), removed AS (
    DELETE FROM webhook_deliveries d USING seen
    WHERE d.id = seen.id AND d.ended_at < now() - make_interval(secs => :age)
      AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = seen.job_id AND EXISTS ({HELD.format(job="j")}))
    RETURNING d.id
)
SELECT (SELECT max(id) FROM seen) AS last, (SELECT count(*) FROM removed) AS removed
""")


def remove_deliveries(
    session: Session, *, after: str, before: str, age: float, slice_: int
) -> tuple[str | None, int]:  # fmt: skip
    """Delete ended deliveries of a slice between two ids, but for jobs on hold; the last id seen, and how many went."""
    row = session.execute(OLD_DELIVERIES, {"after": after, "before": before, "age": age, "slice": slice_}).one()
    return row.last, row.removed


OLD_BATCHES = text("""
DELETE FROM batches WHERE id IN (
    SELECT b.id FROM batches b
    WHERE b.id < :before AND b.ended_at IS NOT NULL AND NOT EXISTS (SELECT FROM jobs j WHERE j.batch_id = b.id)
    ORDER BY b.id LIMIT :slice
)
""")


def remove_batches(session: Session, *, before: str, slice_: int) -> int:
    """Delete completed batches none of whose jobs is left."""
    parameters = {"before": before, "slice": slice_}
    return session.execute(OLD_BATCHES, parameters).rowcount  # type: ignore[attr-defined,no-any-return]


OLD_BULKS = """
    SELECT id FROM bulk_actions
    WHERE id < :before AND ended_at < now() - make_interval(secs => :age)
    ORDER BY id LIMIT :slice
"""
OLD_ITEMS = text(f"""
WITH old AS MATERIALIZED ({OLD_BULKS}), items AS MATERIALIZED (
    SELECT i.bulk_id, i.job_id FROM old CROSS JOIN LATERAL (
        SELECT bulk_id, job_id FROM bulk_items WHERE bulk_id = old.id ORDER BY job_id LIMIT :items
    ) i
    LIMIT :items
)
DELETE FROM bulk_items WHERE (bulk_id, job_id) IN (SELECT bulk_id, job_id FROM items)
""")
REMOVE_BULKS = text(f"""
WITH old AS MATERIALIZED ({OLD_BULKS})
DELETE FROM bulk_actions b USING old
WHERE b.id = old.id AND NOT EXISTS (SELECT FROM bulk_items i WHERE i.bulk_id = b.id)
""")


def remove_bulks(session: Session, *, before: str, age: float, slice_: int, items: int) -> int:
    """Delete bulk actions that ended more than ``age`` seconds ago; how many went.

    What they noted of jobs goes first, no more than ``items`` of it at once: an action with more goes another time.
    """
    given = {"before": before, "age": age, "slice": slice_}
    session.execute(OLD_ITEMS, given | {"items": items})
    return session.execute(REMOVE_BULKS, given).rowcount  # type: ignore[attr-defined,no-any-return]


COUNT = text("""
INSERT INTO removals (kind, removed) VALUES (:kind, :removed)
ON CONFLICT (kind) DO UPDATE SET removed = removals.removed + excluded.removed, last_at = now()
""")


def count_removed(session: Session, *, kind: str, removed: int) -> None:
    """Add to what was removed of a kind."""
    session.execute(COUNT, {"kind": kind, "removed": removed})


COUNTS = text("SELECT kind, removed FROM removals ORDER BY kind")


def list_removed(session: Session) -> dict[str, int]:
    """How much was removed so far, by kind."""
    return {row.kind: row.removed for row in session.execute(COUNTS)}


PARTITIONS = text("""
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(:table)
ORDER BY c.relname
""")


def list_partitions(session: Session, *, table: str) -> list[str]:
    """The names of a table's partitions."""
    return list(session.execute(PARTITIONS, {"table": table}).scalars())


STILL = {
    "job": sql.SQL(
        f"SELECT FROM jobs j WHERE j.id = e.job_id AND (j.ended_at IS NULL OR EXISTS ({HELD.format(job='j')}))"
    ),
    "delivery": sql.SQL("SELECT FROM webhook_deliveries d WHERE d.id = e.delivery_id"),
}
"""What keeps a row of a partition: its job is open or on hold, or its delivery is kept."""


def drop_partition(session: Session, *, table: str, partition: str, kept_by: str, wait: int) -> int:
    """Drop a partition; the rows that are still kept move to the default partition. Returns how many those are.

    Only the last steps lock the table, for as long as it takes to move these rows; they wait for the lock ``wait``
    milliseconds at most. Raises OperationalError when it is not to be had.
    """
    names = {"table": sql.Identifier(table), "old": sql.Identifier(partition)}
    moved = _run(
        session,
        sql.SQL("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT e.* FROM {old} e WHERE EXISTS ({still})"),
        still=STILL[kept_by], **names,
    )  # fmt: skip
    _run(session, sql.SQL("SET LOCAL lock_timeout = {wait}"), wait=sql.Literal(wait))
    _run(session, sql.SQL("ALTER TABLE {table} DETACH PARTITION {old}"), **names)
    _run(session, sql.SQL("INSERT INTO {table} SELECT * FROM kept"), **names)
    _run(session, sql.SQL("DROP TABLE {old}"), **names)
    return moved


def remove_moved(
    session: Session, *, table: str, kept_by: str, after: str, before: str, slice_: int
) -> tuple[str | None, int]:
    """Delete rows of the default partition that nothing keeps any more; the last id seen, and how many went."""
    names = {"default": sql.Identifier(f"{table}_default"), "still": STILL[kept_by]}
    bounds = {"after": sql.Literal(after), "before": sql.Literal(before), "slice": sql.Literal(slice_)}
    statement = sql.SQL("""
        WITH seen AS (
            SELECT id FROM {default} WHERE id > {after} AND id < {before} ORDER BY id LIMIT {slice}
        ), removed AS (
            DELETE FROM {default} e USING seen WHERE e.id = seen.id AND NOT EXISTS ({still}) RETURNING e.id
        )
        SELECT (SELECT max(id) FROM seen) AS last, (SELECT count(*) FROM removed) AS removed
    """).format(**names, **bounds)
    row = session.connection().exec_driver_sql(statement.as_string(None)).one()
    return row.last, row.removed


def _run(session: Session, statement: sql.SQL, **parts: sql.Composable) -> int:
    # DDL takes no bound parameters: identifiers and literals are quoted by psycopg.
    return session.connection().exec_driver_sql(statement.format(**parts).as_string(None)).rowcount
