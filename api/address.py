"""Where a request comes from, as throttling and sessions count it: behind proxies that are trusted, whom they name."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import request

from agora.settings import get_settings

MOST_HOPS = 20


def client_address() -> str:
    """The address of the client: the nearest one that is no trusted proxy.

    ``X-Forwarded-For`` is read from its end, which the nearest proxy wrote; what a client put before that counts for
    nothing. Without ``AGORA_TRUSTED_PROXIES`` it is not read at all.
    """
    nearest = request.remote_addr or ""
    hops = [*_forwarded(), nearest][-MOST_HOPS:]
    for hop in reversed(hops):
        address = _parsed(hop)
        if address is None:
            return nearest
        nearest = str(address)
        if not any(address in network for network in get_settings().trusted_proxies):
            return nearest
    return nearest


def _forwarded() -> list[str]:
    return [hop.strip() for value in request.headers.getlist("X-Forwarded-For") for hop in value.split(",")]


def _parsed(hop: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(hop)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
