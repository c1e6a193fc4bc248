"""How often sign-in may fail, and mails be asked for: counted in Redis over all processes, else in this one.

Failures count three times: for an account from an address, for an address, and for an account over all addresses that
it has not signed in from before. So guessing is slow from wherever it comes, and nobody can lock an owner out.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, TypeVar

import redis
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute, WindowStats
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from agora.caching.link import Away, ask
from agora.errors import TooMany

PAIR: Final = RateLimitItemPerMinute(10, 15, namespace="agora-failed-pair")
ADDRESS: Final = RateLimitItemPerMinute(100, 15, namespace="agora-failed-address")
ACCOUNT: Final = RateLimitItemPerHour(50, 1, namespace="agora-failed-account")
MAILS: Final = RateLimitItemPerHour(5, 1, namespace="agora-mails")
MAILS_OF_ADDRESS: Final = RateLimitItemPerHour(50, 1, namespace="agora-mails-address")
WORK: Final = RateLimitItemPerMinute(60, 1, namespace="agora-work")

Bucket = tuple[RateLimitItem, str]
T = TypeVar("T")


def of_sign_in(email: str, address: str, *, known: bool) -> list[Bucket]:
    """What a sign-in counts for; ``known``: the account has signed in from this address before."""
    near = network_of(address)
    over_all = [] if known else [(ACCOUNT, email)]
    return [(PAIR, f"{email} {near}"), (ADDRESS, near), *over_all]


def of_user(user_id: str) -> list[Bucket]:
    """What a password or a code counts for that a user who is signed in gives once more."""
    return [(PAIR, user_id)]


def of_mail(purpose: str, email: str, address: str) -> list[Bucket]:
    """What a mail counts for."""
    return [(MAILS, f"{purpose} {email}"), (MAILS_OF_ADDRESS, network_of(address))]


def of_work(address: str) -> list[Bucket]:
    """What a request counts for that makes us judge or hash a password."""
    return [(WORK, network_of(address))]


def network_of(address: str) -> str:
    """An address as it is counted: of IPv6 the first 64 bits, since whoever has one has all that begin so."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


def take(buckets: Sequence[Bucket]) -> None:
    """Count one more in each bucket, or in none when one is full: before the work, however many come at once.

    Raises TooMany, which says when to come back.
    """
    for number, (item, name) in enumerate(buckets):
        if not _with_limiter(partial(_hit, item=item, name=name, cost=1)):
            give_back(buckets[: number + 1])
            at = _with_limiter(partial(_window, item=item, name=name)).reset_time
            raise TooMany("too many tries; wait a little", retry_after=max(1, math.ceil(at - time.time())))


def give_back(buckets: Sequence[Bucket]) -> None:
    """Count one less: it was none of those that are counted."""
    for item, name in buckets:
        _with_limiter(partial(_hit, item=item, name=name, cost=-1))


def _with_limiter(use: Callable[[FixedWindowRateLimiter], T]) -> T:
    """Ask Redis; while it is away, what this process has counted itself: never nothing."""
    try:
        return ask(lambda client: use(_shared(client)))
    except Away:
        return use(_own())


@lru_cache(maxsize=4)
def _shared(client: redis.Redis) -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(RedisStorage("redis://", connection_pool=client.connection_pool))


def _own() -> FixedWindowRateLimiter:
    with _making:  # that of `limits` starts a thread as it is made: whoever comes then must not make another
        return _made()


_making = threading.Lock()


@lru_cache(maxsize=1)
def _made() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(MemoryStorage())


def _hit(limiter: FixedWindowRateLimiter, *, item: RateLimitItem, name: str, cost: int) -> bool:
    return limiter.hit(item, name, cost=cost)


def _window(limiter: FixedWindowRateLimiter, *, item: RateLimitItem, name: str) -> WindowStats:
    return limiter.get_window_stats(item, name)
