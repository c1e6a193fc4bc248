"""The Celery app, and the doorbell. The only module of the package that imports Celery.

A message carries ids only. Ringing is best effort and bounded: when the broker does not answer, the rows are in
Postgres and the dispatcher rings again.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import redis
from celery import Celery
from celery.app.amqp import AMQP
from celery.utils import uuid

from agora import messages, transport
from agora.telemetry import RINGS, get_logger


class Messaging(AMQP):
    """Celery's messaging over connections that look for a broker that is away every second."""

    Connection = transport.Connection


transport.use()
app = Celery("agora", amqp=Messaging)
app.config_from_object("celeryconfig")

STEP_TASK = "agora.step"
DELIVER_TASK = "agora.deliver"
WEBHOOK_QUEUE = "webhooks"
KILL_GRACE = 5.0
"""Seconds after a step's time-out at which Celery kills its process, if it did not end by itself."""
RING_SECONDS = 60
"""A ring for deliveries that nobody heard for so long is thrown away: the dispatcher rings every second or so."""
MUTE_SECONDS = 2.0
"""After a failed ring this process does not ring for so long, so that no caller waits for a dead broker each time."""

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ring:
    """A step that is due. ``label`` is what Flower shows; ``timeout`` is seconds.

    ``hops`` counts the workers that heard it and could not run it.
    """

    step_id: str
    job_id: str
    queue: str
    label: str
    timeout: float | None = None
    hops: int = 0

    @property
    def limit(self) -> float | None:
        """Seconds after which its process is told to end it. Threads cannot be: there time-outs are cooperative."""
        return self.timeout if self.queue == "cpu" else None


class _Mute:
    """Remembers that the broker failed just now."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        return time.monotonic() < self._until

    def start(self) -> None:
        with self._lock:
            self._until = time.monotonic() + MUTE_SECONDS


_mute = _Mute()
_declared: set[tuple[int, str]] = set()
"""Queues that this process has declared: the default exchange leads to no queue that nobody declared."""


def is_reachable() -> bool:
    """Whether the broker answers now."""
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
    except Exception:  # noqa: BLE001  # whatever the transport raises: it does not answer
        return False
    return True


def ring(rings: Iterable[Ring]) -> bool:
    """Tell workers of due steps. False when the broker did not take it all; nothing is lost then."""
    client = messages.client_of(transport.broker_url())
    if client is None:
        return all(_send(STEP_TASK, 1, partial(_publish_ring, one)) for one in rings)
    by_queue: dict[str, list[Ring]] = {}
    for one in rings:
        by_queue.setdefault(one.queue, []).append(one)
    return all(_send(STEP_TASK, len(some), partial(_push, client, some)) for some in by_queue.values())


def ring_deliveries() -> bool:
    """Tell the webhook workers that deliveries are due."""
    return _send(DELIVER_TASK, 1, lambda: _publish(_message(DELIVER_TASK, uuid(), expires=RING_SECONDS), WEBHOOK_QUEUE))


def _send(task: str, count: int, publish: Callable[[], None]) -> bool:
    if _mute.on:
        RINGS.labels("muted").inc(count)
        return False
    try:
        publish()
    except Exception as error:  # noqa: BLE001  # whatever the transport raises: the dispatcher rings again
        _mute.start()
        RINGS.labels("failed").inc(count)
        log.warning("broker did not take a ring", task=task, error=type(error).__name__, detail=str(error)[:200])
        return False
    RINGS.labels("sent").inc(count)
    return True


def _push(client: redis.Redis, rings: Sequence[Ring]) -> None:
    """Ring for steps of one queue in one round trip, where the broker is Redis."""
    filled = [
        _template(one.queue, one.label, one.limit).fill(_args(one), id_=one.step_id, root_id=one.job_id)
        for one in rings
    ]  # fmt: skip
    client.lpush(rings[0].queue, *filled)


def _publish_ring(one: Ring) -> None:
    _publish(_step_message(one.step_id, one.job_id, one.label, one.limit, *_args(one)), one.queue)


def _args(one: Ring) -> tuple[str | int, ...]:
    return (one.step_id, one.hops) if one.hops else (one.step_id,)


@lru_cache(maxsize=1_000)
def _template(queue: str, label: str, limit: float | None) -> messages.Template:
    return messages.Template(_step_message(messages.ID, messages.ROOT, label, limit, messages.ID), queue)


def _step_message(step_id: str, job_id: str, label: str, limit: float | None, *args: str | int) -> Any:
    limits = {} if limit is None else {"soft_time_limit": limit, "time_limit": limit + KILL_GRACE}
    return _message(STEP_TASK, step_id, *args, shadow=label, root_id=job_id, **limits)


def _message(task: str, task_id: str, *args: str | int, **options: Any) -> Any:
    return app.amqp.create_task_message(task_id, task, args, {}, ignore_result=True, **options)


def _publish(message: Any, queue: str) -> None:
    """What ``app.send_task`` does for us, without its routing and signals."""
    with app.producer_pool.acquire(block=True) as producer:
        if (os.getpid(), queue) not in _declared:
            app.amqp.queues[queue](cast("Any", producer.channel)).declare()
            _declared.add((os.getpid(), queue))
        producer.publish(
            message.body, exchange="", routing_key=queue, serializer="json", headers=message.headers, retry=False,
            **message.properties,
        )  # fmt: skip
