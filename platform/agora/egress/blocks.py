"""The address blocks that are nobody's public server: IANA's special-purpose registries and what else must not be met.

``ipaddress.is_global`` is not enough: it passes multicast, NAT64, 6to4, v4-compatible and site-local addresses, and the
metadata services of clouds. So the blocks are written out, and tests walk them.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

BLOCKS_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private use"),
    ("100.64.0.0/10", "shared address space"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud metadata"),
    ("169.254.0.0/16", "link-local and cloud metadata"),
    ("172.16.0.0/12", "private use"),
    ("192.0.0.0/24", "IETF protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private use"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved and broadcast"),
)

BLOCKS_V6: tuple[tuple[str, str], ...] = (
    ("::1/128", "loopback"),
    ("::/96", "unspecified and IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b:1::/48", "local-use NAT64"),
    ("100::/64", "discard only"),
    ("100:0:0:1::/64", "dummy prefix"),
    ("2001::/23", "IETF protocol assignments, Teredo, ORCHID"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local and cloud metadata"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)

_V4 = tuple((IPv4Network(block), name) for block, name in BLOCKS_V4)
_V6 = tuple((IPv6Network(block), name) for block, name in BLOCKS_V6)
_GLOBAL_UNICAST = IPv6Network("2000::/3")

MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_LAST_32 = (MAPPED, NAT64, IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
_LOW_32 = 0xFFFF_FFFF


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that are written inside an IPv6 address, by mapping, translation or tunnelling."""
    number = int(address)
    if number <= 1:  # :: and ::1 are what they are, not wrapped
        return ()
    if any(address in block for block in _LAST_32):
        return (IPv4Address(number & _LOW_32),)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(number >> 80 & _LOW_32),)
    if address in _TEREDO:  # its server, and its client with every bit turned round
        return (IPv4Address(number >> 64 & _LOW_32), IPv4Address(number & _LOW_32 ^ _LOW_32))
    if number >> 32 & _LOW_32 in _ISATAP:
        return (IPv4Address(number & _LOW_32),)
    return ()


def unmap(address: Address) -> Address:
    """The IPv4 address behind a v4-mapped one; the kernel connects to that."""
    if isinstance(address, IPv6Address) and address in MAPPED:
        return IPv4Address(int(address) & _LOW_32)
    return address


def find_block(address: Address) -> str | None:
    """The rule that speaks against an address, as ``block (name)``; None for a public one."""
    address = unmap(address)
    if isinstance(address, IPv4Address):
        return next((f"{block} ({name})" for block, name in _V4 if address in block), None)
    for inner in embedded(address):
        rule = find_block(inner)
        if rule:
            return f"{rule}, as {inner} inside {address}"
    for block, name in _V6:
        if address in block:
            return f"{block} ({name})"
    if address in NAT64 or address in _GLOBAL_UNICAST:
        return None
    return f"not in {_GLOBAL_UNICAST} (global unicast)"
