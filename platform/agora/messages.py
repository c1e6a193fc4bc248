"""Messages for workers as kombu's Redis transport writes them, without kombu: half of what a submit took was that.

What is the same in all messages of a kind is written once, by kombu itself, and only the ids are filled in. So far for
a single Redis server without TLS: what Sentinels and certificates need, only kombu decides.
"""

import json
import threading
from base64 import b64encode
from functools import lru_cache
from typing import Any, cast
from uuid import uuid4

import kombu
import redis
from kombu.transport import virtual
from redis.backoff import NoBackoff
from redis.retry import Retry

from agora import transport

ID, ROOT, BODY = (f"{name}-{uuid4().hex}" for name in ("id", "root", "body"))
"""What stands in a template where the message's own goes; nothing else in it reads like that."""
MOST_CONNECTIONS = 64
"""As many as Celery's pool of producers has; whoever comes then waits for one."""

_lock = threading.Lock()
"""Virtual transports share what they know of exchanges."""


class _Channel(virtual.Channel):
    """Keeps what is put into a queue, and sends nothing."""

    written: dict[str, Any]

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # noqa: ARG002  # kombu's signature
        self.written = message


class _Transport(virtual.Transport):
    Channel = _Channel


class Template:
    """A kind of message, to be filled in: of one queue, with the same headers but for the ids."""

    def __init__(self, message: Any, queue: str) -> None:
        """``message``: of ``app.amqp.create_task_message``, for the ids :data:`ID` and :data:`ROOT`."""
        with _lock, kombu.Connection(transport=_Transport) as connection:
            channel = cast("_Channel", connection.default_channel)
            kombu.Queue(queue, channel=channel).declare()
            kombu.Producer(channel).publish(
                message.body, exchange="", routing_key=queue, serializer="json", headers=message.headers,
                **message.properties,
            )  # fmt: skip
            written = channel.written
        self._more = message.body[1:]
        self._tag = written["properties"]["delivery_tag"]
        self._text = json.dumps(written | {"body": BODY}, separators=(",", ":"))

    def fill(self, args: tuple[str | int, ...], *, id_: str, root_id: str) -> str:
        """A message, as it lies in its queue's list. The ids are plain ones, which JSON writes as they are."""
        body = b64encode(json.dumps([args, *self._more], separators=(",", ":")).encode()).decode()
        text = self._text.replace(ID, id_).replace(ROOT, root_id)
        return text.replace(self._tag, str(uuid4())).replace(BODY, body)


@lru_cache(maxsize=4)
def client_of(url: str) -> redis.Redis | None:
    """A client for messages; None for a broker that is left to kombu.

    It tries once, for ``transport.SOCKET_SECONDS`` at most: a connection that was closed while it was idle is replaced
    before it is used.
    """
    if not url.startswith("redis://") or "?" in url or ";" in url:
        return None
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=MOST_CONNECTIONS, timeout=transport.CONNECT_SECONDS,
            socket_timeout=transport.SOCKET_SECONDS, socket_connect_timeout=transport.CONNECT_SECONDS,
            socket_keepalive=True, health_check_interval=int(transport.HEARTBEAT_SECONDS),
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
    except ValueError:  # no address at all: kombu says so each time
        return None
    return redis.Redis(connection_pool=pool)
