"""Look-ups of names: with a deadline, and every answer judged before any is dialled."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from agora.egress.blocks import Address
from agora.egress.policy import Policy
from agora.settings import Settings, get_settings

RESOLVE_SECONDS = 5.0
MOST_THREADS = 256
"""Names that the system's resolver is asked for at a time: as many as a webhook worker has deliveries under way."""
MOST_ADDRESSES = 100
"""A name with more is refused: each must be judged, and nobody has as many."""

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
LookUp = Callable[[str, int], Awaitable[Sequence[str]]]


class ResolveFailed(OSError):
    """The host name could not be resolved, or not in time."""


class SystemLookUp:
    """The system's resolver, asked in a thread for each name.

    ``getaddrinfo`` cannot be broken off: who asked gives up at the deadline, the thread goes on for as long as the
    system likes. So look-ups that hang must hold up nothing else: a name that is asked for again joins the look-up that
    is under way, and the threads are daemons, which the end of the process does not wait for.
    """

    def __init__(self, *, most: int = MOST_THREADS) -> None:
        self._room = asyncio.Semaphore(most)
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}
        self._closed = False

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of ``host``, in the resolver's order. Raises OSError."""
        del port  # addresses do not depend on it
        if self._closed:
            raise OSError("the resolver is closed")
        if host not in self._under_way:
            await self._room.acquire()
            if host in self._under_way:  # somebody else waited for room as well
                self._room.release()
        return await asyncio.shield(self._under_way.get(host) or self._begin(host))

    def _begin(self, host: str) -> "asyncio.Future[list[str]]":
        loop = asyncio.get_running_loop()
        future = self._under_way[host] = loop.create_future()
        thread = threading.Thread(target=self._run, args=(loop, host), name=f"agora-resolve-{host}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads
            self._end(host, [], OSError(str(error)))
        return future

    def _run(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        answers: list[str] = []
        fault: Exception | None = None
        try:
            answers = self._ask(host)
        except Exception as error:  # noqa: BLE001  # for whoever asked
            fault = error
        with suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits
            loop.call_soon_threadsafe(self._end, host, answers, fault)

    def _end(self, host: str, answers: list[str], fault: Exception | None) -> None:
        future = self._under_way.pop(host)
        self._room.release()
        if fault is None:
            future.set_result(answers)
        else:
            future.set_exception(fault)

    @staticmethod
    def _ask(host: str) -> list[str]:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))

    def close(self) -> None:
        """Begin no more look-ups; those that hang are left behind."""
        self._closed = True


def look_up_of(settings: Settings | None = None) -> LookUp:
    """The look-up that the settings describe."""
    servers = (settings or get_settings()).egress_nameservers
    if not servers:
        return SystemLookUp()
    from agora.egress.nameservers import NameserverLookUp  # noqa: PLC0415  # 0.2 s, and only where it is set

    return NameserverLookUp(servers)


class VettingResolver(AbstractResolver):
    """Resolves with a deadline, and passes a name on only when every one of its answers may be dialled."""

    def __init__(self, policy: Policy, look_up: LookUp, *, seconds: float = RESOLVE_SECONDS) -> None:
        self._policy = policy
        self._look_up = look_up
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The judged addresses of ``host``. Raises EgressRefused, ResolveFailed."""
        try:
            async with asyncio.timeout(self._seconds):
                answers = await self._look_up(host, port)
        except TimeoutError:
            raise ResolveFailed(f"{host}: was not resolved within {self._seconds:g} s") from None
        except (OSError, UnicodeError) as error:
            raise ResolveFailed(f"{host}: cannot be resolved: {error}") from None
        if not answers:
            raise ResolveFailed(f"{host}: has no address")
        if len(answers) > MOST_ADDRESSES:
            raise ResolveFailed(f"{host}: has {len(answers)} addresses, more than {MOST_ADDRESSES}")
        judged = [self._policy.vet_address(answer, host=host) for answer in answers]
        return [_result(host, address, port) for address in judged if _wanted(address, family)]

    async def close(self) -> None:
        """Nothing is held."""


def _wanted(address: Address, family: socket.AddressFamily) -> bool:
    return family in {socket.AF_UNSPEC, _family(address)}


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6


def _result(host: str, address: Address, port: int) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(
        hostname=host, host=str(address), port=port, family=_family(address), proto=socket.IPPROTO_TCP, flags=flags
    )
