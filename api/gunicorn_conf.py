"""Gunicorn's settings: two processes of greenlets, so that a stream or a waiting call costs no thread."""

from typing import Any

from gevent import monkey

monkey.patch_all()

from agora.db.engines import dispose_all  # noqa: E402  # sockets must be patched before anything imports them
from agora.settings import get_settings  # noqa: E402
from api import one_send  # noqa: E402

one_send.use()

_settings = get_settings()

bind = f"{_settings.host}:{_settings.port}"
worker_class = "gevent"
workers = 2
worker_connections = 1_000
# A client that sends its headers slowly holds a greenlet, not a process; this ends a process that hangs.
timeout = 90
# Streams end within this when the server stops; clients resume with Last-Event-ID.
graceful_timeout = 5
keepalive = 15
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
accesslog = None
loglevel = "warning"
proc_name = "agora-web"


def post_fork(_server: Any, _worker: Any) -> None:
    """Forget what the parent connected."""
    dispose_all()
