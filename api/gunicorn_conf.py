"""Gunicorn's settings: processes of greenlets, so that a stream or a waiting call costs no thread."""

import gc
from contextlib import suppress
from typing import Any

from gevent import get_hub, monkey, spawn

monkey.patch_all()

from sqlalchemy.exc import SQLAlchemyError  # noqa: E402  # sockets must be patched before anything imports them

from agora import metrics  # noqa: E402
from agora.db.engines import dispose_all, limit_statements  # noqa: E402
from agora.identity import passwords  # noqa: E402
from agora.jobs import service  # noqa: E402
from agora.settings import get_settings  # noqa: E402
from api import connections, one_send  # noqa: E402

one_send.use()
connections.use()

_settings = get_settings()
limit_statements(_settings.statement_seconds)

bind = f"{_settings.host}:{_settings.port}"
worker_class = connections.Worker
workers = _settings.web_processes
worker_connections = 1_000
# This ends a process that hangs. A slow client holds a greenlet, and that not for long: see api/connections.py.
timeout = 90
# Streams end within this when the server stops; clients resume with Last-Event-ID.
graceful_timeout = 5
keepalive = 15
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
# Whose X-Forwarded-Proto counts: a proxy on this machine, or one that the settings name.
forwarded_allow_ips = ",".join(["127.0.0.1", "::1", *map(str, _settings.trusted_proxies)])
# No header sets the path; one whose name has an underscore could pass for another, and is left out.
forwarder_headers = ""
header_map = "drop"
# No door beside the API's: several platforms of a user would share it, and who opens it steers the processes.
control_socket_disable = True
accesslog = None
loglevel = "warning"
proc_name = "agora-web"


def post_fork(_server: Any, _worker: Any) -> None:
    """Forget what the parent connected."""
    dispose_all()


def post_worker_init(_worker: Any) -> None:
    """Open connections beside the first requests, and take what was loaded for good out of the collector's way.

    A full collection looks at everything that was ever imported, and holds up every request of the process meanwhile.
    """
    gc.collect()
    gc.freeze()
    passwords.offload(get_hub().threadpool.apply)  # else a sign-in would hold up every greenlet of the process
    spawn(_get_ready)
    metrics.start_telling("web")


def worker_exit(_server: Any, _worker: Any) -> None:
    """What this process has counted since it told it last is not lost."""
    metrics.tell_last("web")


def _get_ready() -> None:
    with suppress(SQLAlchemyError):  # Postgres is away: requests will say so, and open what they need later
        service.get_ready()
