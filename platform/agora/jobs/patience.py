"""Writes that are tried again while the database is away, as long as the leases may hold."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from agora.settings import get_settings

AWAY = (OperationalError, InterfaceError)
PAUSE_SECONDS = 0.2

T = TypeVar("T")


def surely(write: Callable[[], T]) -> T:
    """Write, and try again while the database is away, as long as the leases may hold.

    Work that is done, or money that is spent, is not forgotten because Postgres restarted. The write must bear to be
    repeated: the first one may have been committed without our hearing of it.
    """
    until = time.monotonic() + get_settings().lease_seconds
    try:
        return write()  # mostly that is all: no machinery for it
    except AWAY:
        if time.monotonic() >= until:
            raise
        time.sleep(PAUSE_SECONDS)
    patience = Retrying(
        retry=retry_if_exception_type(AWAY),
        stop=stop_after_delay(until - time.monotonic()),
        wait=wait_fixed(PAUSE_SECONDS),
        reraise=True,
    )
    return patience(write)
