"""Look-ups of names: with a deadline, and every answer judged before any is dialled."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from agora.egress.blocks import Address
from agora.egress.policy import Policy

RESOLVE_SECONDS = 5.0
RESOLVER_THREADS = 32

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
LookUp = Callable[[str, int], Awaitable[Sequence[str]]]


class ResolveFailed(OSError):
    """The host name could not be resolved, or not in time."""


class SystemLookUp:
    """The system's resolver, in threads of its own, so that look-ups that hang hold up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="agora-resolve")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of ``host``, in the resolver's order. Raises OSError."""
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(self._threads, self._ask, host, port)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))

    @staticmethod
    def _ask(host: str, port: int) -> list[AddrInfo]:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    def close(self) -> None:
        """Let go of the threads without waiting for look-ups that hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
