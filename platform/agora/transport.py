"""What we do otherwise than kombu: Redis clients are kept, and a broker that is away is looked for every second.

Making a redis-py client costs several times the command that it sends, in the worker's loop as much as in the API. A
client keeps no state but its connection pool, so one serves all threads.

A worker that finds its broker away would wait 2, 4, 6 … 30 seconds between its tries, and be missing as long after the
broker is back.
"""

from typing import Any

import kombu
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from agora import valkey
from agora.settings import get_settings

RETRY_SECONDS = 1.0
SOCKET_SECONDS = 5
"""A broker that does not answer in this time is taken to be away."""
CONNECT_SECONDS = 2
HEARTBEAT_SECONDS = 10.0


class Connection(kombu.Connection):
    """Tries again each second until its broker is there."""

    def _ensure_connection(
        self, errback: Any = None, max_retries: Any = None, *_intervals: Any, callback: Any = None, **options: Any
    ) -> Any:
        every = {"interval_start": RETRY_SECONDS, "interval_step": 0, "interval_max": RETRY_SECONDS}
        return super()._ensure_connection(errback, max_retries, callback=callback, **options | every)


def broker_url() -> str:
    """Where messages go."""
    settings = get_settings()
    return settings.broker_url or settings.redis_url or "redis://127.0.0.1:6379/0"


def options_for(url: str) -> dict[str, Any]:
    """What a broker's transport is told, by the scheme of its URL."""
    if url.startswith("amqp"):
        return {"read_timeout": SOCKET_SECONDS, "write_timeout": SOCKET_SECONDS}
    return {
        # A message that its worker lost is rung again by the dispatcher, long before a broker would give it back. So
        # nobody keeps books of what is unacknowledged: two round trips to Redis less for each message.
        "ack_emulation": False,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": HEARTBEAT_SECONDS,
        "retry_on_timeout": False,
        "max_retries": 1,
        "interval_start": 0,
        "interval_max": 0.2,
        # Redis looks at its queues in turn, each message of ours goes to one queue only.
        "queue_order_strategy": "round_robin",
        **_sentinel_options(url),
    }


def _sentinel_options(url: str) -> dict[str, Any]:
    if not valkey.is_sentinel(url):
        return {}
    return {"master_name": get_settings().sentinel_master, "sentinel_kwargs": valkey.sentinel_options()}


class Channel(kombu_redis.Channel):
    """Keeps its client as long as its connection pool stays the same."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # the consumer's own, which holds a connection: kombu keeps it itself
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class Transport(kombu_redis.Transport):
    """The transport of ``redis://`` and ``rediss://`` addresses."""

    Channel = Channel


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """The same, to the master that the Sentinels name."""


class SentinelTransport(kombu_redis.SentinelTransport):
    """The transport of ``sentinel://`` addresses."""

    Channel = SentinelChannel


def use() -> None:
    """Let kombu take these transports for Redis addresses; others, RabbitMQ's for one, are untouched."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{SentinelTransport.__name__}"
