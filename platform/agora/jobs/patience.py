"""Writes that are tried again while the database is away, as long as the leases may hold."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from agora.settings import get_settings

T = TypeVar("T")


def surely(write: Callable[[], T]) -> T:
    """Write, and try again while the database is away, as long as the leases may hold.

    Work that is done, or money that is spent, is not forgotten because Postgres restarted. The write must bear to be
    repeated: the first one may have been committed without our hearing of it.
    """
    patience = Retrying(
        retry=retry_if_exception_type((OperationalError, InterfaceError)),
        stop=stop_after_delay(get_settings().lease_seconds),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    return patience(write)
