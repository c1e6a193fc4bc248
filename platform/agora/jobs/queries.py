"""SQL about jobs as their owners see them: submit, read, cancel. Every function is scoped by team."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, select, text
from sqlalchemy.orm import Session

from agora.ids import month_id
from agora.jobs.models import AttemptRow, JobRow, StepRow


def find_job(session: Session, *, team_id: str, job_id: str, keep: bool = False) -> JobRow | None:
    """One job of the team; with ``keep`` retention cannot remove it while the transaction lasts."""
    statement = select(JobRow).where(JobRow.id == job_id, JobRow.team_id == team_id)
    return session.scalar(statement.with_for_update(key_share=True, read=True) if keep else statement)


def get_parent(session: Session, *, team_id: str, job_id: str) -> RowMapping:
    """What the children of a running job inherit."""
    statement = select(JobRow.depth, JobRow.priority, JobRow.retry_of).where(
        JobRow.id == job_id, JobRow.team_id == team_id
    )
    return session.execute(statement).mappings().one()


def find_steps(session: Session, *, team_id: str, job_id: str) -> Sequence[StepRow]:
    """The steps of a job in the order in which they came to be, without the items of map steps."""
    statement = select(StepRow).where(StepRow.job_id == job_id, StepRow.team_id == team_id, StepRow.item == 0)
    return session.scalars(statement.order_by(StepRow.iteration, StepRow.position)).all()


ITEMS = text("""
SELECT name, iteration, status, count(*) AS n FROM steps
WHERE job_id = :job_id AND team_id = :team_id AND item > 0
GROUP BY name, iteration, status
""")


def count_items(session: Session, *, team_id: str, job_id: str) -> Sequence[RowMapping]:
    """How many items of a job's map steps stand in each state."""
    return session.execute(ITEMS, {"team_id": team_id, "job_id": job_id}).mappings().all()


def has_step(session: Session, *, team_id: str, job_id: str, step: str, iteration: int) -> bool:
    """Whether a job has come to a step."""
    statement = select(StepRow.id).where(
        StepRow.job_id == job_id, StepRow.team_id == team_id, StepRow.name == step, StepRow.iteration == iteration
    )
    return session.scalar(statement.limit(1)) is not None


def list_items(
    session: Session, *, team_id: str, job_id: str, step: str, iteration: int, statuses: Sequence[str], after: int,
    limit: int,
) -> Sequence[StepRow]:  # fmt: skip
    """Items of a map step in order, behind item number ``after``, of all states or these."""
    statement = select(StepRow).where(
        StepRow.job_id == job_id, StepRow.team_id == team_id, StepRow.name == step, StepRow.iteration == iteration,
        StepRow.item > after,
    )  # fmt: skip
    if statuses:
        statement = statement.where(StepRow.status.in_(statuses))
    return session.scalars(statement.order_by(StepRow.item).limit(limit)).all()


RAISE_PROGRESS = text("""
UPDATE jobs SET progress = GREATEST(progress, :fraction), progress_message = :message
WHERE id = :job_id AND team_id = :team_id AND status = 'running'
""")


def raise_progress(session: Session, *, team_id: str, job_id: str, fraction: float, message: str) -> bool:
    """Note how far a running job is; False when it runs no more."""
    parameters = {"team_id": team_id, "job_id": job_id, "fraction": fraction, "message": message}
    return session.execute(RAISE_PROGRESS, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]


def find_step(session: Session, *, team_id: str, job_id: str, step_id: str) -> StepRow | None:
    """One step of a job."""
    statement = select(StepRow).where(StepRow.id == step_id, StepRow.job_id == job_id, StepRow.team_id == team_id)
    return session.scalar(statement)


def find_attempts(
    session: Session, *, team_id: str, job_id: str, created_at: datetime, limit: int
) -> Sequence[AttemptRow]:
    """The newest tries of a job's steps, oldest first. ``created_at`` of the job keeps old partitions out."""
    statement = select(AttemptRow).where(
        AttemptRow.job_id == job_id, AttemptRow.team_id == team_id, AttemptRow.id >= month_id("att", created_at)
    )
    # In an order that no index has: else Postgres might walk all tries of the month, backwards, to spare itself a sort.
    return session.scalars(statement.order_by(AttemptRow.id.concat("").desc()).limit(limit)).all()[::-1]


LOCK_STEPS = text("""
SELECT id, name, iteration, status, suspension, wake_at, carry FROM steps
WHERE job_id = :job_id AND team_id = :team_id AND status IN ('ready', 'running', 'suspended')
ORDER BY id
FOR UPDATE
""")


def lock_open_steps(session: Session, *, team_id: str, job_id: str) -> Sequence[RowMapping]:
    """Lock the open steps of a job: everybody locks steps before their job, so that nobody waits in a circle.

    A transactional step is locked for as long as it runs. Who cannot wait for that uses :func:`try_lock_open_steps`.
    """
    return session.execute(LOCK_STEPS, {"team_id": team_id, "job_id": job_id}).mappings().all()


TRY_LOCK_STEPS = text("""
WITH mine AS (
    SELECT id, name, status FROM steps
    WHERE job_id = :job_id AND team_id = :team_id AND status IN ('ready', 'running', 'suspended')
    ORDER BY id
    FOR UPDATE SKIP LOCKED
), open AS (
    SELECT count(*) AS steps FROM steps
    WHERE job_id = :job_id AND team_id = :team_id AND status IN ('ready', 'running', 'suspended')
)
SELECT open.steps, mine.* FROM open LEFT JOIN mine ON true
""")


def try_lock_open_steps(session: Session, *, team_id: str, job_id: str) -> Sequence[RowMapping] | None:
    """Lock the open steps of a job without a wait; None when somebody else has one: it runs, or is just recorded."""
    found = session.execute(TRY_LOCK_STEPS, {"team_id": team_id, "job_id": job_id}).mappings().all()
    mine = [row for row in found if row["id"] is not None]
    return mine if len(mine) == found[0]["steps"] else None


# Jobs are locked in order, as records lock them: the index would give the newest first.
CANCEL_CHILDREN = text("""
UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, now()), cancel_reason = 'its parent has ended'
WHERE id IN (
    SELECT id FROM jobs WHERE parent_id = :job_id AND team_id = :team_id AND ended_at IS NULL
    ORDER BY id
    FOR NO KEY UPDATE
)
""")

END_STEPS = text("""
UPDATE steps
SET status = 'cancelled', fence = NULL, lease_expires_at = NULL, ended_at = now(), wake_at = NULL,
    started_at = CASE WHEN status <> 'ready' THEN started_at END
WHERE job_id = :job_id AND team_id = :team_id AND status IN ('ready', 'running', 'suspended')
""")


def end_open_steps(session: Session, *, team_id: str, job_id: str) -> None:
    """Cancel every open step of a job and take its fence away: whoever runs one writes nothing any more.

    Jobs that it spawned and waits for no longer are asked to cancel; the dispatcher sees to it.
    """
    session.execute(END_STEPS, {"team_id": team_id, "job_id": job_id})
    session.execute(CANCEL_CHILDREN, {"team_id": team_id, "job_id": job_id})


REQUEST_CANCEL = text("""
UPDATE jobs SET cancel_requested_at = COALESCE(cancel_requested_at, now()),
    cancel_reason = COALESCE(NULLIF(:reason, ''), cancel_reason, '')
WHERE id = :job_id AND team_id = :team_id AND ended_at IS NULL
""")


def request_cancel(session: Session, *, team_id: str, job_id: str, reason: str) -> bool:
    """Ask an open job to stop: its step sees it, and so does the record of its outcome; False when it has ended.

    What no step sees, because none runs any more, the dispatcher does.
    """
    parameters = {"team_id": team_id, "job_id": job_id, "reason": reason}
    return session.execute(REQUEST_CANCEL, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]


MOVE = text("""
UPDATE jobs
SET status = :target,
    ended_at = CASE WHEN :target IN ('succeeded', 'failed', 'cancelled') THEN now() END,
    error = COALESCE(CAST(:error AS jsonb), error),
    cancel_reason = COALESCE(NULLIF(:reason, ''), cancel_reason)
WHERE id = :job_id AND team_id = :team_id AND status = ANY(:sources)
""")


def move_job(
    session: Session, *, team_id: str, job_id: str, target: str, sources: Sequence[str], error: str | None,
    reason: str | None,
) -> bool:  # fmt: skip
    """Move a job to ``target`` if it is in one of ``sources``; False when it is not."""
    parameters = {
        "team_id": team_id, "job_id": job_id, "target": target, "sources": list(sources), "error": error,
        "reason": reason,
    }  # fmt: skip
    return session.execute(MOVE, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]
