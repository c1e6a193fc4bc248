"""The task that wakes this process's delivery engine: ``agora.deliver``.

It returns at once: the leases are in Postgres, so an early acknowledgement loses nothing.
"""

import os
import threading
from typing import Any

from celery import signals

from agora.broker import DELIVER_TASK, app
from agora.webhooks.delivery import DeliveryEngine

_engines: dict[int, DeliveryEngine] = {}
_making = threading.Lock()
"""Of two rings that come at once in a pool of threads, one makes the engine."""


def engine() -> DeliveryEngine:
    """The delivery engine of this process: threads do not cross a fork."""
    pid = os.getpid()
    with _making:
        if pid not in _engines:
            _engines.clear()
            _engines[pid] = DeliveryEngine()
        return _engines[pid]


@app.task(name=DELIVER_TASK)
def deliver() -> None:
    """Look for due deliveries at once."""
    engine().ring()


@signals.worker_shutting_down.connect
def cease(**_: Any) -> None:
    """SIGTERM: claim no more."""
    if os.getpid() in _engines:
        _engines[os.getpid()].cease()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def drain(**_: Any) -> None:
    """Let what is under way end, and give the rest back."""
    if os.getpid() in _engines:
        _engines[os.getpid()].stop()
