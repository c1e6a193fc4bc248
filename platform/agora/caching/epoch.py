"""The epoch of Redis: it changes when Redis may have forgotten something, and with it all that trusts what Redis knows.

A Redis that comes back empty has no epoch. One that comes back with an older state, from a snapshot after a crash or as
a replica that had not got the last writes, has another run id than that for which its epoch was made. Both break every
connection, so whoever opens one looks at the run id before anything else is asked on it.
"""

import secrets
from typing import Any

import redis

from agora.telemetry import get_logger

EPOCH, RUN = "agora:epoch", "agora:epoch-of-run"
UNKNOWN_COMMAND = "unknown command"
FIELD = "run_id:"

RENEW = """
if redis.call('GET', KEYS[2]) == ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""

log = get_logger(__name__)
_warned = False


def new_value() -> str:
    """A value that neither an epoch nor a tag has had."""
    return secrets.token_hex(8)


def open_connection(connection: Any) -> None:
    """What a new connection begins with: sign-in and the like, and another epoch for another run of the server.

    Raises redis.RedisError: then nothing that Redis says on this connection is to be trusted.
    """
    connection.on_connect()
    run = _run_of(connection)
    if run is not None:
        connection.send_command("EVAL", RENEW, 2, EPOCH, RUN, run, new_value(), check_health=False)
        connection.read_response()


def _run_of(connection: Any) -> str | None:
    """The run id of the server; None when it does not tell, which is said once."""
    connection.send_command("INFO", "server", check_health=False)
    try:
        told = connection.read_response()
    except redis.ResponseError as error:
        if not isinstance(error, redis.exceptions.NoPermissionError) and UNKNOWN_COMMAND not in str(error).lower():
            raise
        told = b""
    text = told.decode() if isinstance(told, bytes) else str(told)
    found = next((line.removeprefix(FIELD).strip() for line in text.splitlines() if line.startswith(FIELD)), "")
    if not found:
        _warn()
    return found or None


def _warn() -> None:
    global _warned  # noqa: PLW0603  # once for the process
    if not _warned:
        log.warning(
            "redis does not tell its run id (INFO server): should it come back with an older state, what was revoked"
            " since may count for up to half a minute more, and jobs of the day that were made since may not count"
        )
    _warned = True
