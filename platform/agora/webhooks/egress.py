"""The egress guard: which addresses outgoing calls to user-given URLs may reach (against SSRF).

It judges at connect time, since a name may point elsewhere than when it was entered: every answer of the resolver is
judged, and only a judged address is dialled; SNI, Host and certificate stay on the name. IP literals go round a
resolver, so the URL and each socket are judged as well.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, TraceConfig
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from agora.errors import AgoraError
from agora.settings import Settings, get_settings
from agora.webhooks.egress_blocks import Address, Network, find_block, unmap

RESOLVE_SECONDS = 5.0
RESOLVER_THREADS = 32
LONGEST_HOST = 253
_AUTHORITY_ENDS = re.compile(r"[/?#\\]")

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
LookUp = Callable[[str, int], Awaitable[Sequence[str]]]


class EgressRefused(AgoraError):
    """The address may not be called from here."""

    slug = "egress-refused"


class ResolveFailed(OSError):
    """The host name could not be resolved, or not in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What an operator allows: ``allow`` opens blocks, empty ``ports`` means any port."""

    allow: tuple[Network, ...] = ()
    ports: tuple[int, ...] = (443,)
    allow_http: bool = False

    @classmethod
    def of(cls, settings: Settings | None = None) -> "Policy":
        """The policy that the settings describe."""
        settings = settings or get_settings()
        return cls(allow=settings.egress_allow, ports=settings.egress_ports, allow_http=settings.egress_allow_http)

    def vet_url(self, url: str) -> URL:
        """Judge the form of a URL, and its address when it names one; returns it parsed.

        Raises:
            EgressRefused: names host, rule, and the setting that would allow it.
        """
        try:
            parsed = URL(url)
            host, port = parsed.raw_host, parsed.explicit_port or parsed.port
        except ValueError as error:
            raise EgressRefused(f"the URL cannot be read: {error}") from None
        if not host or parsed.scheme not in {"https", "http"}:
            raise EgressRefused("the URL must start with https:// and name a host")
        if parsed.scheme == "http" and not self.allow_http:
            raise EgressRefused(f"{host}: only https is allowed (setting AGORA_EGRESS_ALLOW_HTTP)", host=host)
        if "@" in _AUTHORITY_ENDS.split(url.partition("://")[2], maxsplit=1)[0]:
            raise EgressRefused(f"{host}: a URL with a user name or password is refused", host=host)
        if not port or (self.ports and port not in self.ports):
            listed = ", ".join(map(str, self.ports)) or "1 to 65535"
            raise EgressRefused(f"{host}: port {port} is not one of {listed} (setting AGORA_EGRESS_PORTS)", host=host)
        literal = literal_of(host)
        if literal is not None:
            self.vet_address(literal, host=host)
        return parsed

    def vet_address(self, address: str | Address, *, host: str) -> Address:
        """Judge one address that ``host`` stands for; returns it parsed. Raises EgressRefused."""
        parsed = ip_address(address) if isinstance(address, str) else address
        if any(candidate in block for block in self.allow for candidate in {parsed, unmap(parsed)}):
            return parsed
        rule = find_block(parsed)
        if rule is None:
            return parsed
        where = f"{host} ({parsed})" if host != str(parsed) else host
        raise EgressRefused(
            f"{where} is in {rule}; an operator can allow it (setting AGORA_EGRESS_ALLOW)",
            host=host, address=str(parsed), rule=rule, setting="AGORA_EGRESS_ALLOW",
        )  # fmt: skip


def literal_of(host: str) -> Address | None:
    """The address that a host is written as; None for a name.

    Raises:
        EgressRefused: it is a number that resolvers read in ways of their own (``0x7f.1``, ``2130706433``), a scoped
            address, or no host name at all.
    """
    if ":" in host:
        try:
            return IPv6Address(host.replace("%", "?"))  # a scope (%eth0) names an interface of this machine
        except ValueError:
            raise EgressRefused(f"{host}: is not a plain IPv6 address", host=host) from None
    last = host.rstrip(".").rpartition(".")[2].lower()
    if last.isdigit() or (last.startswith("0x") and all(letter in "0123456789abcdef" for letter in last[2:])):
        try:
            return IPv4Address(host)
        except ValueError:
            raise EgressRefused(f"{host}: is not an IPv4 address in its usual spelling", host=host) from None
    labels = host.rstrip(".").split(".")
    if len(host) > LONGEST_HOST or not all(_is_label(label) for label in labels):
        raise EgressRefused(f"{host}: is not a host name", host=host)
    return None


def _is_label(label: str) -> bool:
    return 0 < len(label) < 64 and label.isascii() and label.replace("-", "").replace("_", "").isalnum()  # noqa: PLR2004


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


def vetting_socket(policy: Policy) -> Callable[[AddrInfo], socket.socket]:
    """A socket factory that judges the address which is about to be dialled: IP literals meet no resolver."""

    def make(info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        policy.vet_address(str(address[0]), host=str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


def guarded_session(
    policy: Policy, look_up: LookUp, *, ssl: Any = True, traces: Sequence[TraceConfig] = (),
    connector: type[TCPConnector] = TCPConnector, **options: Any,
) -> ClientSession:  # fmt: skip
    """An HTTP client behind the guard: no proxies or .netrc of the environment, no cookies, no decompression.

    The caller passes ``Policy.vet_url(url)`` as the URL and ``allow_redirects=False`` to each request.
    """
    guarded = connector(
        resolver=VettingResolver(policy, look_up), socket_factory=vetting_socket(policy), use_dns_cache=False, limit=0,
        ssl=ssl,
    )  # fmt: skip
    return ClientSession(
        connector=guarded, trust_env=False, cookie_jar=DummyCookieJar(), auto_decompress=False,
        trace_configs=list(traces), **options,
    )  # fmt: skip
