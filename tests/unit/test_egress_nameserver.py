"""Look-ups at a real name server on loopback. 127.0.0.1 is open, 127.0.0.2 is not, and must never be dialled."""

import asyncio
import ipaddress
import itertools
import socket
import struct
import threading
import time
from contextlib import closing, contextmanager

import pytest

from agora.egress.nameservers import NameserverLookUp
from agora.egress.policy import EgressRefused, Policy
from agora.egress.resolver import MOST_ADDRESSES, ResolveFailed, VettingResolver
from agora.egress.session import guarded_session
from tests.support.nameserver import NXDOMAIN, REFUSED, SERVFAIL, Address, Alias, Nameserver, reply, silence

OPEN, CLOSED = "127.0.0.1", "127.0.0.2"
POLICY = Policy(allow=(ipaddress.ip_network(f"{OPEN}/32"),), ports=(), allow_http=True)
WIDE = Policy(allow=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))
NAME = "receiver.test"


@pytest.fixture
def nameserver():
    with Nameserver() as server:
        yield server


def look_up_at(*servers, **options):
    return NameserverLookUp([server.address for server in servers], **options)


def resolve(look_up, *, policy=WIDE, name=NAME, **options):
    """The judged addresses of a name."""
    found = asyncio.run(VettingResolver(policy, look_up, **options).resolve(name, 443))
    return [one["host"] for one in found]


@contextmanager
def two_listeners():
    """The same port on the open address, where a receiver answers, and on the closed one; who was connected to."""
    met = []
    with closing(socket.socket()) as there, closing(socket.socket()) as trap:
        there.bind((OPEN, 0))
        trap.bind((CLOSED, there.getsockname()[1]))
        for listener in (there, trap):
            listener.listen()

        def serve(listener, host):
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                met.append(host)
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")

        threads = [threading.Thread(target=serve, args=pair, daemon=True) for pair in ((there, OPEN), (trap, CLOSED))]
        for thread in threads:
            thread.start()
        yield there.getsockname()[1], met
        for listener in (there, trap):
            listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def call(look_up, port, *, times=1, policy=POLICY):
    """What becomes of so many calls of the receiver, each on a connection of its own."""

    async def main():
        made = []
        async with guarded_session(policy, look_up) as session:
            for _ in range(times):
                try:
                    async with session.post(f"http://{NAME}:{port}/", allow_redirects=False) as response:
                        made.append(response.status)
                except (EgressRefused, OSError) as error:
                    made.append(getattr(error, "os_error", None) or error)
        return made

    return asyncio.run(main())


def test_the_trap_would_be_met_if_it_were_dialled():
    """Or else the tests below show nothing."""
    with two_listeners() as (port, met):
        for host in (OPEN, CLOSED):
            with socket.create_connection((host, port), 5) as connection:
                connection.sendall(b"x")
                assert connection.recv(100)
    assert sorted(met) == [OPEN, CLOSED]


def test_both_kinds_of_address_are_asked_for_and_found(nameserver):
    nameserver.say(NAME, ["127.0.0.1", "127.0.0.9", "::1"])
    assert resolve(look_up_at(nameserver)) == ["127.0.0.1", "127.0.0.9", "::1"]
    assert sorted(nameserver.asked) == [(NAME, "A", "udp"), (NAME, "AAAA", "udp")]


def test_one_kind_is_enough(nameserver):
    nameserver.say("four.test", ["127.0.0.1"])
    nameserver.say("six.test", ["::1"])
    assert resolve(look_up_at(nameserver), name="four.test") == ["127.0.0.1"]
    assert resolve(look_up_at(nameserver), name="six.test") == ["::1"]


@pytest.mark.parametrize("broken", [SERVFAIL, REFUSED, silence], ids=["SERVFAIL", "REFUSED", "silence"])
def test_a_kind_that_fails_is_left_out_if_there_are_addresses_of_the_other(nameserver, broken):
    def answer(question):
        if question.kind == "A":
            return [reply(question, ["127.0.0.1"])]
        return broken(question) if callable(broken) else [reply(question, code=broken)]

    nameserver.say(NAME, answer)
    assert resolve(look_up_at(nameserver, answer_seconds=0.1, look_up_seconds=0.3)) == ["127.0.0.1"]


def test_rebinding_to_a_forbidden_address_is_refused_at_the_second_call(nameserver):
    nameserver.say(NAME, [OPEN], [CLOSED])
    with two_listeners() as (port, met):
        first, second = call(look_up_at(nameserver), port, times=2)
    assert first == 204
    assert isinstance(second, EgressRefused)
    assert met == [OPEN]


def test_rebinding_from_a_forbidden_address_is_refused_at_the_first_call(nameserver):
    nameserver.say(NAME, [CLOSED], [OPEN])
    with two_listeners() as (port, met):
        first, second = call(look_up_at(nameserver), port, times=2)
    assert isinstance(first, EgressRefused)
    assert second == 204
    assert met == [OPEN]


def test_what_was_judged_is_what_is_dialled(nameserver):
    """One look-up for each connection: between judging and dialling nobody asks again."""
    nameserver.say(NAME, [OPEN], [CLOSED])
    with two_listeners() as (port, met):
        assert call(look_up_at(nameserver), port) == [204]
    assert nameserver.asked.count((NAME, "A", "udp")) == 1
    assert met == [OPEN]


@pytest.mark.parametrize(
    "records",
    [
        [OPEN, CLOSED], [CLOSED, OPEN], [OPEN, "::1"], [OPEN, "fe80::1"], [OPEN, "64:ff9b::7f00:2"],
        [OPEN, "::ffff:127.0.0.2"], [OPEN] * 20 + [CLOSED], [CLOSED], [OPEN, "169.254.169.254"],
    ],
)  # fmt: skip
def test_one_forbidden_address_among_allowed_ones_refuses_the_name(nameserver, records):
    nameserver.say(NAME, records)
    with two_listeners() as (port, met):
        (refused,) = call(look_up_at(nameserver), port)
    assert isinstance(refused, EgressRefused)
    assert NAME in str(refused)
    assert "AGORA_EGRESS_ALLOW" in str(refused)
    assert met == []


@pytest.mark.parametrize("length", [1, 7])
def test_a_chain_of_aliases_is_judged_by_its_end(nameserver, length):
    names = [NAME, *(f"alias{number}.test" for number in range(length))]
    chain = [Alias(one, other) for one, other in itertools.pairwise(names)]
    nameserver.say(NAME, [*chain, Address(names[-1], OPEN)], [*chain, Address(names[-1], CLOSED)])
    with two_listeners() as (port, met):
        first, second = call(look_up_at(nameserver), port, times=2)
    assert first == 204
    assert isinstance(second, EgressRefused)
    assert met == [OPEN]


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([Alias(NAME, "elsewhere.test")], "has no address"),
        ([Alias(NAME, NAME)], "ChainTooLong"),
        ([Alias(NAME, "b.test"), Alias("b.test", NAME)], "ChainTooLong"),
        ([Address("elsewhere.test", CLOSED)], "has no address"),
        ([Address(f"sub.{NAME}", CLOSED)], "has no address"),
        ([], "has no address"),
    ],
)
def test_an_answer_without_an_address_of_the_name_is_none(nameserver, records, why):
    nameserver.say(NAME, records)
    with pytest.raises(ResolveFailed, match=why):
        resolve(look_up_at(nameserver))


def test_what_an_answer_says_of_other_names_is_not_believed(nameserver):
    nameserver.say(NAME, [Address("elsewhere.test", CLOSED), OPEN])
    assert resolve(look_up_at(nameserver), policy=POLICY) == [OPEN]


@pytest.mark.parametrize(("code", "why"), [(NXDOMAIN, "NXDOMAIN"), (SERVFAIL, "SERVFAIL"), (REFUSED, "REFUSED")])
def test_what_the_server_says_is_told(nameserver, code, why):
    nameserver.say(NAME, code)
    with pytest.raises(ResolveFailed, match=rf"{NAME}: cannot be resolved: .*{why}") as caught:
        resolve(look_up_at(nameserver))
    if code != NXDOMAIN:
        assert f"127.0.0.1 port {nameserver.port}" in str(caught.value)


def test_a_server_that_hangs_meets_the_deadline_of_the_look_up(nameserver):
    nameserver.say(NAME, silence)
    start = time.monotonic()
    with pytest.raises(ResolveFailed, match=r"no name server answers in time"):
        resolve(look_up_at(nameserver, answer_seconds=0.1, look_up_seconds=0.3))
    assert 0.25 < time.monotonic() - start < 3


def test_a_server_that_hangs_meets_the_deadline_of_the_resolver(nameserver):
    nameserver.say(NAME, silence)
    start = time.monotonic()
    with pytest.raises(ResolveFailed, match=r"not resolved within 0\.2 s"):
        resolve(look_up_at(nameserver), seconds=0.2)
    assert time.monotonic() - start < 2


def test_nobody_at_the_server_s_port_is_told(nameserver):
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        servers = [(ipaddress.ip_address("127.0.0.1"), taken.getsockname()[1])]
        with pytest.raises(ResolveFailed, match="no name server answers in time"):
            resolve(NameserverLookUp(servers, answer_seconds=0.1, look_up_seconds=0.2))


@pytest.mark.parametrize("broken", [silence, SERVFAIL, REFUSED], ids=["silence", "SERVFAIL", "REFUSED"])
def test_the_next_server_is_asked(nameserver, broken):
    with Nameserver() as other:
        nameserver.say(NAME, broken)
        other.say(NAME, ["127.0.0.1"])
        assert resolve(look_up_at(nameserver, other, answer_seconds=0.1)) == ["127.0.0.1"]


def test_a_look_up_that_hangs_holds_up_no_other(nameserver):
    """Far more of them than there are threads."""
    names = [f"hangs{number}.test" for number in range(300)]
    for name in names:
        nameserver.say(name, silence)
    nameserver.say(NAME, ["127.0.0.1"])
    look_up = look_up_at(nameserver)

    async def main():
        hanging = [asyncio.create_task(look_up(name, 443)) for name in names]
        async with asyncio.timeout(20):
            while len({name for name, _, _ in nameserver.asked}) < len(names):  # noqa: ASYNC110  # kept by a thread
                await asyncio.sleep(0.01)
        start = time.monotonic()
        found = await look_up(NAME, 443)
        took = time.monotonic() - start
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        return found, took

    found, took = asyncio.run(main())
    assert found == ["127.0.0.1"]
    assert took < 1.5


GARBAGE = {
    "nothing": lambda question: b"",
    "noise": lambda question: bytes(range(200, 240)),
    "another's id": lambda question: reply(question, [CLOSED], id_=question.id ^ 1),
    "another question": lambda question: reply(question, [CLOSED], wire=b"\x04evil\x04test\x00" + question.wire[-4:]),
    "a question": lambda question: struct.pack("!6H", question.id, 0x0100, 1, 0, 0, 0) + question.wire,
    "more records promised": lambda question: struct.pack("!6H", question.id, 0x8180, 1, 9, 0, 0) + question.wire,
    "cut short": lambda question: reply(question, [CLOSED])[:-2],
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_passed_over_for_the_answer_behind_it(nameserver, kind):
    nameserver.say(NAME, lambda question: [GARBAGE[kind](question)] * 20 + [reply(question, [OPEN])])
    assert resolve(look_up_at(nameserver), policy=POLICY) == [OPEN]


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_alone_is_no_answer(nameserver, kind):
    nameserver.say(NAME, lambda question: [GARBAGE[kind](question)])
    with pytest.raises(ResolveFailed, match="cannot be resolved"):
        resolve(look_up_at(nameserver, answer_seconds=0.1, look_up_seconds=0.2), policy=POLICY)


def test_an_answer_from_somebody_else_is_passed_over(nameserver):
    """Also when it is faster, and has the right id."""

    def answer(question):
        with closing(socket.socket(type=socket.SOCK_DGRAM)) as stranger:
            stranger.bind((OPEN, 0))
            stranger.sendto(reply(question, ["127.0.0.9"]), question.source)
        return [reply(question, [OPEN])]

    nameserver.say(NAME, answer)
    assert resolve(look_up_at(nameserver)) == [OPEN]


def test_many_answers_come_over_tcp(nameserver):
    records = [f"127.0.1.{number}" for number in range(MOST_ADDRESSES)]
    nameserver.say(NAME, records)
    assert resolve(look_up_at(nameserver)) == records
    assert (NAME, "A", "tcp") in nameserver.asked


def test_too_many_answers_are_refused(nameserver):
    nameserver.say(NAME, [f"127.0.{number // 200}.{number % 200}" for number in range(2000)])
    with pytest.raises(ResolveFailed, match=f"has 2000 addresses, more than {MOST_ADDRESSES}"):
        resolve(look_up_at(nameserver))


def test_the_last_of_many_is_judged_too(nameserver):
    nameserver.say(NAME, [*(f"127.0.1.{number}" for number in range(60)), "10.0.0.1"])
    policy = Policy(allow=(ipaddress.ip_network("127.0.0.0/8"),))
    with pytest.raises(EgressRefused, match=r"10\.0\.0\.0/8"):
        resolve(look_up_at(nameserver), policy=policy)


def test_localhost_is_this_machine_whatever_the_server_says(nameserver):
    for name in ("localhost", "hook.localhost"):
        nameserver.say(name, ["127.0.0.9"])
        assert resolve(look_up_at(nameserver), name=name) == ["127.0.0.1", "::1"]
    assert nameserver.asked == []


def test_neither_hosts_file_nor_search_domain_is_looked_at(nameserver):
    """A name is asked for as it is, also one without a dot."""
    nameserver.say("receiver", ["127.0.0.1"])
    assert resolve(look_up_at(nameserver), name="receiver") == ["127.0.0.1"]
    assert {name for name, _, _ in nameserver.asked} == {"receiver"}
    assert resolve(look_up_at(nameserver), name="receiver.") == ["127.0.0.1"]


def test_an_international_name_is_asked_for_by_its_ascii_form(nameserver):
    nameserver.say("xn--bcher-kva.test", ["127.0.0.1"])
    url = Policy().vet_url("https://bücher.test/")
    assert resolve(look_up_at(nameserver), name=url.raw_host) == ["127.0.0.1"]


def test_a_server_may_be_reached_over_ipv6():
    with Nameserver(host="::1") as six:
        six.say(NAME, ["::1"])
        assert resolve(look_up_at(six)) == ["::1"]
