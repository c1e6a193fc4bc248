"""Task events for the steps of a turn, so that Flower lists each step under its own name.

Celery's own events tell only of the message, which is the first step of its turn. Nothing is sent while nobody asks for
events: Flower turns them on while it runs.
"""

import mmap
import os
import threading
import time
from typing import Any

from celery.events import EventDispatcher

from agora.broker import app
from agora.jobs.claim import Claim

_wanted = mmap.mmap(-1, 1)
"""One byte that the parent shares with its children: Celery tells only the parent that events are wanted."""

_local = threading.local()
_dispatchers: dict[int, EventDispatcher] = {}
_lock = threading.Lock()


def want_events(wanted: bool) -> None:
    """Note whether somebody listens."""
    _wanted[0] = int(wanted)


def listens(dispatcher: EventDispatcher | None) -> bool:
    """Whether somebody asked this worker for task events: its dispatcher also sends heartbeats, which do not count."""
    return bool(dispatcher and dispatcher.enabled and (not dispatcher.groups or "task" in dispatcher.groups))


def begin_turn() -> None:
    """The next step of this thread is the one that Celery knows of."""
    _local.first = True


def show_step(claim: Claim, outcome: str, seconds: float) -> None:
    """Tell Flower of a step that went on in place; the engine calls this for every try."""
    first, _local.first = getattr(_local, "first", True), False
    if first or not _wanted[0]:
        return
    ended = time.time()
    common: dict[str, Any] = {"uuid": claim.step_id, "root_id": claim.job.id}
    dispatcher = _dispatcher()
    dispatcher.send(
        "task-received", name=claim.label, args="()", kwargs="{}", retries=claim.position.attempt - 1,
        timestamp=ended - seconds, **common,
    )  # fmt: skip
    dispatcher.send("task-started", timestamp=ended - seconds, **common)
    kind = "task-succeeded" if outcome in {"succeeded", "suspended"} else "task-failed"
    extra: dict[str, Any] = {"result": repr(outcome), "runtime": seconds}
    if kind == "task-failed":
        extra = {"exception": outcome, "traceback": ""}
    dispatcher.send(kind, timestamp=ended, **common, **extra)


def _dispatcher() -> EventDispatcher:
    """This process's own connection for events, made when it is first needed."""
    pid = os.getpid()
    with _lock:
        if pid not in _dispatchers:
            _dispatchers.clear()
            hostname = app.current_worker_task.request.hostname if app.current_worker_task else None
            connection = app.connection_for_write()
            _dispatchers[pid] = EventDispatcher(connection, hostname=hostname, app=app, enabled=True)
        return _dispatchers[pid]
