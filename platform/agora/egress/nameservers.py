"""Look-ups at name servers of the operator's choice, without threads: A and AAAA at once, over UDP, and TCP for more.

The servers must be recursive ones, which follow a CNAME to its end. /etc/hosts and search domains are not looked at.
"""

import asyncio
from collections.abc import Sequence

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from agora.egress.blocks import Address
from agora.egress.hosts import is_localhost
from agora.egress.policy import LOOPBACK

ANSWER_SECONDS = 1.5
"""How long one server is waited for before the next is asked."""
LOOK_UP_SECONDS = 4.0
"""How long all servers are asked: less than the resolver's deadline, so that one kind of address is enough."""
KINDS = ("A", "AAAA")

Server = tuple[Address, int]


class NameserverLookUp:
    """Asks these servers in their order; ``seconds`` for one answer, and for the whole look-up."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        answer_seconds: float = ANSWER_SECONDS,
        look_up_seconds: float = LOOK_UP_SECONDS,
    ) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = [dns.nameserver.Do53Nameserver(str(address), port) for address, port in servers]
        self._resolver.timeout = answer_seconds
        self._resolver.lifetime = look_up_seconds
        self._backend = dns.asyncbackend.get_backend("asyncio")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of ``host``, IPv4 first. One kind that fails is left out if there are addresses of the other.

        Raises:
            OSError: neither was answered.
        """
        del port  # addresses do not depend on it
        if is_localhost(host):
            return [str(address) for address in LOOPBACK]  # never asked for (RFC 6761, 6.3)
        found = await asyncio.gather(*(self._ask(host, kind) for kind in KINDS), return_exceptions=True)
        addresses = [address for kind in found if not isinstance(kind, BaseException) for address in kind]
        faults = [kind for kind in found if isinstance(kind, BaseException)]
        unforeseen = [fault for fault in faults if not isinstance(fault, OSError)]
        if unforeseen or (faults and not addresses):
            raise (unforeseen or faults)[0]
        return list(dict.fromkeys(addresses))

    async def _ask(self, host: str, kind: str) -> list[str]:
        try:
            answer = await self._resolver.resolve(
                dns.name.from_text(host), kind, raise_on_no_answer=False, search=False, backend=self._backend
            )
        except dns.resolver.NXDOMAIN:
            raise OSError("there is no such name (NXDOMAIN)") from None
        except dns.resolver.NoNameservers as error:
            raise OSError(f"no name server has an answer ({kind}): {_told(error)}") from None
        except dns.exception.Timeout as error:
            raise OSError(f"no name server answers in time ({kind}): {_told(error)}") from None
        except dns.exception.DNSException as error:
            raise OSError(f"{type(error).__name__} ({kind})") from None
        return [record.to_text() for record in answer.rrset or ()]


def _told(error: dns.exception.DNSException) -> str:
    """What each server said last, such as ``SERVFAIL from 127.0.0.1 port 53``."""
    last: dict[tuple[str, int], str] = {}
    for server, _, port, what, _ in error.kwargs.get("errors", ()):
        last[_address(server), port] = what if isinstance(what, str) else type(what).__name__
    return ", ".join(f"{what} from {address} port {port}" for (address, port), what in last.items()) or "no answer"


def _address(server: str) -> str:
    return server.partition(":")[2].rpartition("@")[0] or server
