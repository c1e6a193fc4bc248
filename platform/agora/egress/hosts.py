"""How hosts are written in URLs: names, addresses, and the spellings of both that are refused.

Two readers of one URL may find two hosts in it, and a number may be an address to one and a name to the other. So what
is odd is refused, and what is left is read here and by yarl, which must agree.
"""

import re
from ipaddress import IPv4Address, IPv6Address

import idna

from agora.egress.blocks import Address

LONGEST_HOST = 253
LONGEST_LABEL = 63
_AUTHORITY = re.compile(r"[^:]*://([^/?#]*)")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]{0,5}))?")
_LABEL = re.compile(rf"[0-9A-Za-z_-]{{1,{LONGEST_LABEL}}}")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def authority_of(url: str) -> str:
    """What stands between ``://`` and the path, query or fragment: user, host and port."""
    found = _AUTHORITY.match(url)
    return found[1] if found else ""


def is_printable(url: str) -> bool:
    """Whether a URL is free of what readers strip before they begin: white space and control characters."""
    return not any(letter.isspace() or not letter.isprintable() for letter in url)


def check_host(authority: str, host: str) -> None:
    """Compare an authority without a user to the ``host`` that yarl read from it.

    Raises:
        ValueError: they differ, or the host is no legal IDN (RFC 5891, by the mapping of UTS #46).
    """
    found = _HOST_AND_PORT.fullmatch(authority)
    if found is None:
        raise ValueError("is not a host with an optional port")
    if found[1].startswith("["):
        return  # literal_of reads it
    if _in_ascii(found[1]) != host:
        raise ValueError("can be read in more than one way")
    if not found[1].isascii() and _is_number(host):
        raise ValueError("is not an IPv4 address in its usual spelling")
    for label in host.split("."):
        if label.startswith("xn--"):
            _decode(label)


def literal_of(host: str) -> Address | None:
    """The address that a host is written as; None for a name.

    Raises:
        ValueError: it is a number that resolvers read in ways of their own (``0x7f.1``, ``2130706433``), a scoped
            address, or no host name at all.
    """
    if ":" in host:
        try:
            return IPv6Address(host.replace("%", "?"))  # a scope (%eth0) names an interface of this machine
        except ValueError:
            raise ValueError("is not a plain IPv6 address") from None
    if _is_number(host):
        try:
            return IPv4Address(host)
        except ValueError:
            raise ValueError("is not an IPv4 address in its usual spelling") from None
    name = host.removesuffix(".")
    if len(name) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("is not a host name")
    return None


def is_localhost(host: str) -> bool:
    """Whether a name stands for this machine, whatever a resolver says (RFC 6761, 6.3)."""
    return host.removesuffix(".").lower().rpartition(".")[2] == "localhost"


def _is_number(host: str) -> bool:
    """Whether the last label is one that makes resolvers look for an IPv4 address."""
    return _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None


def _in_ascii(written: str) -> str:
    if written.isascii():
        return written.lower()
    try:
        return idna.encode(written, uts46=True, std3_rules=True).decode()
    except UnicodeError:
        raise ValueError("is not a legal international host name") from None


def _decode(label: str) -> None:
    try:
        idna.ulabel(label)
    except UnicodeError:
        raise ValueError("is not a legal international host name") from None
