"""The egress guard, block by block. Nothing but loopback is dialled."""

import asyncio
import ipaddress
import socket
from contextlib import closing

import pytest

from agora.egress.blocks import BLOCKS_V4, BLOCKS_V6, find_block
from agora.egress.policy import EgressRefused, Policy, literal_of
from agora.egress.resolver import ResolveFailed, VettingResolver
from agora.egress.session import guarded_session

STRICT = Policy()
OPEN = Policy(allow=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")), ports=(), allow_http=True)

EDGES = [
    str(edge)
    for block, _ in (*BLOCKS_V4, *BLOCKS_V6)
    for edge in (ipaddress.ip_network(block)[0], ipaddress.ip_network(block)[-1])
]

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2001:200::", "2001:4860:4860::8888",
    "2a00::1", "3ffe::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8",
]  # fmt: skip

WRAPPED = {
    "::ffff:169.254.169.254": "169.254.0.0/16",
    "::ffff:127.0.0.1": "127.0.0.0/8",
    "::127.0.0.1": "127.0.0.0/8",
    "::ffff:0:10.0.0.1": "10.0.0.0/8",
    "64:ff9b::169.254.169.254": "169.254.0.0/16",
    "64:ff9b::a00:1": "10.0.0.0/8",
    "2002:7f00:1::": "127.0.0.0/8",
    "2002:a9fe:a9fe::1": "169.254.0.0/16",
    "2001:0:7f00:1::": "127.0.0.0/8",
    "2001:0:808:808:0:0:80ff:fffe": "127.0.0.0/8",
    "2606:4700::5efe:192.168.1.1": "192.168.0.0/16",
    "2606:4700::200:5efe:10.0.0.1": "10.0.0.0/8",
}

OTHERS = {
    "168.63.129.16": "168.63.129.16/32",
    "100.100.100.200": "100.64.0.0/10",
    "192.0.0.192": "192.0.0.0/24",
    "192.88.99.1": "192.88.99.0/24",
    "224.0.0.1": "224.0.0.0/4",
    "255.255.255.255": "240.0.0.0/4",
    "fd00:ec2::254": "fc00::/7",
    "fe80::1": "fe80::/10",
    "fec0::1": "fec0::/10",
    "ff02::1": "ff00::/8",
    "3fff::1": "3fff::/20",
    "5f00::1": "5f00::/16",
    "64:ff9b:1::1": "64:ff9b:1::/48",
    "4000::1": "not in 2000::/3",
    "2002:808:808::": "2002::/16",
}


@pytest.mark.parametrize("address", EDGES)
def test_every_block_is_refused_at_both_ends(address):
    with pytest.raises(EgressRefused):
        STRICT.vet_address(address, host="receiver.test")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address):
    assert STRICT.vet_address(address, host="receiver.test") == ipaddress.ip_address(address)


@pytest.mark.parametrize(("address", "rule"), (WRAPPED | OTHERS).items())
def test_the_rule_is_named_also_for_wrapped_addresses(address, rule):
    assert rule in find_block(ipaddress.ip_address(address))


def test_no_special_address_of_the_standard_library_passes():
    """Where ``ipaddress`` knows a block that is not global, the table knows it as well."""
    for module, size in ((ipaddress._IPv4Constants, 4), (ipaddress._IPv6Constants, 6)):
        for block in module._private_networks:
            assert find_block(block[0]), f"{block} of version {size}"


def test_the_error_names_host_address_rule_and_setting():
    with pytest.raises(EgressRefused) as caught:
        STRICT.vet_address("169.254.169.254", host="metadata.test")
    for part in ("metadata.test", "169.254.169.254", "169.254.0.0/16", "AGORA_EGRESS_ALLOW"):
        assert part in str(caught.value)
    assert caught.value.extra["setting"] == "AGORA_EGRESS_ALLOW"


def test_an_operator_opens_blocks_and_nothing_beside_them():
    assert OPEN.vet_address("127.0.0.1", host="x")
    assert OPEN.vet_address("::ffff:127.0.0.1", host="x")  # the kernel connects to 127.0.0.1
    for address in ("10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "0.0.0.0", "::"):
        with pytest.raises(EgressRefused):
            OPEN.vet_address(address, host="x")


@pytest.mark.parametrize(
    "host",
    [
        "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "127.0.0.01", "1.2.3.4.5",
        "256.1.1.1", "0x", "receiver.0x1", "a.b.1",
    ],
)  # fmt: skip
def test_numeric_spellings_are_refused_even_when_all_is_open(host):
    with pytest.raises(EgressRefused, match="usual spelling"):
        OPEN.vet_url(f"http://{host}/hook")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://receiver.test/", "AGORA_EGRESS_ALLOW_HTTP"),
        ("ftp://receiver.test/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("//receiver.test/", "https://"),
        ("hook", "https://"),
        ("https://user@receiver.test/", "user name"),
        ("https://user:pass@receiver.test/", "user name"),
        ("https://:@receiver.test/", "user name"),
        ("https://@receiver.test/", "user name"),
        ("https://receiver.test:8443/", "AGORA_EGRESS_PORTS"),
        ("https://receiver.test:0/", "port 0"),
        ("https://receiver.test:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://127.0.0.1/", "127.0.0.0/8"),
        ("https://[::1]/", "::1/128"),
        ("https://[::ffff:7f00:1]/", "127.0.0.0/8"),
        ("https://[fe80::1%25eth0]/", "IPv6"),
        ("https://\uff11\uff12\uff17.0.0.1/", "127.0.0.0/8"),
        ("https://127\u30020\u30020\u30021/", "127.0.0.0/8"),
        ("https://ex%61mple.test/", "host name"),
        ("https://a b/", "host name"),
        ("https://" + "a." * 200 + "test/", "host name"),
        ("https://" + "a" * 64 + ".test/", "host name"),
    ],
)
def test_urls_are_judged_by_their_form(url, why):
    with pytest.raises(EgressRefused) as caught:
        STRICT.vet_url(url)
    assert why in str(caught.value)


@pytest.mark.parametrize("url", ["https://receiver.test/hook?x=1", "https://bücher.test/", "https://8.8.8.8/"])
def test_ordinary_urls_pass(url):
    assert STRICT.vet_url(url).scheme == "https"


def test_names_are_not_literals():
    assert literal_of("receiver.test") is None
    assert literal_of("_dmarc.receiver.test.") is None
    assert literal_of("1password.test") is None


def resolve(policy, answers, **options):
    async def look_up(host, port):
        if isinstance(answers, Exception):
            raise answers
        return answers

    return asyncio.run(VettingResolver(policy, look_up, **options).resolve("receiver.test", 443))


def test_every_answer_is_judged():
    assert [found["host"] for found in resolve(STRICT, ["8.8.8.8", "2606:4700::1"])] == ["8.8.8.8", "2606:4700::1"]
    with pytest.raises(EgressRefused, match=r"10\.0\.0\.0/8"):
        resolve(STRICT, ["8.8.8.8", "10.0.0.1"])


def test_no_answer_and_a_failed_look_up_are_told():
    with pytest.raises(ResolveFailed, match="no address"):
        resolve(STRICT, [])
    with pytest.raises(ResolveFailed, match="cannot be resolved"):
        resolve(STRICT, socket.gaierror(-2, "Name or service not known"))


def test_a_resolver_that_hangs_meets_its_deadline():
    async def look_up(host, port):
        await asyncio.sleep(60)

    async def main():
        await VettingResolver(STRICT, look_up, seconds=0.05).resolve("receiver.test", 443)

    with pytest.raises(ResolveFailed, match=r"not resolved within 0\.05 s"):
        asyncio.run(main())


async def post(policy, url, answers):
    """What a guarded client says to a URL."""
    asked = []

    async def look_up(host, port):
        asked.append(host)
        return answers.pop(0)

    async with guarded_session(policy, look_up) as session, session.post(url, allow_redirects=False) as response:
        return response.status, response.headers["x-host"], asked


async def serve(reader, writer):
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    host = next(line.split(": ")[1] for line in request.splitlines() if line.lower().startswith("host: "))
    writer.write(f"HTTP/1.1 204 No Content\r\nx-host: {host}\r\nconnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()


async def with_server(use):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await use(server.sockets[0].getsockname()[1])


def test_the_client_dials_the_judged_address_and_keeps_the_name():
    async def use(port):
        return await post(OPEN, f"http://receiver.test:{port}/hook", [["127.0.0.1"]])

    status, host, asked = asyncio.run(with_server(use))
    assert (status, asked) == (204, ["receiver.test"])
    assert host.startswith("receiver.test:")


def test_an_ip_literal_meets_the_guard_although_it_meets_no_resolver():
    nothing_open = Policy(ports=(), allow_http=True)

    async def use(port):
        with pytest.raises(EgressRefused, match=r"127\.0\.0\.0/8"):
            await post(nothing_open, f"http://127.0.0.1:{port}/hook", [])
        return True

    assert asyncio.run(with_server(use))


def test_an_answer_that_changes_between_look_ups_is_judged_each_time():
    async def use(port):
        answers = [["127.0.0.1"], ["169.254.169.254"]]
        url = f"http://receiver.test:{port}/hook"
        await post(OPEN, url, answers)
        with pytest.raises(EgressRefused, match=r"169\.254\.0\.0/16"):
            await post(OPEN, url, answers)
        return True

    assert asyncio.run(with_server(use))


def test_a_refused_address_is_never_dialled():
    """Even when something listens there."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        policy = Policy(ports=(), allow_http=True)
        with pytest.raises(EgressRefused):
            asyncio.run(post(policy, f"http://receiver.test:{port}/", [["127.0.0.1"]]))
        with pytest.raises(BlockingIOError):
            listener.accept()
