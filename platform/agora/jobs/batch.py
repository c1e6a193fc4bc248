"""What a turn holds: claims that wait, and tries that have ended and are not recorded yet.

Steps share a turn only when they are expected to be quick. Should one of them be slow all the same, the watch, a thread
of the process, records what has ended and gives back what waits, so that nothing is held up behind it.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from agora.db.session import statement
from agora.jobs import step_queries
from agora.jobs.claim import Claim
from agora.jobs.leases import Lease, heartbeat
from agora.jobs.settle import Finished, settle
from agora.telemetry import get_logger

STUCK_SECONDS = 0.25
"""A step of a shared turn that takes longer holds up the others."""
LOOK_SECONDS = 0.1

log = get_logger(__name__)


class Batch:
    """The claims of one turn. The turn's thread works on it, the watch may empty it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Claim, Lease]] = deque()
        self._finished: list[tuple[Finished, Lease]] = []
        self._since: float | None = None
        self._oldest: float | None = None

    def add(self, claims: Sequence[Claim], lease_of: Callable[[Claim], Lease]) -> None:
        """Take claims in; their leases are renewed from now on."""
        leased = [(claim, lease_of(claim)) for claim in claims]
        heartbeat().hold([lease for _, lease in leased])
        with self._lock:
            self._waiting.extend(leased)

    def pop(self) -> tuple[Claim, Lease] | None:
        """The next claim, whose step is run now."""
        with self._lock:
            if not self._waiting:
                return None
            self._since = time.monotonic()
            return self._waiting.popleft()

    def finish(self, finished: Finished, lease: Lease) -> None:
        """The step has ended; it is recorded with the group."""
        with self._lock:
            self._since = None
            self._finished.append((finished, lease))
            if self._oldest is None:
                self._oldest = time.monotonic()

    def drop(self, lease: Lease) -> None:
        """The step has ended and needs no record."""
        with self._lock:
            self._since = None
        heartbeat().drop([lease])

    def take_finished(self) -> list[tuple[Finished, Lease]]:
        """What is to be recorded; nobody else gets it."""
        with self._lock:
            taken, self._finished, self._oldest = self._finished, [], None
            return taken

    def is_alone(self) -> bool:
        """Whether the turn has one step in hand and no other."""
        with self._lock:
            return len(self._waiting) + len(self._finished) <= 1

    def is_empty(self) -> bool:
        """Whether nothing waits to be run."""
        with self._lock:
            return not self._waiting

    def age(self) -> float:
        """Seconds since the oldest of the unrecorded tries ended."""
        with self._lock:
            return 0.0 if self._oldest is None else time.monotonic() - self._oldest

    def is_stuck(self) -> bool:
        """Whether the running step holds up others."""
        with self._lock:
            late = self._since is not None and time.monotonic() - self._since > STUCK_SECONDS
            return late and bool(self._waiting or self._finished)

    def relieve(self) -> None:
        """Record what has ended, and give back what waits; the running step goes on alone."""
        finished = self.take_finished()
        try:
            if finished:
                settle([one for one, _ in finished])
        finally:
            # What could not be recorded nobody has in hand any more: its leases run out, and it is run again.
            heartbeat().drop([lease for _, lease in finished])
            self.release()

    def release(self) -> int:
        """Give back what waits, without burning an attempt; returns how much it was."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        if not waiting:
            return 0
        heartbeat().drop([lease for _, lease in waiting])
        with statement() as session:
            step_queries.release_steps(session, held={claim.step_id: claim.fence for claim, _ in waiting})
        return len(waiting)


class Watch:
    """Looks after the batches of a process; its thread lives while there are any."""

    def __init__(self, relieved: Callable[[], None] = lambda: None) -> None:
        self._batches: set[Batch] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._relieved = relieved

    def begin(self, batch: Batch) -> None:
        """Look after a batch."""
        with self._changed:
            if self._pid != os.getpid():  # a parent's thread does not cross a fork
                self._pid, self._thread = os.getpid(), None
                self._batches.clear()
            self._batches.add(batch)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="agora-watch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def end(self, batch: Batch) -> None:
        """The batch is done."""
        with self._changed:
            self._batches.discard(batch)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._batches:
                    self._changed.wait()
            time.sleep(LOOK_SECONDS)
            with self._changed:
                stuck = [batch for batch in self._batches if batch.is_stuck()]
            for batch in stuck:
                self._relieve(batch)

    def _relieve(self, batch: Batch) -> None:
        try:
            batch.relieve()
            self._relieved()
        except SQLAlchemyError as error:
            # Their leases run out by themselves, as nobody renews them any more.
            log.warning("a held-up turn was not relieved", error=type(error).__name__)
        except Exception:  # the other turns of this process are looked after all the same
            log.exception("a held-up turn was not relieved")
