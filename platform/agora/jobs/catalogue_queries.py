"""SQL about the catalogue and the workers. Both are shared by all teams: no team_id here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, RowMapping, func, select, text
from sqlalchemy.orm import Session

from agora.agents import QUEUES
from agora.db.session import Direct, Rows, rows
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


OPEN_JOBS = """
    SELECT DISTINCT j.id
    FROM (
        SELECT job_id, label FROM steps WHERE status = 'running'
        UNION ALL SELECT job_id, label FROM steps WHERE status = 'suspended'
        UNION ALL SELECT job_id, label FROM steps WHERE status = 'ready' AND rung_at IS NOT NULL
        UNION ALL SELECT job_id, label FROM steps WHERE status = 'ready' AND rung_at IS NULL AND held IS NULL
        UNION ALL SELECT job_id, label FROM steps WHERE status = 'ready' AND held IS NOT NULL
    ) s
    JOIN jobs j ON j.id = s.job_id
    WHERE starts_with(s.label, :agent || '.' || :action || '.')
      AND j.agent = :agent AND j.action = :action AND j.version = :version AND j.ended_at IS NULL
"""
"""Open jobs of a version, by their open steps: these have indexes in which nothing that has ended lies."""

REPLACE = text(f"""
UPDATE agent_versions
SET spec = CAST(:spec AS jsonb), fingerprint = :fingerprint, description = :description,
    agent_description = :agent_description, registered_at = now()
WHERE agent = :agent AND action = :action AND version = :version AND NOT EXISTS ({OPEN_JOBS})
""")


def replace_version(session: Session, *, spec: Mapping[str, Any], **columns: Any) -> bool:
    """Give a registered version another shape, unless open jobs were made by the one it has. In development only."""
    replaced = session.execute(REPLACE, {"spec": json.dumps(spec), **columns})
    return replaced.rowcount == 1  # type: ignore[attr-defined,no-any-return]


OPEN = text(f"SELECT count(*) FROM ({OPEN_JOBS}) open")


def count_open_jobs(session: Session, *, agent: str, action: str, version: int) -> int:
    """How many jobs of a version have not ended."""
    return int(session.execute(OPEN, {"agent": agent, "action": action, "version": version}).scalar_one())


def find_version(session: Session, *, agent: str, action: str, version: int) -> AgentVersion | None:
    """One registered version."""
    return session.get(AgentVersion, (agent, action, version))


def list_version_numbers(session: Session, *, agent: str, action: str) -> list[int]:
    """The registered versions of an action, ascending."""
    statement = select(AgentVersion.version).where(AgentVersion.agent == agent, AgentVersion.action == action)
    return list(session.scalars(statement.order_by(AgentVersion.version)))


def list_newest(session: Session) -> Sequence[Row[str, str, int]]:
    """Agent, action and newest version of every action."""
    newest = func.max(AgentVersion.version).label("version")
    statement = select(AgentVersion.agent, AgentVersion.action, newest)
    return session.execute(statement.group_by(AgentVersion.agent, AgentVersion.action)).all()


def list_actions_of(session: Session, *, agent: str) -> list[str]:
    """The names of an agent's actions."""
    statement = select(AgentVersion.action).where(AgentVersion.agent == agent).distinct()
    return list(session.scalars(statement.order_by(AgentVersion.action)))


LISTED = text("""
WITH live AS (
    SELECT id, actions, queues FROM workers WHERE seen_at > now() - make_interval(secs => :alive)
)
SELECT v.agent, v.action, v.version, v.description, v.agent_description, v.spec, v.registered_at, on_queue.workers,
       (SELECT count(*) FROM live WHERE own.label = ANY(actions) AND (queues = '{}' OR queues && own.queues))
       AS live_workers
FROM agent_versions v
CROSS JOIN LATERAL (
    SELECT v.agent || '.' || v.action || '@' || v.version AS label, array_agg(DISTINCT step ->> 'queue') AS queues
    FROM jsonb_array_elements(v.spec -> 'steps') AS step
) own
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(counted.queue, counted.workers) AS workers
    FROM (
        SELECT q.queue, count(live.id) AS workers
        FROM unnest(own.queues) AS q (queue)
        LEFT JOIN live ON own.label = ANY(live.actions) AND (live.queues = '{}' OR q.queue = ANY(live.queues))
        GROUP BY q.queue
    ) counted
) on_queue
WHERE CAST(:agent AS text) IS NULL OR v.agent = :agent
ORDER BY v.agent, v.action, v.version
""")


def list_versions(session: Session, *, agent: str | None, alive: float) -> Sequence[RowMapping]:
    """All registered versions, each with the workers that reported within ``alive`` seconds.

    ``workers`` counts those that listen to each queue of the version's steps, ``live_workers`` those
    that listen to any.
    """
    return session.execute(LISTED, {"agent": agent, "alive": alive}).mappings().all()


MANNED = text("""
SELECT queue, array_agg(DISTINCT label) AS labels
FROM workers w,
     unnest(CASE WHEN w.queues = '{}' THEN CAST(:queues AS text[]) ELSE w.queues END) AS queue,
     unnest(w.actions) AS label
WHERE w.seen_at > now() - make_interval(secs => :alive)
GROUP BY queue
""")


def list_manned(session: Session | Direct, *, alive: float) -> Rows:
    """For each queue, the action versions that a worker runs there that reported within ``alive`` seconds."""
    return rows(session, MANNED, {"alive": alive, "queues": list(QUEUES)})


UPSERT_WORKER = text("""
INSERT INTO workers (id, hostname, pid, actions, queues) VALUES (:worker_id, :hostname, :pid, :actions, :queues)
ON CONFLICT (id) DO UPDATE SET seen_at = now()
""")


def upsert_worker(
    session: Session, *, worker_id: str, hostname: str, pid: int, actions: Sequence[str], queues: Sequence[str]
) -> None:
    """Enter a worker, or note that it is alive."""
    parameters = {
        "worker_id": worker_id, "hostname": hostname, "pid": pid, "actions": list(actions), "queues": list(queues),
    }  # fmt: skip
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
