"""SQL of retries and forks: checkpoints taken over by reference."""

from sqlalchemy import text
from sqlalchemy.orm import Session

COPY_STEPS = text("""
INSERT INTO steps (id, job_id, team_id, name, position, iteration, item, status, queue, priority, label, attempt,
                   max_attempts, carry, result, copied_from, started_at, ended_at)
SELECT agora_new_id('stp'), :job_id, team_id, name, position, iteration, item, 'copied', queue, priority, label,
       attempt, max_attempts, carry, result, COALESCE(copied_from, id), started_at, ended_at
FROM steps
WHERE job_id = :source AND team_id = :team_id AND status IN ('succeeded', 'copied')
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


COPY_NOTES = text("""
INSERT INTO step_notes (step_id, key, value)
SELECT :step_id, n.key, n.value
FROM step_notes n JOIN steps s ON s.id = n.step_id
WHERE n.step_id = :source AND s.team_id = :team_id
""")


def copy_notes(session: Session, *, team_id: str, source: str, step_id: str) -> None:
    """Give a new step what ``ctx.once`` stored for another one: what was paid for is not paid for again."""
    session.execute(COPY_NOTES, {"team_id": team_id, "source": source, "step_id": step_id})
