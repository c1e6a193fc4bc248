"""Queues: pause, resume, and how much work they hold. They are shared by all teams."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import RowMapping

from agora.agents import QUEUES
from agora.audit import service as audit
from agora.clock import now
from agora.db.session import transaction
from agora.errors import NotFound
from agora.ids import floor_id
from agora.jobs import setting_queries
from agora.jobs.rings import try_refill
from agora.telemetry import get_logger

RECENT = timedelta(minutes=15)

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """A queue and its steps: ``due`` ones wait for a worker, ``rung`` ones are offered to one, ``held`` by reason.

    ``age_seconds`` is that of the oldest due step. ``step_seconds`` is what steps took lately on average, None when
    none ended; ``work_seconds`` is what one slot of a worker would need for all that is due and rung.
    """

    name: str
    paused_at: datetime | None
    reason: str
    due: int
    rung: int
    running: int
    held: Mapping[str, int]
    age_seconds: float
    step_seconds: float | None
    work_seconds: float | None


def list_queues() -> list[Queue]:
    """Every queue."""
    with transaction() as session:
        rows = setting_queries.list_queues(session, names=QUEUES, since=floor_id("evt", now() - RECENT))
    return [_view(row) for row in rows]


def get_queue(name: str) -> Queue:
    """One queue. Raises NotFound."""
    _check(name)
    return next(queue for queue in list_queues() if queue.name == name)


def pause(name: str, *, reason: str = "") -> Queue:
    """Pause a queue: what runs ends, nothing new is begun, also not within a turn. Raises NotFound."""
    _check(name)
    with transaction() as session:
        setting_queries.pause_queue(session, name=name, reason=reason)
        audit.record(session, "queue.paused", name, team_id=None, after={"reason": reason})
    log.warning("queue paused", queue=name, reason=reason)
    return get_queue(name)


def resume(name: str) -> Queue:
    """Let a queue go on, at once. Raises NotFound."""
    _check(name)
    with transaction() as session:
        setting_queries.resume_queue(session, name=name)
        audit.record(session, "queue.resumed", name, team_id=None)
    log.warning("queue resumed", queue=name)
    try_refill(name)
    return get_queue(name)


def _check(name: str) -> None:
    if name not in QUEUES:
        raise NotFound(f"there is no queue {name!r}, only {', '.join(QUEUES)}")


def _view(row: RowMapping) -> Queue:
    seconds = None if row["seconds"] is None else float(row["seconds"])
    return Queue(
        name=row["name"], paused_at=row["paused_at"], reason=row["reason"], due=row["due"], rung=row["rung"],
        running=row["running"], age_seconds=float(row["age"]), step_seconds=seconds,
        held={"time": row["by_time"], "limit": row["by_limit"], "worker": row["by_worker"]},
        work_seconds=None if seconds is None else seconds * (row["due"] + row["rung"]),
    )  # fmt: skip
