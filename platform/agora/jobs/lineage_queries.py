"""SQL of retries and forks: checkpoints taken over by reference."""

from sqlalchemy import text
from sqlalchemy.orm import Session

COPY_STEPS = text("""
INSERT INTO steps (id, job_id, team_id, name, position, iteration, item, status, queue, priority, label, attempt,
                   max_attempts, carry, value, result, error, copied_from, started_at, ended_at)
SELECT agora_new_id('stp'), :job_id, team_id, name, position, iteration, item,
       CASE status WHEN 'failed' THEN 'failed' ELSE 'copied' END, queue, priority, label,
       attempt, max_attempts, carry, value, result, error, COALESCE(copied_from, id), started_at, ended_at
FROM steps
WHERE job_id = :source AND team_id = :team_id
  -- A fan-out that tolerated failures is taken over with them.
  AND (status IN ('succeeded', 'copied') OR item > 0 AND status = 'failed')
  AND (iteration, position) < (:iteration, :position)
""")


def copy_steps(session: Session, *, team_id: str, source: str, job_id: str, iteration: int, position: int) -> None:
    """Give a new job the checkpoints of another one that lie before a position.

    A result in the row is copied with it, a large one stays the reference into the file store. ``copied_from`` names
    the step that computed it.
    """
    parameters = {
        "team_id": team_id, "source": source, "job_id": job_id, "iteration": iteration, "position": position,
    }  # fmt: skip
    session.execute(COPY_STEPS, parameters)


COPY_ITEMS = text("""
INSERT INTO steps (id, job_id, team_id, name, position, iteration, item, status, queue, priority, label, attempt,
                   max_attempts, carry, value, result, copied_from, started_at, ended_at)
SELECT agora_new_id('stp'), :job_id, team_id, name, position, iteration, item, 'copied', queue, priority, label,
       attempt, max_attempts, carry, value, result, COALESCE(copied_from, id), started_at, ended_at
FROM steps
WHERE job_id = :source AND team_id = :team_id AND name = :name AND iteration = :iteration AND item > 0
  AND status IN ('succeeded', 'copied')
""")


def copy_items(session: Session, *, team_id: str, source: str, job_id: str, name: str, iteration: int) -> None:
    """Give a new job the items of a map step that succeeded, though not all did: only the others are run again."""
    parameters = {"team_id": team_id, "source": source, "job_id": job_id, "name": name, "iteration": iteration}
    session.execute(COPY_ITEMS, parameters)


COPY_NOTES = text("""
INSERT INTO step_notes (step_id, key, value)
SELECT :step_id, n.key, n.value
FROM step_notes n JOIN steps s ON s.id = n.step_id
WHERE n.step_id = :source AND s.team_id = :team_id
""")


def copy_notes(session: Session, *, team_id: str, source: str, step_id: str) -> None:
    """Give a new step what ``ctx.once`` stored for another one: what was paid for is not paid for again."""
    session.execute(COPY_NOTES, {"team_id": team_id, "source": source, "step_id": step_id})


COPY_PAID = text("""
INSERT INTO step_usage (step_id, id, team_id, attempt, key, model, tokens_in, tokens_out, cost_usd)
SELECT :step_id, agora_new_id('use'), team_id, 0, key, model, 0, 0, 0
FROM step_usage
WHERE step_id = :source AND team_id = :team_id AND key IS NOT NULL
""")


def copy_paid(session: Session, *, team_id: str, source: str, step_id: str) -> None:
    """Note for a new step which of its calls another one has counted (``ctx.use`` with a key): counted once."""
    session.execute(COPY_PAID, {"team_id": team_id, "source": source, "step_id": step_id})
