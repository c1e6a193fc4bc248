"""Addresses that are judged, block by block. Nothing is dialled."""

import ipaddress

import pytest

from agora.egress.blocks import BLOCKS_V4, BLOCKS_V6, find_block
from agora.egress.policy import EgressRefused, Policy

STRICT = Policy()
OPEN = Policy(allow=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")))

V4 = {
    "0.0.0.0/8": (None, "1.0.0.0"),
    "0.0.0.0/32": (None, None),
    "10.0.0.0/8": ("9.255.255.255", "11.0.0.0"),
    "100.64.0.0/10": ("100.63.255.255", "100.128.0.0"),
    "127.0.0.0/8": ("126.255.255.255", "128.0.0.0"),
    "169.254.0.0/16": ("169.253.255.255", "169.255.0.0"),
    "172.16.0.0/12": ("172.15.255.255", "172.32.0.0"),
    "192.0.0.0/24": ("191.255.255.255", "192.0.1.0"),
    "192.0.0.0/29": ("191.255.255.255", None),
    "192.0.0.8/32": (None, None),
    "192.0.0.9/32": (None, None),
    "192.0.0.10/32": (None, None),
    "192.0.0.170/31": (None, None),
    "192.0.2.0/24": ("192.0.1.255", "192.0.3.0"),
    "192.31.196.0/24": ("192.31.195.255", "192.31.197.0"),
    "192.52.193.0/24": ("192.52.192.255", "192.52.194.0"),
    "192.88.99.0/24": ("192.88.98.255", "192.88.100.0"),
    "192.88.99.2/32": (None, None),
    "192.168.0.0/16": ("192.167.255.255", "192.169.0.0"),
    "192.175.48.0/24": ("192.175.47.255", "192.175.49.0"),
    "198.18.0.0/15": ("198.17.255.255", "198.20.0.0"),
    "198.51.100.0/24": ("198.51.99.255", "198.51.101.0"),
    "203.0.113.0/24": ("203.0.112.255", "203.0.114.0"),
    "240.0.0.0/4": (None, None),
    "255.255.255.255/32": (None, None),
}
"""IANA's special-purpose registry of IPv4: each block, and the public addresses before and behind it, if any."""

V6 = {
    "::/128": (None, None),
    "::1/128": (None, None),
    "64:ff9b:1::/48": (None, None),
    "100::/64": (None, None),
    "100:0:0:1::/64": (None, None),
    "2001::/23": ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    "2001::/32": ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    "2001:1::1/128": (None, None),
    "2001:1::2/128": (None, None),
    "2001:1::3/128": (None, None),
    "2001:2::/48": (None, None),
    "2001:3::/32": (None, None),
    "2001:4:112::/48": (None, None),
    "2001:10::/28": (None, None),
    "2001:20::/28": (None, None),
    "2001:30::/28": (None, None),
    "2001:db8::/32": ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
    "2002::/16": ("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
    "2620:4f:8000::/48": ("2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"),
    "3fff::/20": ("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
    "5f00::/16": (None, None),
    "fc00::/7": (None, None),
    "fe80::/10": (None, None),
}
"""Likewise of IPv6. What surrounds most of them is not global unicast either."""

BESIDE_THE_REGISTRIES = {
    "168.63.129.16/32": ("168.63.129.15", "168.63.129.17"),
    "224.0.0.0/4": ("223.255.255.255", None),
    "::/96": (None, None),
    "::ffff:0:0:0/96": (None, None),
    "fec0::/10": (None, None),
    "ff00::/8": (None, None),
    "::/3": (None, "2000::"),
    "4000::/2": ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None),
    "8000::/1": (None, None),
}
"""Cloud metadata, multicast, forms that wrap IPv4, and all but global unicast and what wraps public IPv4."""

ALL = V4 | V6 | BESIDE_THE_REGISTRIES
WITHIN_AND_PUBLIC = {"::ffff:8.8.8.8", "64:ff9b::8.8.8.8"}

METADATA = {
    "AWS, Azure, Google, Oracle, OpenStack and others": "169.254.169.254",
    "AWS containers": "169.254.170.2",
    "AWS EKS": "169.254.170.23",
    "AWS, IPv6": "fd00:ec2::254",
    "AWS EKS, IPv6": "fd00:ec2::23",
    "AWS time": "169.254.169.123",
    "Azure's wire server": "168.63.129.16",
    "Google, IPv6": "fd20:ce::254",
    "Alibaba": "100.100.100.200",
    "Oracle, once": "192.0.0.192",
    "Oracle, IPv6": "fd00:c1::a9fe:a9fe",
    "OpenStack, IPv6": "fe80::a9fe:a9fe",
    "Tencent": "169.254.0.23",
    "Scaleway": "169.254.42.42",
    "Scaleway, IPv6": "fd00:42::42",
}

WRAPPED = {
    "::ffff:169.254.169.254": "169.254.0.0/16",
    "::ffff:127.0.0.1": "127.0.0.0/8",
    "::ffff:0.0.0.0": "0.0.0.0/8",
    "::127.0.0.1": "127.0.0.0/8",
    "::169.254.169.254": "169.254.0.0/16",
    "::8.8.8.8": "::/96",
    "::ffff:0:10.0.0.1": "10.0.0.0/8",
    "::ffff:0:8.8.8.8": "::ffff:0:0:0/96",
    "64:ff9b::169.254.169.254": "169.254.0.0/16",
    "64:ff9b::a00:1": "10.0.0.0/8",
    "64:ff9b::": "0.0.0.0/8",
    "64:ff9b::168.63.129.16": "168.63.129.16/32",
    "64:ff9b::224.0.0.1": "224.0.0.0/4",
    "64:ff9b:1::8.8.8.8": "64:ff9b:1::/48",
    "64:ff9b:0:1::8.8.8.8": "not in 2000::/3",
    "2002:7f00:1::": "127.0.0.0/8",
    "2002:a9fe:a9fe::1": "169.254.0.0/16",
    "2002:808:808::": "2002::/16",
    "2001:0:7f00:1::": "127.0.0.0/8",
    "2001:0:808:808:0:0:80ff:fffe": "127.0.0.0/8",
    "2001:0:808:808:0:0:f7f7:f7f7": "2001::/23",
    "2606:4700::5efe:192.168.1.1": "192.168.0.0/16",
    "2606:4700::200:5efe:10.0.0.1": "10.0.0.0/8",
    "fe80::5efe:8.8.8.8": "fe80::/10",
}


def edges(blocks):
    return [str(edge) for block in blocks for edge in (ipaddress.ip_network(block)[0], ipaddress.ip_network(block)[-1])]


@pytest.mark.parametrize("address", dict.fromkeys(edges(ALL)))
def test_every_block_is_refused_at_both_ends(address):
    with pytest.raises(EgressRefused):
        STRICT.vet_address(address, host="receiver.test")


@pytest.mark.parametrize("address", dict.fromkeys(one for pair in ALL.values() for one in pair if one))
def test_what_lies_beside_a_block_passes(address):
    assert STRICT.vet_address(address, host="receiver.test") == ipaddress.ip_address(address)


def test_neighbours_are_neighbours():
    """The table above is right about itself."""
    for block, (before, behind) in ALL.items():
        network = ipaddress.ip_network(block)
        assert before is None or ipaddress.ip_address(before) + 1 == network[0]
        assert behind is None or ipaddress.ip_address(behind) - 1 == network[-1]


def test_a_neighbour_that_is_left_out_is_refused_itself():
    """Or else an edge that is drawn too wide would not be seen."""
    for block, (before, behind) in ALL.items():
        network = ipaddress.ip_network(block)
        if before is None and int(network[0]) > 0:
            assert find_block(network[0] - 1), block
        if behind is None and int(network[-1]) + 1 < 2**network.max_prefixlen:
            assert find_block(network[-1] + 1), block


def test_every_block_of_the_table_is_tested():
    named = {ipaddress.ip_network(block) for block in ALL}
    assert {ipaddress.ip_network(block) for block, _ in (*BLOCKS_V4, *BLOCKS_V6)} <= named


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "2a00::1", *WITHIN_AND_PUBLIC])
def test_public_addresses_pass(address):
    assert STRICT.vet_address(address, host="receiver.test") == ipaddress.ip_address(address)


@pytest.mark.parametrize("cloud", METADATA)
def test_no_cloud_s_metadata_is_reached(cloud):
    with pytest.raises(EgressRefused):
        STRICT.vet_address(METADATA[cloud], host="metadata.test")


@pytest.mark.parametrize(("address", "rule"), WRAPPED.items())
def test_the_rule_is_named_for_wrapped_addresses(address, rule):
    assert rule in find_block(ipaddress.ip_address(address))


@pytest.mark.parametrize("block", V4)
@pytest.mark.parametrize(
    ("prefix", "shift"),
    [("::ffff:0:0", 0), ("64:ff9b::", 0), ("::", 0), ("::ffff:0:0:0", 0), ("2002::", 80), ("2606:4700::5efe:0:0", 0)],
    ids=["mapped", "NAT64", "compatible", "translated", "6to4", "ISATAP"],
)
def test_every_block_of_ipv4_is_refused_in_every_wrapping(block, prefix, shift):
    network = ipaddress.ip_network(block)
    for inner in (network[0], network[-1]):
        wrapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + (int(inner) << shift))
        assert find_block(wrapped), wrapped


def test_no_special_address_of_the_standard_library_passes():
    """Where ``ipaddress`` knows a block that is not global, the table knows it as well."""
    for module, size in ((ipaddress._IPv4Constants, 4), (ipaddress._IPv6Constants, 6)):
        for block in module._private_networks:
            assert find_block(block[0]), f"{block} of version {size}"
            assert find_block(block[-1]), f"{block} of version {size}"


def test_the_error_names_host_address_rule_and_setting():
    with pytest.raises(EgressRefused) as caught:
        STRICT.vet_address("169.254.169.254", host="metadata.test")
    for part in ("metadata.test", "169.254.169.254", "169.254.0.0/16", "AGORA_EGRESS_ALLOW"):
        assert part in str(caught.value)
    assert caught.value.extra == {
        "host": "metadata.test", "address": "169.254.169.254", "setting": "AGORA_EGRESS_ALLOW",
        "rule": "169.254.0.0/16 (link-local and cloud metadata)",
    }  # fmt: skip


def test_the_error_names_the_address_that_is_wrapped():
    with pytest.raises(EgressRefused, match=r"10\.0\.0\.0/8 \(private use\), as 10\.0\.0\.1 inside 64:ff9b::a00:1"):
        STRICT.vet_address("64:ff9b::a00:1", host="receiver.test")


def test_an_operator_opens_blocks_and_nothing_beside_them():
    assert OPEN.vet_address("127.0.0.1", host="x")
    assert OPEN.vet_address("::ffff:127.0.0.1", host="x")  # the kernel connects to 127.0.0.1
    for address in ("10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "0.0.0.0", "::"):
        with pytest.raises(EgressRefused):
            OPEN.vet_address(address, host="x")


def test_an_operator_may_open_what_wraps():
    nat64 = Policy(allow=(ipaddress.ip_network("64:ff9b::7f00:0/104"),))
    assert nat64.vet_address("64:ff9b::7f00:1", host="x")
    with pytest.raises(EgressRefused):
        nat64.vet_address("127.0.0.1", host="x")
