"""What the dispatcher does for bulk actions: a slice of one of them at a time.

Each job is dealt with in one transaction, together with the note that it was. A kill at any point repeats nothing: what
was noted is passed over, what was not is dealt with.
"""

from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.bulk import queries
from agora.bulk.service import from_json
from agora.bulk.types import CANCEL, CANCELLED, COMPLETED, DONE, FAILED, FORK, RUNNING
from agora.db.session import transaction
from agora.errors import AgoraError
from agora.events.types import NewEvent
from agora.ids import new_id
from agora.jobs.announce import Announcement
from agora.jobs.chronicle import record_for_team
from agora.jobs.lineage import Wish, go_on_in
from agora.jobs.service import cancel_in
from agora.quotas.daily import allowance

SLICE = 50
"""Jobs that one tick deals with; each is a transaction, and the other duties wait for them."""
LEASE_SECONDS = 30.0
"""How long another dispatcher keeps off, should this one die in the middle."""


def work_off() -> int:
    """Deal with the next jobs of the bulk action that was let alone longest; returns how many."""
    with transaction() as session:
        bulk = queries.lease_next(session, seconds=LEASE_SECONDS)
        if bulk is None:
            return 0
        job_ids: list[str] = []
        if bulk["cancel_requested_at"] is None:
            job_ids = queries.list_matches(
                session, team_id=bulk["team_id"], filters=from_json(bulk["filter"]), after=bulk["after"],
                made_before=bulk["created_at"], limit=SLICE,
            )  # fmt: skip
    for job_id in job_ids:
        _deal_with(bulk, job_id)
    status = RUNNING if len(job_ids) == SLICE else COMPLETED
    _pass(bulk, job_ids, CANCELLED if bulk["cancel_requested_at"] else status)
    return len(job_ids) or 1


def _deal_with(bulk: RowMapping, job_id: str) -> None:
    try:
        announcement = _cancel(bulk, job_id) if bulk["action"] == CANCEL else _go_on(bulk, job_id)
    except AgoraError as error:
        with transaction() as session:
            _take(session, bulk, job_id, outcome=FAILED, error={"code": error.slug, "message": str(error)[:1_000]})
        return
    if announcement is not None:
        announcement.make()


def _cancel(bulk: RowMapping, job_id: str) -> Announcement | None:
    """Cancel a job; None when somebody has done so already."""
    with transaction() as session:
        if not _take(session, bulk, job_id, outcome=DONE, new_job_id=None):
            return None
        return cancel_in(session, job_id, team_id=bulk["team_id"], reason=bulk["options"].get("reason", ""))


def _go_on(bulk: RowMapping, job_id: str) -> Announcement | None:
    """Retry or fork a job, which makes another one of the team's day; None when somebody has done so already."""
    team_id, made = bulk["team_id"], new_id("job")
    wish = Wish(fork=bulk["action"] == FORK, **bulk["options"])
    with allowance(team_id) as room:
        with transaction() as session:
            if not _take(session, bulk, job_id, outcome=DONE, new_job_id=made):
                return None
            room.take(session=session)
            announcement = go_on_in(session, job_id, wish, team_id=team_id, key_id=bulk["key_id"], new_job_id=made)
        room.use()
    return announcement


def _take(session: Session, bulk: RowMapping, job_id: str, **columns: Any) -> bool:
    return queries.take_item(session, team_id=bulk["team_id"], bulk_id=bulk["id"], job_id=job_id, **columns)


def _pass(bulk: RowMapping, job_ids: list[str], status: str) -> None:
    announcement = Announcement()
    with transaction() as session:
        row = queries.advance(
            session, bulk_id=bulk["id"], after=bulk["after"], upto=job_ids[-1] if job_ids else bulk["after"],
            status=status,
        )  # fmt: skip
        if row is not None and row["status"] != RUNNING:
            data = {
                "bulk_id": row["id"], "action": row["action"], "status": row["status"], "matched": row["matched"],
                "done": row["done"], "failed": row["failed"], "links": {"self": f"/api/v1/bulk/{row['id']}"},
            }  # fmt: skip
            event = NewEvent(type="bulk.ended", data=data)
            announcement.deliveries = record_for_team(session, event, team_id=row["team_id"])
    announcement.make()
