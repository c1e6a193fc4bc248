"""What may be called: the judgement of a URL by its form, and of an address by the block that it is in."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

from agora.egress.blocks import Address, Network, find_block, unmap
from agora.errors import AgoraError
from agora.settings import Settings, get_settings

LONGEST_HOST = 253
_AUTHORITY_ENDS = re.compile(r"[/?#\\]")


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
