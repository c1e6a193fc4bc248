"""Which action versions somebody can run now: rings are for workers that live, on the queues that they listen to.

A ring that no living worker can answer would take a place in its queue's window for nothing, and a window full of such
rings would stop the queue.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from agora.db.session import Direct, statement
from agora.jobs import catalogue_queries

ALIVE_SECONDS = 15.0
"""A worker that has not reported for so long is not counted any more; it reports every five seconds."""
REMEMBER_SECONDS = 1.0
"""How long a process remembers who lives."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    labels: Mapping[str, Sequence[str]]


_lock = threading.Lock()
_seen: _Seen | None = None


def labels(queue: str, session: Session | None = None) -> Sequence[str]:
    """The action versions (``agent.action@version``) that a living worker runs on a queue."""
    global _seen  # noqa: PLW0603  # one memory for each process, guarded by the lock
    with _lock:
        seen = _seen
    if seen is None or time.monotonic() - seen.at > REMEMBER_SECONDS:
        seen = _Seen(time.monotonic(), _look(session))
        with _lock:
            _seen = seen
    return seen.labels.get(queue, ())


def is_manned(label: str, queue: str) -> bool:
    """Whether a living worker runs this action version on this queue, as of a second ago."""
    return label in labels(queue)


def forget() -> None:
    """Empty this process's memory."""
    global _seen  # noqa: PLW0603  # as above
    with _lock:
        _seen = None


def _look(session: Session | Direct | None) -> Mapping[str, Sequence[str]]:
    if session is None:
        with statement() as direct:
            return _look(direct)
    rows = catalogue_queries.list_manned(session, alive=ALIVE_SECONDS)
    return {row["queue"]: row["labels"] for row in rows}
