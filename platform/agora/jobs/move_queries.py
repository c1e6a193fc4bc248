"""SQL of moves to another version of an action."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

STEPS = text(
    "SELECT DISTINCT name, position FROM steps WHERE job_id = :job_id AND team_id = :team_id ORDER BY position"
)


def list_steps(session: Session, *, team_id: str, job_id: str) -> Sequence[RowMapping]:
    """The names and places of the steps that a job has so far."""
    return session.execute(STEPS, {"team_id": team_id, "job_id": job_id}).mappings().all()


VERSION = text("""
UPDATE jobs SET version = :version
WHERE id = :job_id AND team_id = :team_id AND version = :before AND ended_at IS NULL
""")


def set_version(session: Session, *, team_id: str, job_id: str, before: int, version: int) -> bool:
    """Give an open job another version; False when it has ended, or has another one than ``before``."""
    parameters = {"team_id": team_id, "job_id": job_id, "before": before, "version": version}
    return session.execute(VERSION, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]


RETARGET = text("""
UPDATE steps
SET queue = :queue, max_attempts = :attempts, rung_at = NULL, held = CASE WHEN held <> 'worker' THEN held END
WHERE job_id = :job_id AND team_id = :team_id AND name = :name AND status IN ('ready', 'suspended')
""")


def retarget_steps(session: Session, *, team_id: str, job_id: str, name: str, queue: str, attempts: int) -> None:
    """Let the open steps of a name run where and as often as another version says; rings for them are void."""
    parameters = {"team_id": team_id, "job_id": job_id, "name": name, "queue": queue, "attempts": attempts}
    session.execute(RETARGET, parameters)


OPEN = text("""
SELECT id FROM jobs
WHERE team_id = :team_id AND status IN ('scheduled', 'queued', 'running', 'waiting')
  AND agent = :agent AND action = :action AND version = :version
ORDER BY id
LIMIT :limit
""")


def list_open(session: Session, *, team_id: str, agent: str, action: str, version: int, limit: int) -> Sequence[str]:
    """The ids of open jobs of an action version, oldest first."""
    parameters = {"team_id": team_id, "agent": agent, "action": action, "version": version, "limit": limit}
    return session.execute(OPEN, parameters).scalars().all()
