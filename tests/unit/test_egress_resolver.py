"""Judging what a resolver says, its deadline, and the system's resolver in threads."""

import asyncio
import ipaddress
import socket
import subprocess
import sys
import threading
import time

import pytest

from agora.egress.policy import EgressRefused, Policy
from agora.egress.resolver import MOST_ADDRESSES, ResolveFailed, SystemLookUp, VettingResolver

STRICT = Policy()
LOOPBACK = Policy(allow=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")))


def resolve(policy, answers, *, name="receiver.test", family=socket.AF_UNSPEC, **options):
    async def look_up(host, port):
        if isinstance(answers, Exception):
            raise answers
        return answers

    return asyncio.run(VettingResolver(policy, look_up, **options).resolve(name, 443, family))


def test_every_answer_is_judged():
    assert [found["host"] for found in resolve(STRICT, ["8.8.8.8", "2606:4700::1"])] == ["8.8.8.8", "2606:4700::1"]
    with pytest.raises(EgressRefused, match=r"10\.0\.0\.0/8"):
        resolve(STRICT, ["8.8.8.8", "10.0.0.1"])


def test_answers_of_a_family_that_is_not_wanted_are_judged_too():
    assert [found["host"] for found in resolve(STRICT, ["8.8.8.8", "2606:4700::1"], family=socket.AF_INET)] == [
        "8.8.8.8"
    ]
    with pytest.raises(EgressRefused, match="::1/128"):
        resolve(STRICT, ["8.8.8.8", "::1"], family=socket.AF_INET)


def test_an_answer_that_the_system_scopes_to_an_interface_is_judged():
    with pytest.raises(EgressRefused, match="fe80::/10"):
        resolve(STRICT, ["fe80::1%eth0"])


def test_what_is_judged_needs_no_further_look_up():
    (found,) = resolve(STRICT, ["8.8.8.8"])
    assert found["flags"] == socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    assert (found["hostname"], found["port"], found["family"]) == ("receiver.test", 443, socket.AF_INET)


def test_no_answer_and_a_failed_look_up_are_told():
    with pytest.raises(ResolveFailed, match="has no address"):
        resolve(STRICT, [])
    with pytest.raises(ResolveFailed, match=r"cannot be resolved: .*not known"):
        resolve(STRICT, socket.gaierror(-2, "Name or service not known"))
    with pytest.raises(ResolveFailed, match="cannot be resolved"):
        resolve(STRICT, UnicodeError("label too long"))


def test_too_many_answers_are_refused():
    assert len(resolve(STRICT, ["8.8.8.8"] * MOST_ADDRESSES)) == MOST_ADDRESSES
    with pytest.raises(ResolveFailed, match="has 101 addresses"):
        resolve(STRICT, ["8.8.8.8"] * (MOST_ADDRESSES + 1))


def test_a_resolver_that_hangs_meets_its_deadline():
    async def look_up(host, port):
        await asyncio.sleep(60)

    async def main():
        await VettingResolver(STRICT, look_up, seconds=0.05).resolve("receiver.test", 443)

    with pytest.raises(ResolveFailed, match=r"receiver\.test: was not resolved within 0\.05 s"):
        asyncio.run(main())


def test_the_system_s_resolver_is_asked():
    async def main():
        return await VettingResolver(LOOPBACK, SystemLookUp()).resolve("localhost", 80)

    assert {found["host"] for found in asyncio.run(main())} <= {"127.0.0.1", "::1"}


@pytest.fixture
def system(monkeypatch):
    """The system's resolver as it is when name servers hang: names that begin with ``hangs`` wait for the gate."""
    asked, gate = [], threading.Event()

    def getaddrinfo(host, port, **options):
        asked.append(host)
        if host.startswith("hangs"):
            gate.wait(30)
        if host.startswith("breaks"):
            raise MemoryError
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))] * 2

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked, gate
    gate.set()


async def given_up(look_up, names):
    """Ask for each name, and give up at the deadline."""
    resolver = VettingResolver(LOOPBACK, look_up, seconds=0.05)
    return await asyncio.gather(*(resolver.resolve(name, 443) for name in names), return_exceptions=True)


def test_look_ups_that_hang_hold_up_no_other(system):
    """Two hundred names that hang, long given up, and a name that does not."""
    names = [f"hangs{number}.test" for number in range(200)]

    async def main():
        look_up = SystemLookUp()
        outcomes = await given_up(look_up, names)
        start = time.monotonic()
        found = await look_up("receiver.test", 443)
        return outcomes, found, time.monotonic() - start

    outcomes, found, took = asyncio.run(main())
    assert {type(one) for one in outcomes} == {ResolveFailed}
    assert found == ["127.0.0.1"]
    assert took < 1


def test_a_name_that_hangs_holds_one_thread_however_often_it_is_tried(system):
    asked, _ = system

    async def main():
        look_up = SystemLookUp(most=2)
        for _ in range(5):
            await given_up(look_up, ["hangs.test"] * 20)
        return await look_up("receiver.test", 443)

    assert asyncio.run(main()) == ["127.0.0.1"]
    assert asked == ["hangs.test", "receiver.test"]


def test_with_every_thread_hanging_a_look_up_waits_for_the_first_that_ends(system):
    asked, gate = system

    async def main():
        look_up = SystemLookUp(most=3)
        await given_up(look_up, [f"hangs{number}.test" for number in range(10)])
        assert len(asked) == 3
        (refused,) = await given_up(look_up, ["receiver.test"])
        assert isinstance(refused, ResolveFailed)
        waiting = asyncio.gather(*(look_up("receiver.test", 443) for _ in range(3)))
        gate.set()
        return await waiting

    assert asyncio.run(main()) == [["127.0.0.1"]] * 3
    assert asked.count("receiver.test") == 1


def test_a_thread_hears_nothing_of_a_loop_that_has_ended(system):
    _, gate = system
    asyncio.run(given_up(SystemLookUp(), ["hangs.test"]))
    gate.set()
    for thread in [one for one in threading.enumerate() if one.name == "agora-resolve-hangs.test"]:
        thread.join(10)
        assert not thread.is_alive()


def test_whatever_goes_wrong_in_the_thread_reaches_who_asked(system):
    async def main():
        await SystemLookUp()("breaks.test", 443)

    with pytest.raises(MemoryError):
        asyncio.run(main())


def test_a_closed_one_begins_no_look_up(system):
    asked, _ = system
    look_up = SystemLookUp()
    look_up.close()

    async def main():
        await VettingResolver(LOOPBACK, look_up).resolve("receiver.test", 443)

    with pytest.raises(ResolveFailed, match="closed"):
        asyncio.run(main())
    assert asked == []


STOPS = """
import asyncio, socket, time
from agora.egress.resolver import SystemLookUp
socket.getaddrinfo = lambda *_, **__: time.sleep(60)

async def main():
    try:
        async with asyncio.timeout(0.1):
            await SystemLookUp()("hangs.test", 443)
    except TimeoutError:
        print("given up")

asyncio.run(main())
"""


def test_a_look_up_that_hangs_does_not_keep_the_process_from_ending():
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", STOPS], capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "given up"), ended.stderr
    assert time.monotonic() - start < 30
