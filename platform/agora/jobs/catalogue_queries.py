"""SQL about the catalogue and the workers. Both are shared by all teams: no team_id here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from agora.jobs.models import AgentVersion

UPSERT = text("""
INSERT INTO agent_versions (agent, action, version, description, agent_description, spec, fingerprint)
VALUES (:agent, :action, :version, :description, :agent_description, CAST(:spec AS jsonb), :fingerprint)
ON CONFLICT (agent, action, version) DO UPDATE SET agent = excluded.agent
RETURNING fingerprint
""")


def upsert_version(session: Session, *, spec: Mapping[str, Any], **columns: Any) -> str:
    """Insert a version unless it exists; returns the fingerprint that is registered now."""
    found: str = session.execute(UPSERT, {"spec": json.dumps(spec), **columns}).scalar_one()
    return found


def find_version(session: Session, *, agent: str, action: str, version: int) -> AgentVersion | None:
    """One registered version."""
    return session.get(AgentVersion, (agent, action, version))


def list_version_numbers(session: Session, *, agent: str, action: str) -> list[int]:
    """The registered versions of an action, ascending."""
    statement = select(AgentVersion.version).where(AgentVersion.agent == agent, AgentVersion.action == action)
    return list(session.scalars(statement.order_by(AgentVersion.version)))


def list_actions_of(session: Session, *, agent: str) -> list[str]:
    """The names of an agent's actions."""
    statement = select(AgentVersion.action).where(AgentVersion.agent == agent).distinct()
    return list(session.scalars(statement.order_by(AgentVersion.action)))


LISTED = text("""
SELECT v.agent, v.action, v.version, v.description, v.agent_description, v.spec, v.registered_at,
       (SELECT count(*) FROM workers w
        WHERE w.seen_at > now() - make_interval(secs => :alive)
          AND w.actions @> ARRAY[v.agent || '.' || v.action || '@' || v.version]) AS live_workers
FROM agent_versions v
WHERE CAST(:agent AS text) IS NULL OR v.agent = :agent
ORDER BY v.agent, v.action, v.version
""")


def list_versions(session: Session, *, agent: str | None, alive: float) -> Sequence[RowMapping]:
    """All registered versions with the number of workers that reported within ``alive`` seconds."""
    return session.execute(LISTED, {"agent": agent, "alive": alive}).mappings().all()


UPSERT_WORKER = text("""
INSERT INTO workers (id, hostname, pid, actions) VALUES (:worker_id, :hostname, :pid, :actions)
ON CONFLICT (id) DO UPDATE SET seen_at = now()
""")


def upsert_worker(session: Session, *, worker_id: str, hostname: str, pid: int, actions: Sequence[str]) -> None:
    """Enter a worker, or note that it is alive."""
    parameters = {"worker_id": worker_id, "hostname": hostname, "pid": pid, "actions": list(actions)}
    session.execute(UPSERT_WORKER, parameters)


def forget_workers(session: Session, *, silent: float) -> None:
    """Delete workers that have not reported for ``silent`` seconds."""
    statement = text("DELETE FROM workers WHERE seen_at < now() - make_interval(secs => :silent)")
    session.execute(statement, {"silent": silent})


def delete_worker(session: Session, *, worker_id: str) -> None:
    """Delete a worker that said goodbye."""
    session.execute(text("DELETE FROM workers WHERE id = :worker_id"), {"worker_id": worker_id})


def find_revision(session: Session) -> str | None:
    """The migration that the session's database is at."""
    found: str | None = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
