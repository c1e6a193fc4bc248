"""How often sign-in may fail, and mails be asked for: counted in Redis over all processes, else in this one.

Failures count three times: for an account from an address, for an address, and for an account over all addresses that
it has not signed in from before. So guessing is slow from wherever it comes, and nobody can lock an owner out.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from agora import valkey
from agora.errors import TooMany
from agora.settings import get_settings
from agora.telemetry import get_logger

PAIR: Final = RateLimitItemPerMinute(10, 15, namespace="agora-failed-pair")
ADDRESS: Final = RateLimitItemPerMinute(100, 15, namespace="agora-failed-address")
ACCOUNT: Final = RateLimitItemPerHour(50, 1, namespace="agora-failed-account")
MAILS: Final = RateLimitItemPerHour(5, 1, namespace="agora-mails")
MAILS_OF_ADDRESS: Final = RateLimitItemPerHour(50, 1, namespace="agora-mails-address")
CONNECT_SECONDS = 1.0

Bucket = tuple[RateLimitItem, str]
T = TypeVar("T")
log = get_logger(__name__)


def of_sign_in(email: str, address: str, *, known: bool) -> list[Bucket]:
    """What a failed sign-in counts for; ``known``: the account has signed in from this address before."""
    over_all = [] if known else [(ACCOUNT, email)]
    return [(PAIR, f"{email} {address}"), (ADDRESS, address), *over_all]


def of_mail(email: str, address: str) -> list[Bucket]:
    """What a mail counts for."""
    return [(MAILS, email), (MAILS_OF_ADDRESS, address)]


def check(buckets: Sequence[Bucket]) -> None:
    """Refuse while one of the buckets is full. Raises TooMany, which says when to come back."""
    for item, name in buckets:
        if not _with_limiter(lambda limiter, item=item, name=name: limiter.test(item, name)):  # type: ignore[misc]
            at = _with_limiter(lambda limiter, item=item, name=name: limiter.get_window_stats(item, name).reset_time)  # type: ignore[misc]
            seconds = max(1, math.ceil(at - time.time()))
            raise TooMany("too many tries; wait a little", retry_after=seconds)


def count(buckets: Sequence[Bucket]) -> None:
    """Count one more in each bucket."""
    for item, name in buckets:
        _with_limiter(lambda limiter, item=item, name=name: limiter.hit(item, name))  # type: ignore[misc]


def _with_limiter(use: Callable[[FixedWindowRateLimiter], T]) -> T:
    """Ask Redis; while it is away, what this process has counted itself: never nothing."""
    url = get_settings().redis_url
    if url:
        try:
            return use(_shared(url))
        except StorageError as error:
            log.warning("failures are counted in this process only", error=str(error)[:200])
    return use(_own())


@lru_cache(maxsize=4)
def _shared(url: str) -> FixedWindowRateLimiter:
    pool = valkey.client(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS).connection_pool
    return FixedWindowRateLimiter(RedisStorage("redis://", connection_pool=pool, wrap_exceptions=True))


@lru_cache(maxsize=1)
def _own() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(MemoryStorage())
