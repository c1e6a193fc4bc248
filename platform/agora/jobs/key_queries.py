"""SQL of concurrency keys. Who submits with a key locks its row: submits with one key go one after the other."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

INSERT = text("""
INSERT INTO limits (scope, team_id, key, max_running) VALUES (:scope, :team_id, :key, :limit)
ON CONFLICT (scope) DO NOTHING
""")


def insert_key(session: Session, *, team_id: str, scope: str, key: str, limit: int) -> None:
    """Make a key's row unless there is one."""
    session.execute(INSERT, {"scope": scope, "team_id": team_id, "key": key, "limit": limit})


LOCK = text("""
UPDATE limits SET max_running = COALESCE(:limit, max_running), updated_at = now()
WHERE scope = :scope AND team_id = :team_id
""")


def lock_key(session: Session, *, team_id: str, scope: str, limit: int | None) -> bool:
    """Lock a key's row and set its limit, None leaves it; False when it is gone."""
    parameters = {"scope": scope, "team_id": team_id, "limit": limit}
    return session.execute(LOCK, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]


OPEN = text("""
SELECT p.job_id FROM permits p JOIN jobs j ON j.id = p.job_id
WHERE p.scope = :scope AND p.team_id = :team_id AND j.ended_at IS NULL AND j.cancel_requested_at IS NULL
ORDER BY p.job_id
""")


def list_open(session: Session, *, team_id: str, scope: str) -> list[str]:
    """The jobs with a key that have not ended and shall not be cancelled, oldest first."""
    return list(session.scalars(OPEN, {"scope": scope, "team_id": team_id}))


CANCEL = text("""
UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, now()), cancel_reason = :reason
WHERE id = ANY(:job_ids) AND team_id = :team_id AND ended_at IS NULL
""")


def request_cancels(session: Session, *, team_id: str, job_ids: Sequence[str], reason: str) -> None:
    """Ask jobs to stop. Whoever asked cancels them after the commit, or the dispatcher does."""
    session.execute(CANCEL, {"job_ids": list(job_ids), "team_id": team_id, "reason": reason})
