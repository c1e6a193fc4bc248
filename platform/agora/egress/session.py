"""The HTTP client behind the guard.

It judges at connect time, since a name may point elsewhere than when it was entered: every answer of the resolver is
judged, and only a judged address is dialled; SNI, Host and certificate stay on the name. IP literals go round a
resolver, so the URL and each socket are judged as well.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
    TraceRequestRedirectParams,
)

from agora.egress.policy import EgressRefused, Policy
from agora.egress.resolver import AddrInfo, LookUp, VettingResolver


def vetting_socket(policy: Policy) -> Callable[[AddrInfo], socket.socket]:
    """A socket factory that judges the address which is about to be dialled: IP literals meet no resolver."""

    def make(info: AddrInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        policy.vet_address(str(address[0]), host=str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    return make


def vetting_requests(policy: Policy) -> ClientMiddlewareType:
    """Judges the URL of each request, should its caller not have done so; a proxy would be dialled in its stead."""

    async def vet(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        url = policy.vet_url(str(request.url))
        if request.proxy is not None:
            raise EgressRefused(f"{url.raw_host}: a proxy is refused", host=url.raw_host)
        return await handler(request)

    return vet


def refusing_redirects() -> TraceConfig:
    """Stops a request that would follow a redirect, should its caller have let it."""

    async def refuse(_session: ClientSession, _context: Any, redirect: TraceRequestRedirectParams) -> None:
        redirect.response.close()
        raise EgressRefused(f"{redirect.url.raw_host}: redirects are not followed", host=redirect.url.raw_host)

    config = TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


def guarded_session(
    policy: Policy, look_up: LookUp, *, ssl: Any = True, traces: Sequence[TraceConfig] = (),
    connector: type[TCPConnector] = TCPConnector, **options: Any,
) -> ClientSession:  # fmt: skip
    """An HTTP client behind the guard: no proxies or .netrc of the environment, no cookies, no decompression.

    Each request is made with ``Policy.vet_url(url)``, which sees the URL as it was written, and with
    ``allow_redirects=False``: then a redirect is an answer like others, and otherwise EgressRefused.
    """
    guarded = connector(
        resolver=VettingResolver(policy, look_up), socket_factory=vetting_socket(policy), use_dns_cache=False, limit=0,
        ssl=ssl,
    )  # fmt: skip
    return ClientSession(
        connector=guarded, trust_env=False, cookie_jar=DummyCookieJar(), auto_decompress=False,
        trace_configs=[refusing_redirects(), *traces], middlewares=[vetting_requests(policy)], **options,
    )  # fmt: skip
