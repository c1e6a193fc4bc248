"""SQL of fan-outs: the items of map steps, which are rows of steps with an item number from 1."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.db.session import Direct, Rows, rows
from agora.ids import new_id

INSERT = text("""
INSERT INTO steps (id, job_id, team_id, name, position, iteration, item, status, queue, priority, label, max_attempts,
                   carry, value)
SELECT given.id, h.job_id, h.team_id, h.name, h.position, h.iteration, given.n, 'ready', h.queue, h.priority, h.label,
       h.max_attempts, h.carry, CAST(given.value AS jsonb)
FROM steps h
CROSS JOIN LATERAL unnest(CAST(:ids AS text[]), CAST(:items AS text[])) WITH ORDINALITY AS given (id, value, n)
WHERE h.id = :head
ON CONFLICT (job_id, name, iteration, item) DO NOTHING
""")


def insert_items(session: Session, *, head: str, items: Sequence[str]) -> None:
    """Make an item of the map step ``head`` for each stored value, in order, but for those that a retry took over."""
    session.execute(INSERT, {"head": head, "ids": [new_id("stp") for _ in items], "items": list(items)})


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemRecord:
    """What happens to one item. ``result`` is a stored value, ``retry_in`` seconds."""

    step_id: str
    fence: str | None
    step_status: str
    result: str | None = None
    error: Mapping[str, Any] | None = None
    retry_in: float | None = None
    give_back: int = 0
    lost: int = 0
    attempt_id: str | None = None
    attempt_outcome: str | None = None


# The job's row is neither locked nor written: ten thousand items would queue for it. Whoever ends a job takes the
# fences of its open steps first, so an item that still has its fence belongs to a job that goes on.
RECORD = text("""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (
        step_id text, fence text, step_status text, result text, error jsonb, retry_in float8, give_back int, lost int,
        attempt_id text, attempt_outcome text
    ) LIMIT :count
), held AS (
    SELECT given.* FROM given JOIN steps s ON s.id = given.step_id
    WHERE s.status = 'running' AND s.fence = given.fence
    ORDER BY s.id
    FOR UPDATE OF s
), step AS (
    UPDATE steps s
    SET status = f.step_status,
        fence = NULL,
        lease_expires_at = NULL,
        attempt = s.attempt - f.give_back,
        lost_leases = s.lost_leases + f.lost,
        result = CAST(f.result AS jsonb),
        error = f.error,
        run_at = CASE WHEN f.retry_in IS NULL THEN s.run_at ELSE now() + make_interval(secs => f.retry_in) END,
        held = CASE WHEN f.retry_in > 0 THEN 'time' END,
        rung_at = CASE WHEN f.retry_in = 0 THEN now() END,
        ended_at = CASE WHEN f.step_status <> 'ready' THEN now() END
    FROM held f
    WHERE s.id = f.step_id
    RETURNING s.id, s.job_id, s.team_id, s.name, s.iteration, s.attempt + f.give_back AS tried, s.worker_id,
              s.started_at
), tried AS (
    INSERT INTO attempts (id, job_id, step_id, team_id, number, outcome, worker_id, error, started_at)
    SELECT f.attempt_id, step.job_id, step.id, step.team_id, step.tried, f.attempt_outcome, step.worker_id, f.error,
           step.started_at
    FROM held f JOIN step ON step.id = f.step_id
    WHERE f.attempt_id IS NOT NULL
)
SELECT id FROM step
""")


def record_items(session: Session | Direct, records: Sequence[ItemRecord]) -> set[str]:
    """Write how items ended, of one job or several; the ids of those that were written: the others lost their fence."""
    made = [
        {name: value for name in ItemRecord.__slots__ if (value := getattr(one, name)) is not None} for one in records
    ]
    parameters = {"records": json.dumps(made, ensure_ascii=False), "count": len(records)}
    return {row["id"] for row in rows(session, RECORD, parameters)}


# A map step is over when none of its items is open, or more of them failed than its policy tolerates. Whoever records
# items asks after its commit: of two that end at once at least the later one sees that none is open.
OVER = """
SELECT h.id, h.job_id, h.team_id FROM steps h
CROSS JOIN LATERAL (
    SELECT count(*) AS failed FROM (
        SELECT FROM steps i
        WHERE i.job_id = h.job_id AND i.name = h.name AND i.iteration = h.iteration AND i.item > 0
          AND i.status = 'failed'
        LIMIT CAST(h.suspension ->> 'tolerated' AS int) + 1
    ) missed
) items
WHERE {which} AND h.item = 0 AND h.status = 'suspended' AND h.suspension ->> 'kind' = 'items'
  AND (items.failed > CAST(h.suspension ->> 'tolerated' AS int)
       OR NOT EXISTS (
           SELECT FROM steps i
           WHERE i.job_id = h.job_id AND i.name = h.name AND i.iteration = h.iteration AND i.item > 0
             AND i.status IN ('ready', 'running')
       ))
LIMIT :most
"""
OVER_OF = text(
    OVER.format(
        which="(h.job_id, h.name, h.iteration) IN (SELECT i.job_id, i.name, i.iteration FROM steps i"
        " WHERE i.id = ANY(:items))"
    )
)
OVER_ANY = text(OVER.format(which="true"))


def find_over(session: Session | Direct, *, items: Sequence[str]) -> Rows:
    """The map steps of these items that are over and not settled yet."""
    return rows(session, OVER_OF, {"items": list(items), "most": len(items)})


def find_any_over(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Map steps that are over and that nobody settled."""
    return session.execute(OVER_ANY, {"most": slice_}).mappings().all()


HOLD = text("""
SELECT id, job_id, name, iteration, suspension, wake_at, status FROM steps
WHERE id = :head AND status = 'suspended'
FOR UPDATE
""")


def hold_head(session: Session, *, head: str) -> RowMapping | None:
    """Lock a map step that is not settled yet."""
    return session.execute(HOLD, {"head": head}).mappings().one_or_none()


TALLY = text("""
SELECT count(*) AS total,
       count(*) FILTER (WHERE status IN ('succeeded', 'copied')) AS succeeded,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status IN ('ready', 'running')) AS open
FROM steps WHERE job_id = :job_id AND name = :name AND iteration = :iteration AND item > 0
""")


def tally(session: Session, *, job_id: str, name: str, iteration: int) -> RowMapping:
    """How many items a map step has, and where they stand."""
    return session.execute(TALLY, {"job_id": job_id, "name": name, "iteration": iteration}).mappings().one()


FIRST_FAILED = text("""
SELECT item, error FROM steps
WHERE job_id = :job_id AND name = :name AND iteration = :iteration AND item > 0 AND status = 'failed'
ORDER BY item LIMIT 1
""")


def find_first_failed(session: Session, *, job_id: str, name: str, iteration: int) -> RowMapping | None:
    """The first item, in input order, that has failed."""
    parameters = {"job_id": job_id, "name": name, "iteration": iteration}
    return session.execute(FIRST_FAILED, parameters).mappings().one_or_none()


PAGE = text("""
SELECT item, status, result, error FROM steps
WHERE job_id = :job_id AND name = :name AND iteration = :iteration AND item > :after
ORDER BY item LIMIT :limit
""")


def find_page(session: Session, *, job_id: str, name: str, iteration: int, after: int, limit: int) -> Rows:
    """Ended items of a map step in order, those behind number ``after``."""
    parameters = {"job_id": job_id, "name": name, "iteration": iteration, "after": after, "limit": limit}
    return rows(session, PAGE, parameters)
