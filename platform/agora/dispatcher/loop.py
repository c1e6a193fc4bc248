"""The loop: every duty in turn, then sleep until the next is due, at most one tick. Safe to run twice.

Duties that need the auth database have a line of their own, in a thread: one that hangs holds up none of the others.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError, TimeoutError  # noqa: A004  # the pool's

from agora import metrics
from agora.audit import duties as audit_duties
from agora.batches import duties as batch_duties
from agora.bulk import duties as bulk_duties
from agora.db.session import transaction
from agora.dispatcher import deliveries, duties, queries
from agora.identity import duties as identity_duties
from agora.retention import duties as retention
from agora.schedules import duties as schedule_duties
from agora.schedules import firing
from agora.settings import get_settings
from agora.telemetry import configure_logging, get_logger
from agora.webhooks import key_duties, portal_duties, replay_duties

SHORTEST_SLEEP = 0.05
"""Seconds between ticks under backlog: a window of 200 rings then feeds 4,000 steps a second."""
MINUTE = 60.0
NOTE_SECONDS = 1.0
AUTH_PAUSE = 5.0
"""How long all that need the auth database wait after one of them did not find it."""
FAILURE_PAUSE = 1.0
"""How long a duty rests that failed: what made it fail is seldom over at once."""
LAST_SECONDS = 2.0
"""How long a dispatcher that stops waits for a duty that the auth database holds up."""

log = get_logger(__name__)


@dataclass(slots=True)
class Duty:
    """A duty and how many seconds apart it is done."""

    do: Callable[[], int]
    every: float = 0.0
    after_outage: bool = False
    """Not done until the database has been in view without a break for one lease period."""
    needs_auth: bool = False
    """It needs the auth database as well: while that is away, it waits and all others go on."""
    last: float = field(default=float("-inf"))
    rests_until: float = field(default=float("-inf"))
    """It has failed, and is not tried before (monotonic)."""

    @property
    def name(self) -> str:
        """What logs call it."""
        return getattr(self.do, "__name__", type(self.do).__name__)


def all_duties() -> list[Duty]:
    """Every duty, in the order in which a tick does them."""
    return [
        Duty(duties.make_partitions, every=60 * MINUTE),
        Duty(duties.release_due),
        Duty(duties.admit_waiting),
        Duty(duties.mend_lines, every=1.0),
        Duty(duties.refill_rings),
        Duty(duties.rering_unheard, every=0.5),
        Duty(duties.return_lost_leases, every=0.2, after_outage=True),
        Duty(duties.wake_suspended, every=0.05),
        Duty(duties.settle_parts, every=0.5),
        Duty(duties.fail_late_jobs, every=0.5),
        Duty(duties.fail_unstarted_jobs, every=0.5),
        Duty(duties.finish_cancels, every=0.5),
        Duty(firing.fire_schedules, needs_auth=True),
        Duty(bulk_duties.work_off, every=0.05, needs_auth=True),
        Duty(batch_duties.cancel_batches, every=0.2),
        Duty(batch_duties.CompleteBatches(), every=0.5),
        Duty(deliveries.return_lost, every=0.2, after_outage=True),
        Duty(deliveries.tend_deliveries, every=0.2),
        Duty(deliveries.expand_fan_outs, every=0.1),
        Duty(deliveries.cancel_orphans, every=1.0),
        Duty(deliveries.drain_held, every=0.5),
        Duty(replay_duties.work_off, every=0.05),
        Duty(identity_duties.send_mails, every=0.5, needs_auth=True),
        Duty(identity_duties.forget_ended, every=10 * MINUTE, needs_auth=True),
        Duty(identity_duties.rotate_keys, every=10 * MINUTE, needs_auth=True),
        Duty(identity_duties.forget_keys, every=MINUTE, needs_auth=True),
        Duty(identity_duties.spread_entries, every=0.5, needs_auth=True),
        Duty(audit_duties.copy_entries, every=0.5, needs_auth=True),
        Duty(audit_duties.chain_entries, every=1.0, needs_auth=True),
        Duty(audit_duties.remove_old_entries, every=MINUTE, needs_auth=True),
        Duty(duties.tidy, every=MINUTE),
        Duty(schedule_duties.forget_runs, every=MINUTE),
        Duty(portal_duties.forget_links, every=MINUTE),
        Duty(replay_duties.forget_replays, every=MINUTE),
        Duty(key_duties.forget_expired_keys, every=MINUTE),
        Duty(retention.remove_old_jobs, every=1.0),
        Duty(retention.remove_old_deliveries, every=1.0),
        Duty(retention.remove_old_batches, every=MINUTE),
        Duty(retention.drop_old_partitions, every=MINUTE),
        Duty(retention.remove_moved_rows, every=1.0),
        Duty(retention.remove_leftovers, every=MINUTE),
    ]


def _is_away(error: SQLAlchemyError) -> bool:
    """Whether no database answered, rather than one that refused a statement."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state is None or state.startswith(("08", "53", "57P"))


class Dispatcher:
    """Runs the duties until it is told to stop."""

    def __init__(self) -> None:
        every = all_duties()
        self._stop = threading.Event()
        self._duties = [duty for duty in every if not duty.needs_auth]
        self._auth_duties = [duty for duty in every if duty.needs_auth]
        self._ticked = threading.Event()
        """The line of the auth duties goes after each tick that found the main database: they need that as well."""
        self._auth_away_until = float("-inf")
        self._in_view_since: float | None = None
        self._noted = float("-inf")

    def stop(self, *_: object) -> None:
        """End after the running duty."""
        self._stop.set()

    def run(self) -> None:
        """Tick until stopped. An outage of the database is waited out."""
        beside = threading.Thread(target=self._run_beside, name="agora-dispatcher-auth", daemon=True)
        beside.start()
        try:
            while not self._stop.is_set():
                self._stop.wait(self._go())
        finally:
            self.stop()
            self._ticked.set()
            beside.join(LAST_SECONDS)

    def _go(self) -> float:
        """Tick once; the seconds until the next time."""
        try:
            busy = self.tick()
            self._ticked.set()
            return SHORTEST_SLEEP if busy else self._pause()
        except SQLAlchemyError as error:
            self._in_view_since = None
            log.warning("the database is out of view", error=type(error).__name__, detail=str(error)[:300])
            return get_settings().tick_seconds

    def _run_beside(self) -> None:
        """The line of the auth duties: after each tick of the other one, at once again while there is more."""
        while not self._stop.is_set():
            self._ticked.wait()
            self._ticked.clear()
            while not self._stop.is_set() and self.tick_auth():
                self._stop.wait(SHORTEST_SLEEP)

    def tick(self) -> bool:
        """Do every duty that is due once, but those that need the auth database; True when one did something."""
        if time.monotonic() - self._noted >= NOTE_SECONDS or self._in_view_since is None:
            self._note_tick()
            self._noted = time.monotonic()
        return sum(self._do(duty) for duty in self._duties) > 0  # each is done, even after one that was busy

    def tick_auth(self) -> bool:
        """As :meth:`tick`, for the duties that need the auth database; until one does not find it."""
        return sum(self._do(duty) for duty in self._auth_duties) > 0

    def _do(self, duty: Duty) -> bool:
        current = time.monotonic()
        if current - duty.last < duty.every or current < duty.rests_until:
            return False
        if duty.needs_auth and current < self._auth_away_until:
            return False
        if duty.after_outage and not self._view_is_steady(current):
            return False
        duty.last = current
        try:
            return duty.do() > 0
        except Exception as error:
            if isinstance(error, (OperationalError, InterfaceError, TimeoutError)) and _is_away(error):
                if not duty.needs_auth:
                    raise  # no database: the whole loop waits
                log.warning("duties wait for the auth database", duty=duty.name, detail=str(error)[:300])
                self._auth_away_until = time.monotonic() + AUTH_PAUSE
                return False
            # One bad row, a lock that is held for long, or a file store that fails, must not stop the other duties.
            log.exception("duty failed", duty=duty.name)
            duty.rests_until = time.monotonic() + FAILURE_PAUSE
            return False

    def _view_is_steady(self, current: float) -> bool:
        """After an outage, workers get one lease period to renew their leases before those are taken back."""
        return self._in_view_since is not None and current - self._in_view_since >= get_settings().lease_seconds

    def _note_tick(self) -> None:
        with transaction() as session:
            queries.note_tick(session, hostname=socket.gethostname(), pid=os.getpid())
        if self._in_view_since is None:
            self._in_view_since = time.monotonic()

    def _pause(self) -> float:
        longest = get_settings().tick_seconds
        with transaction() as session:
            due, at = queries.next_due(session)
        if due is None:
            return longest
        return min(longest, max(SHORTEST_SLEEP, (due - at).total_seconds()))


def main() -> None:
    """Run a dispatcher until SIGTERM or SIGINT."""
    configure_logging()
    dispatcher = Dispatcher()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        dispatcher.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    metrics.start_telling("dispatcher")
    log.info("dispatcher runs", pid=os.getpid())
    dispatcher.run()
    metrics.tell_last("dispatcher")
    log.info("dispatcher stopped")
