"""The HTTP client behind the guard.

It judges at connect time, since a name may point elsewhere than when it was entered: every answer of the resolver is
judged, and only a judged address is dialled; SNI, Host and certificate stay on the name. IP literals go round a
resolver, so the URL and each socket are judged as well.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, TraceConfig

from agora.egress.policy import Policy
from agora.egress.resolver import AddrInfo, LookUp, VettingResolver


def vetting_socket(policy: Policy) -> Callable[[AddrInfo], socket.socket]:
    """A socket factory that judges the address which is about to be dialled: IP literals meet no resolver."""

    def make(info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        policy.vet_address(str(address[0]), host=str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


def guarded_session(
    policy: Policy, look_up: LookUp, *, ssl: Any = True, traces: Sequence[TraceConfig] = (), **options: Any
) -> ClientSession:
    """An HTTP client behind the guard: no proxies or .netrc of the environment, no cookies, no decompression.

    The caller passes ``Policy.vet_url(url)`` as the URL and ``allow_redirects=False`` to each request.
    """
    connector = TCPConnector(
        resolver=VettingResolver(policy, look_up), socket_factory=vetting_socket(policy), use_dns_cache=False, limit=0,
        ssl=ssl,
    )  # fmt: skip
    return ClientSession(
        connector=connector, trust_env=False, cookie_jar=DummyCookieJar(), auto_decompress=False,
        trace_configs=list(traces), **options,
    )  # fmt: skip
