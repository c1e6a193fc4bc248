"""What the dispatcher does for batches: carries out their cancels, and notes when one has completed."""

from contextlib import suppress
from typing import Any

from sqlalchemy import RowMapping

from agora.batches import queries
from agora.batches.types import COMPLETED
from agora.db.session import transaction
from agora.errors import IllegalTransition, NotFound
from agora.events.types import NewEvent
from agora.jobs import service as jobs
from agora.jobs.announce import Announcement
from agora.jobs.chronicle import record_for_team

SLICE = 50
"""Jobs that one tick cancels: each is a transaction, and the other duties wait for them."""
LOOKED_AT = 500
"""Open batches that one tick looks at."""


def cancel_batches() -> int:
    """Cancel open jobs of batches that somebody cancelled."""
    with transaction() as session:
        found = queries.find_to_cancel(session, slice_=SLICE)
    for row in found:
        with suppress(IllegalTransition, NotFound):  # it has ended meanwhile
            jobs.request_cancel(row["id"], team_id=row["team_id"], reason=row["reason"] or "")
    return len(found)


class CompleteBatches:
    """Batches whose last job has ended become completed, with their event: once, whoever looks.

    No counter is kept while jobs end: a row that each of them wrote would make their commits wait for each other.
    """

    def __init__(self) -> None:
        self._after = ""

    def __call__(self) -> int:
        """Look at the next open batches, and begin again at the first after the last."""
        with transaction() as session:
            batch_ids = queries.list_open(session, after=self._after, slice_=LOOKED_AT)
        self._after = batch_ids[-1] if len(batch_ids) == LOOKED_AT else ""
        if not batch_ids:
            return 0
        announcement = Announcement()
        with transaction() as session:
            completed = queries.complete(session, batch_ids=batch_ids)
            for row in completed:
                event = NewEvent(type="batch.completed", data=_data_of(row))
                agent = row["agents"][0] if len(row["agents"]) == 1 else ""
                announcement.deliveries |= record_for_team(session, event, team_id=row["team_id"], agent=agent)
        announcement.make()
        return len(completed)


def _data_of(row: RowMapping) -> dict[str, Any]:
    return {
        "batch_id": row["id"],
        "status": COMPLETED,
        "size": row["size"],
        "counts": row["counts"],
        "metadata": row["metadata"],
        "links": {"self": f"/api/v1/batches/{row['id']}"},
    }
