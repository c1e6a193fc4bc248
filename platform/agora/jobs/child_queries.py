"""SQL of child jobs: what a step spawned, and whether all of it has ended."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.db.session import Direct, Rows, rows

# Whoever ends a child asks after its commit: of two that end at once at least the later one sees that none is open.
OVER = """
SELECT h.id, h.job_id, h.team_id FROM steps h
CROSS JOIN LATERAL (
    SELECT count(*) AS failed FROM (
        SELECT FROM jobs c WHERE c.parent_step_id = h.id AND c.status IN ('failed', 'cancelled')
        LIMIT CAST(h.suspension ->> 'tolerated' AS int) + 1
    ) missed
) children
WHERE {which} AND h.status = 'suspended' AND h.suspension ->> 'kind' = 'children'
  AND (children.failed > CAST(h.suspension ->> 'tolerated' AS int)
       OR NOT EXISTS (SELECT FROM jobs c WHERE c.parent_step_id = h.id
                      AND c.status IN ('scheduled', 'queued', 'running', 'waiting')))
LIMIT :most
"""
OVER_OF = text(OVER.format(which="h.id IN (SELECT c.parent_step_id FROM jobs c WHERE c.id = ANY(:jobs))"))
OVER_ANY = text(OVER.format(which="h.item = 0"))


def find_over(session: Session | Direct, *, jobs: Sequence[str]) -> Rows:
    """The steps that spawned these jobs and need not wait for children any more."""
    return rows(session, OVER_OF, {"jobs": list(jobs), "most": len(jobs)})


def find_any_over(session: Session, *, slice_: int) -> Sequence[RowMapping]:
    """Steps that need not wait for children any more and that nobody went on with."""
    return session.execute(OVER_ANY, {"most": slice_}).mappings().all()


CHILDREN = text("""
SELECT id, status, output, error FROM jobs
WHERE team_id = :team_id AND (parent_step_id = :step_id OR id = ANY(:taken))
ORDER BY child_index
""")


def list_children(session: Session, *, team_id: str, step_id: str, taken: Sequence[str]) -> Sequence[RowMapping]:
    """The jobs that a step spawned, with those that it took over from the step whose retry it is, in order."""
    parameters = {"team_id": team_id, "step_id": step_id, "taken": list(taken)}
    return session.execute(CHILDREN, parameters).mappings().all()


EARLIER = text("""
WITH step AS (
    SELECT id, COALESCE(suspension -> 'taken', '[]') AS taken FROM steps
    WHERE job_id = :job_id AND team_id = :team_id AND name = :name AND iteration = :iteration AND item = 0
)
SELECT c.id, c.child_index, c.status, c.agent, c.action, c.input, c.root_id
FROM step
JOIN jobs c ON c.parent_step_id = step.id OR c.id IN (SELECT jsonb_array_elements_text(step.taken))
WHERE c.team_id = :team_id
""")


def list_earlier(session: Session, *, team_id: str, job_id: str, name: str, iteration: int) -> Sequence[RowMapping]:
    """The children of a step of the job that is retried now."""
    parameters = {"team_id": team_id, "job_id": job_id, "name": name, "iteration": iteration}
    return session.execute(EARLIER, parameters).mappings().all()


HELD = text("SELECT id, name, iteration, suspension FROM steps WHERE id = :step_id AND status = 'suspended'")


def find_waiting(session: Session, *, step_id: str) -> RowMapping | None:
    """A step that waits for its children."""
    return session.execute(HELD, {"step_id": step_id}).mappings().one_or_none()
