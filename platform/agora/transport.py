"""Kombu's Redis transport with one client per channel, instead of a new one for every command.

Making a redis-py client costs several times the command that it sends, in the worker's loop as much as in the API. A
client keeps no state but its connection pool, so one serves all threads.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


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


def use() -> None:
    """Let kombu take this transport for Redis addresses; others, RabbitMQ's for one, are untouched."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
