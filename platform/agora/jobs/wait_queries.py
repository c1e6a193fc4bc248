"""SQL of why a job waits. Each count is bounded."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

AHEAD = text("""
SELECT count(*) AS ahead FROM (
    SELECT FROM due_steps d
    WHERE d.queue = :queue AND d.team_id = :team_id AND (d.place, d.id) < (CAST(:place AS timestamp), :step_id)
    LIMIT :bound
) before
""")


def count_ahead(session: Session, *, team_id: str, queue: str, place: object, step_id: str, bound: int) -> int:
    """How many due steps of the team stand before this one in its queue, at most ``bound``."""
    parameters = {"team_id": team_id, "queue": queue, "place": place, "step_id": step_id, "bound": bound}
    return int(session.execute(AHEAD, parameters).scalar_one())


PAUSED = text("SELECT paused_at, reason FROM queues WHERE name = :queue AND paused_at IS NOT NULL")


def find_pause(session: Session, *, team_id: str, queue: str) -> RowMapping | None:
    """Since when, and why, a queue is paused; None when it is not. Queues are shared: the team only asks."""
    del team_id
    return session.execute(PAUSED, {"queue": queue}).mappings().one_or_none()


STOPPED = text("""
SELECT p.scope, p.place, p.since, l.team_id AS owner, l.agent, l.action, l.key, l.max_running, l.rate, l.next_at,
       (SELECT count(*) FROM permits h WHERE h.scope = p.scope AND h.state = 'held') AS running,
       (SELECT count(*) FROM (SELECT FROM permits w
                              WHERE w.scope = p.scope AND w.state = 'waiting' AND w.team_id = p.team_id
                                AND (w.place, w.job_id) < (p.place, p.job_id)
                              LIMIT :bound) before) AS ahead
FROM permits p JOIN limits l ON l.scope = p.scope
WHERE p.job_id = :job_id AND p.team_id = :team_id AND p.state = 'waiting'
ORDER BY p.scope
LIMIT 1
""")


def find_stop(session: Session, *, team_id: str, job_id: str, bound: int) -> RowMapping | None:
    """The limit in whose line a job stands, and how many of its team stand before it, at most ``bound``."""
    return session.execute(STOPPED, {"team_id": team_id, "job_id": job_id, "bound": bound}).mappings().one_or_none()


HOLDERS = text("""
SELECT job_id FROM permits WHERE scope = :scope AND state = 'held' AND team_id = :team_id ORDER BY job_id LIMIT :most
""")


def list_holders(session: Session, *, team_id: str, scope: str, most: int) -> Sequence[str]:
    """Jobs of the team that hold permits of a limit, at most ``most``."""
    return list(session.scalars(HOLDERS, {"team_id": team_id, "scope": scope, "most": most}))
