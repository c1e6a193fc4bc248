"""What may be called: the judgement of a URL by its form, and of an address by the block that it is in."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

from agora.egress import hosts
from agora.egress.blocks import Address, Network, find_block, unmap
from agora.errors import AgoraError
from agora.settings import Settings, get_settings

LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
"""What ``localhost`` stands for."""


class EgressRefused(AgoraError):
    """The address may not be called from here."""

    slug = "egress-refused"


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
        if not hosts.is_printable(url):
            raise EgressRefused("the URL must have no spaces or control characters", host=host)
        if parsed.scheme == "http" and not self.allow_http:
            raise EgressRefused(f"{host}: only https is allowed (setting AGORA_EGRESS_ALLOW_HTTP)", host=host)
        authority = hosts.authority_of(url)
        if "@" in authority:
            raise EgressRefused(f"{host}: a URL with a user name or password is refused", host=host)
        if not port or (self.ports and port not in self.ports):
            listed = ", ".join(map(str, self.ports)) or "1 to 65535"
            raise EgressRefused(f"{host}: port {port} is not one of {listed} (setting AGORA_EGRESS_PORTS)", host=host)
        self._vet_host(authority, host)
        return parsed

    def _vet_host(self, authority: str, host: str) -> None:
        try:
            literal = hosts.literal_of(host)
            hosts.check_host(authority, host)
        except ValueError as error:
            raise EgressRefused(f"{host}: {error}", host=host) from None
        if literal is not None:
            self.vet_address(literal, host=host)
        elif hosts.is_localhost(host) and not any(self._allows(address) for address in LOOPBACK):
            self.vet_address(LOOPBACK[0], host=host)

    def _allows(self, address: Address) -> bool:
        return any(candidate in block for block in self.allow for candidate in {address, unmap(address)})

    def vet_address(self, address: str | Address, *, host: str) -> Address:
        """Judge one address that ``host`` stands for; returns it parsed. Raises EgressRefused."""
        parsed = ip_address(address) if isinstance(address, str) else address
        if self._allows(parsed):
            return parsed
        rule = find_block(parsed)
        if rule is None:
            return parsed
        where = f"{host} ({parsed})" if host != str(parsed) else host
        raise EgressRefused(
            f"{where} is in {rule}; an operator can allow it (setting AGORA_EGRESS_ALLOW)",
            host=host, address=str(parsed), rule=rule, setting="AGORA_EGRESS_ALLOW",
        )  # fmt: skip
