"""A worker's life: it registers what it can run, reports that it lives, drains, and gives its leases back."""

import gc
import mmap
import os
import socket
import threading
import time
from functools import lru_cache
from typing import Any

from celery import signals
from celery.exceptions import SoftTimeLimitExceeded

from agora import metrics
from agora.agents import Action
from agora.db.engines import dispose_all
from agora.errors import AgoraError
from agora.ids import new_id
from agora.jobs import catalogue, workers
from agora.jobs.engine import Engine
from agora.settings import get_settings
from agora.telemetry import configure_logging, get_logger
from workers.deaf import Hearing
from workers.flower import listens, show_step, want_events
from workers.loader import load_agents
from workers.ports import ports

REPORT_SECONDS = 5.0
LISTEN_SECONDS = 1.0

log = get_logger(__name__)

_worker_id = new_id("wrk")
"""Made in the parent, before its children are forked: they all work under one name."""

_draining = mmap.mmap(-1, 1)
"""One byte that the parent shares with its children: Celery tells only the parent that it stops."""


def draining() -> bool:
    """Whether this worker is stopping."""
    return _draining[0] == 1


def queues_of(app: Any) -> list[str]:
    """The queues that this worker listens to."""
    return sorted(app.amqp.queues.consume_from)


@lru_cache(maxsize=1)
def actions() -> tuple[Action[Any, Any], ...]:
    """Every action that this worker can run. Raises AgoraError when a module of AGORA_AGENTS is no good."""
    return tuple(action for agent in load_agents(get_settings().agents) for action in agent.actions.values())


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine of this worker."""
    return Engine(
        worker_id=_worker_id,
        actions={catalogue.label_of(action): action for action in actions()},
        ports=ports,
        draining=draining,
        observe=show_step,
        hard_timeouts=(SoftTimeLimitExceeded,),
    )


@signals.setup_logging.connect
def set_up_logging(**_: Any) -> None:
    """Agora's own logging, instead of Celery's."""
    configure_logging()


@signals.worker_init.connect
def register(sender: Any, **_: Any) -> None:
    """Enter the catalogue before the first message. A worker that contradicts it refuses to start."""
    queues = queues_of(sender.app)
    try:
        workers.enter(
            actions(), worker_id=_worker_id, hostname=socket.gethostname(), pid=os.getpid(), queues=queues
        )  # fmt: skip
    except AgoraError as error:
        raise SystemExit(f"worker does not start: {error}") from None
    finally:
        dispose_all()  # children must not inherit a socket
    log.info("worker registered", worker_id=_worker_id, actions=len(actions()), queues=queues)
    # A full collection would look at all that was imported, in the middle of somebody's step; so do children's.
    gc.collect()
    gc.freeze()


@signals.worker_ready.connect
def start_reporting(sender: Any, **_: Any) -> None:
    """Say every few seconds that this worker lives, and hear whether Flower listens."""
    threading.Thread(target=_report, args=(sender,), name="agora-worker-report", daemon=True).start()
    metrics.start_telling("worker")


def _report(consumer: Any) -> None:
    pause, reported = threading.Event(), time.monotonic()
    hearing, queues = Hearing(consumer), queues_of(consumer.app)
    while not draining():
        pause.wait(LISTEN_SECONDS)
        want_events(listens(getattr(consumer, "event_dispatcher", None)))
        if hearing.is_deaf():
            hearing.restart()
        if time.monotonic() - reported < REPORT_SECONDS:
            continue
        told = workers.report_alive(
            actions(), worker_id=_worker_id, hostname=socket.gethostname(), pid=os.getpid(), queues=queues
        )  # fmt: skip
        if told:
            reported = time.monotonic()


@signals.worker_process_init.connect
def start_telling(**_: Any) -> None:
    """Each child counts the steps that it runs."""
    metrics.start_telling("worker")


@signals.worker_process_shutdown.connect
def tell_last(**_: Any) -> None:
    """What a child has counted since it told it last is not lost."""
    metrics.tell_last("worker")


@signals.worker_shutting_down.connect
def drain(**_: Any) -> None:
    """Tell the running steps to end."""
    _draining[0] = 1
    log.info("worker drains", worker_id=_worker_id)


@signals.worker_shutdown.connect
def leave(**_: Any) -> None:
    """Give back what did not end in time, without burning an attempt, and leave the catalogue."""
    given_back = workers.leave(worker_id=_worker_id)
    metrics.tell_last("worker")
    log.info("worker left", worker_id=_worker_id, leases_given_back=given_back)
