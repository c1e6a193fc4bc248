"""The deaf-worker check: a consumer can lose its subscription over a reconnect and never notice (celery#10205, #10302).

A worker that has a free slot, heard no message for a while, and whose queues hold steps that were rung for all the
same, ends, so that its supervisor starts it anew. While the broker is away nobody hears anything, and nobody ends.
"""

import os
import signal
import threading
import time
from typing import Any

from celery import signals
from celery.worker import state
from sqlalchemy.exc import SQLAlchemyError

from agora import broker
from agora.agents import QUEUES
from agora.db.session import transaction
from agora.jobs import ring_queries
from agora.settings import get_settings
from agora.telemetry import get_logger

EX_SOFTWARE = 70
EXTRA_SECONDS = 5.0
"""How much longer than its drain a deaf worker may take to end before it is cut short."""

log = get_logger(__name__)

_heard = [time.monotonic()]


@signals.task_received.connect
def note_message(**_: Any) -> None:
    """A message came."""
    _heard[0] = time.monotonic()


class Hearing:
    """Judges whether this worker still hears its queues."""

    def __init__(self, consumer: Any) -> None:
        self._slots = consumer.pool.num_processes
        self._queues = [name for name in consumer.app.amqp.queues.consume_from if name in QUEUES]
        self._looked = time.monotonic()
        _heard[0] = time.monotonic()

    def is_deaf(self) -> bool:
        """Whether it hears nothing although there is something to be heard."""
        patience, now = get_settings().deaf_seconds, time.monotonic()
        quiet_since = max(_heard[0], self._looked)
        if not self._queues or now - quiet_since < patience or len(state.active_requests) >= self._slots:
            return False
        self._looked = now
        try:
            with transaction() as session:
                waiting = ring_queries.has_unheard(session, queues=self._queues, seconds=patience)
        except SQLAlchemyError:
            return False
        return waiting and broker.is_reachable() and time.monotonic() - _heard[0] >= patience

    def restart(self) -> None:
        """End this worker, in order if it still can."""
        log.error("this worker hears nothing although its queues have work; it restarts", queues=self._queues)
        cut = threading.Timer(get_settings().drain_seconds + EXTRA_SECONDS, os._exit, args=(EX_SOFTWARE,))
        cut.daemon = True
        cut.start()
        os.kill(os.getpid(), signal.SIGTERM)
