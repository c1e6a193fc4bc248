"""Leases that this process holds, renewed by one thread in one statement."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from agora import outcomes
from agora.db.session import statement
from agora.jobs import step_queries
from agora.settings import get_settings
from agora.telemetry import get_logger

TIMEOUT_GRACE = 2.0
"""Seconds past its time-out at which a step that did not end by itself is written off."""
MOST_GIVING_UP = 2
"""Steps of a process that are written off at once: each may wait for a row with a connection of the pool in hand."""

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class Lease:
    """What this process knows of a step that it runs. Times are of the monotonic clock."""

    step_id: str
    fence: str
    lease_seconds: float
    timeout: float | None = None
    give_up: Callable[[], None] | None = None
    draining: Callable[[], bool] = lambda: False
    started: float | None = None
    """When the step began; before that it waits its turn, and its time-out does not run."""
    renewed: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    late: bool = False
    lost: bool = False

    def check(self) -> None:
        """Raise Interrupted when the step should end now."""
        now = time.monotonic()
        if self.is_stale():
            raise outcomes.LeaseLost
        if self.cancelled:
            raise outcomes.Cancelled
        if self.late or self.overdue(now):
            raise outcomes.TimeExceeded
        if self.draining():
            raise outcomes.Draining

    def is_stale(self) -> bool:
        """Whether somebody else may own the step: the lease was taken, or not renewed in time."""
        return self.lost or time.monotonic() - self.renewed > self.lease_seconds

    def overdue(self, now: float, grace: float = 0.0) -> bool:
        """Whether the step has run longer than its time-out."""
        return self.timeout is not None and self.started is not None and now - self.started > self.timeout + grace

    def begin(self) -> None:
        """The step is called now."""
        self.started = time.monotonic()


class Heartbeat:
    """Renews the leases of this process. One per process id; its thread begins with the first lease."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._giving_up = threading.Semaphore(MOST_GIVING_UP)

    def hold(self, leases: Sequence[Lease]) -> None:
        """Begin to renew leases."""
        with self._lock:
            self._held.update({lease.step_id: lease for lease in leases})
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="agora-heartbeat", daemon=True)
                self._thread.start()

    def drop(self, leases: Sequence[Lease]) -> None:
        """Stop renewing leases."""
        with self._lock:
            for lease in leases:
                if self._held.get(lease.step_id) is lease:
                    del self._held[lease.step_id]

    def _run(self) -> None:
        interval = get_settings().heartbeat_seconds
        while True:
            # It is not woken by a new lease: it would take the interpreter from the step that has just begun.
            time.sleep(interval)
            with self._lock:
                held = list(self._held.values())
            if held:
                try:
                    self._beat(held)
                except Exception:  # every lease of this process hangs on this thread
                    log.exception("a beat failed", leases=len(held))

    def _beat(self, held: list[Lease]) -> None:
        now = time.monotonic()
        for lease in [one for one in held if one.overdue(now, TIMEOUT_GRACE) and not one.lost]:
            lease.lost = True
            self.drop([lease])
            if lease.give_up is not None:
                self._give_up(lease.give_up)
        alive = {lease.step_id: lease for lease in held if not lease.lost}
        if not alive:
            return
        try:
            self._renew(alive)
        except SQLAlchemyError as error:
            # Leases that cannot be renewed run out by themselves; Lease.check() sees it on this process's clock.
            log.warning("leases not renewed", leases=len(alive), error=type(error).__name__)

    def _give_up(self, give_up: Callable[[], None]) -> None:
        """Write a step off, in a thread of its own: a transactional one may hold its row for as long as it likes.

        What does not come about here, the dispatcher does when the lease has run out.
        """

        def run() -> None:
            with self._giving_up:
                try:
                    give_up()
                except Exception:
                    log.exception("an overdue step was not written off, its lease runs out")

        threading.Thread(target=run, name="agora-give-up", daemon=True).start()

    def _renew(self, alive: dict[str, Lease]) -> None:
        asked = time.monotonic()
        fences = {step_id: lease.fence for step_id, lease in alive.items()}
        with statement() as session:
            rows = step_queries.renew_leases(session, held=fences, lease=get_settings().lease_seconds)
            found = {row["id"]: (row["cancelled"], row["late"]) for row in rows}
        for step_id, lease in alive.items():
            if step_id in found:
                lease.renewed = asked
                lease.cancelled, lease.late = found[step_id]
            else:
                lease.lost = True


_heartbeats: dict[int, Heartbeat] = {}
_lock = threading.Lock()


def heartbeat() -> Heartbeat:
    """The heartbeat of this process."""
    pid = os.getpid()
    with _lock:
        if pid not in _heartbeats:
            _heartbeats.clear()
            _heartbeats[pid] = Heartbeat()
        return _heartbeats[pid]
