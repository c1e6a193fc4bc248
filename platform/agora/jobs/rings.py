"""The doorbell: due steps for which nobody was rung yet, or whose ring nobody answered."""

import time
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from agora import broker
from agora.agents import QUEUES
from agora.db.session import transaction
from agora.jobs import catalogue, manned, ring_queries
from agora.jobs.order import rounds
from agora.settings import get_settings
from agora.telemetry import get_logger

SLICE = 200
UNPARK_SLICE = 1_000
UNPARK_SECONDS = 5.0
"""For so long after a change in who lives, steps that wait for a worker are looked at."""
PARKED_SECONDS = 30.0
"""And so often in any case."""
MOST_HOPS = 10
"""So many workers that cannot run a step hand its ring on, one to the next."""
POSTPONE_SECONDS = 0.5
"""How long a step waits, at least, that none of them could run."""

log = get_logger(__name__)


def refill(queue: str) -> int:
    """Ring for due steps of a queue, in Postgres' order, as far as its window has room; returns how many were moved."""
    with transaction() as session:
        rows = ring_queries.refill(
            session, queue=queue, window=get_settings().ring_window, manned=manned.labels(queue, session),
            after=rounds.after(queue),
        )  # fmt: skip
        rings = _rings(session, [row for row in rows if row["rung"]])
    rounds.note(queue, rows)
    broker.ring(rings)
    return len(rows)


class Parked:
    """Steps that wait for a worker of their version go back into the order when one has come."""

    def __init__(self) -> None:
        self._changed: dict[str, tuple[frozenset[str], float]] = {}
        self._looked: dict[str, float] = {}
        """When there was nothing to be released."""

    def release(self, queue: str) -> int:
        """Release them, if who lives has changed lately or nobody looked for long; returns how many."""
        labels, moment = frozenset(manned.labels(queue)), time.monotonic()
        known, changed = self._changed.get(queue, (None, moment))
        if known != labels:
            changed = moment
            self._changed[queue] = labels, changed
        looked = self._looked.get(queue, float("-inf"))
        # Other processes may park by a memory that is a second older than ours: a look well after a change is needed.
        # And they may have seen a change that came and went between two looks of this one.
        if looked > changed + UNPARK_SECONDS and moment - looked < PARKED_SECONDS:
            return 0
        with transaction() as session:
            released = ring_queries.unpark(session, queue=queue, manned=sorted(labels), slice_=UNPARK_SLICE)
        if not released:
            self._looked[queue] = moment
        return released


parked = Parked()
"""Of this process: a dispatcher."""


def try_refill(queue: str) -> None:
    """As :func:`refill`, best effort: the dispatcher makes up for it."""
    try:
        refill(queue)
    except SQLAlchemyError as error:
        log.warning("nobody was rung for what waits, the dispatcher will", error=type(error).__name__)


def rering() -> None:
    """Ring again for steps whose ring nobody answered: the broker lost it, or its worker died with it."""
    with transaction() as session:
        rows = [
            row
            for queue in QUEUES
            for row in ring_queries.rering(
                session, queue=queue, after=get_settings().rering_seconds, slice_=SLICE,
                manned=manned.labels(queue, session),
            )
        ]  # fmt: skip
        rings = _rings(session, rows)
    broker.ring(rings)


def hand_on(step_id: str, *, known: Sequence[str], hops: int) -> None:
    """A ring came to a worker that may not know the step's version: if so, it is for another one to hear.

    At once, as long as it has not gone through many hands: the broker gives it to whoever has waited longest, which is
    not this worker. A ring that comes later may find this one waiting longest again, time after time. Then, should all
    who know the version be busy, soon, from the dispatcher: else it would go round and round.
    """
    age = max(0.0, get_settings().rering_seconds - POSTPONE_SECONDS)
    with transaction() as session:
        rows = ring_queries.postpone_ring(session, step_id=step_id, known=known, age=age)
        rings = _rings(session, rows) if hops < MOST_HOPS else []
    broker.ring(replace(one, hops=hops + 1) for one in rings)


def _rings(session: Session, rows: Sequence[RowMapping]) -> list[broker.Ring]:
    return [
        broker.Ring(
            step_id=row["id"], job_id=row["job_id"], queue=row["queue"], label=row["label"],
            timeout=_timeout_of(session, row),
        )
        for row in rows
    ]  # fmt: skip


def _timeout_of(session: Session, row: RowMapping) -> float | None:
    return catalogue.find(session, row["agent"], row["action"], row["version"]).spec.step(row["name"]).timeout
