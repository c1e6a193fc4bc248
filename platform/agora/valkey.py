"""Our own Redis clients: of one server, or of the master that Sentinel names.

``sentinel://[:PASSWORD@]HOST:PORT;sentinel://HOST:PORT…`` lists the Sentinels, as Celery writes it. The password is the
servers'; the Sentinels' own and the master's name are settings.
"""

from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.sentinel import Sentinel

from agora.errors import SettingsError
from agora.settings import SENTINEL, get_settings

SENTINEL_PORT = 26_379
SENTINEL_SECONDS = 1.0
"""A Sentinel that does not answer in this time is passed over."""


def is_sentinel(url: str) -> bool:
    """Whether a URL lists Sentinels."""
    return url.startswith(SENTINEL)


def sentinel_options() -> dict[str, Any]:
    """How to talk to the Sentinels themselves."""
    password = get_settings().sentinel_password.get_secret_value()
    timeouts = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    return timeouts | ({"password": password} if password else {})


def client(url: str, **options: Any) -> redis.Redis:
    """A client of the server that a URL leads to. ``options`` are those of ``redis.Redis``.

    Raises:
        SettingsError: the URL lists Sentinels without a host.
    """
    if not is_sentinel(url):
        made: redis.Redis = redis.Redis.from_url(url, **options)
        return made
    parts = [urlsplit(part) for part in url.split(";")]
    if any(part.hostname is None for part in parts):
        raise SettingsError("REDIS_URL: each sentinel:// address must name a host")
    manager = Sentinel(  # type: ignore[no-untyped-call]
        [(part.hostname, part.port or SENTINEL_PORT) for part in parts], sentinel_kwargs=sentinel_options()
    )
    account = {"username": parts[0].username or None, "password": unquote(parts[0].password or "") or None}
    database = int(parts[-1].path.strip("/") or 0)
    found: redis.Redis = manager.master_for(  # type: ignore[no-untyped-call]
        get_settings().sentinel_master, db=database, **account, **options
    )
    return found
