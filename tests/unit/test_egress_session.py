"""The guarded HTTP client against real servers on loopback: what it dials, and what it never does."""

import asyncio
import ipaddress
import socket
from contextlib import closing, suppress

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession

from agora.egress.policy import EgressRefused, Policy
from agora.egress.session import guarded_session
from tests.support.own_authority import Authority
from tests.support.receiver import Receiver

OPEN = Policy(allow=(ipaddress.ip_network("127.0.0.1/32"),), ports=(), allow_http=True)
NAME = "receiver.test"
METADATA = "/latest/meta-data/"


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def bystander():
    """A server that looks like a cloud's metadata, or a proxy: nothing may reach it."""
    made = Receiver()
    yield made
    made.close()


async def look_up(host, port):
    return ["127.0.0.1"]


def post(url, *, policy=OPEN, look_up=look_up, ssl=True, times=1, **options):
    """The answers to posts of one client: status, headers and body of each."""

    async def main():
        made = []
        async with guarded_session(policy, look_up, ssl=ssl) as session:
            for _ in range(times):
                async with session.post(url, **{"data": b"{}", "allow_redirects": False, **options}) as response:
                    made.append((response.status, response.headers, await response.read()))
        return made

    return asyncio.run(main())


def test_the_judged_address_is_dialled_and_the_name_is_kept(receiver):
    ((status, _, _),) = post(f"http://{NAME}:{receiver.port}/hook")
    assert status == 204
    ((headers, body, _, _),) = receiver.got["/hook"]
    assert (headers["Host"], body) == (f"{NAME}:{receiver.port}", b"{}")


def test_an_international_name_is_sent_as_its_a_label(receiver):
    asked = []

    async def noting(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    post(OPEN.vet_url(f"http://bücher.test:{receiver.port}/hook"), look_up=noting)
    assert asked == ["xn--bcher-kva.test"]
    assert receiver.got["/hook"][0][0]["Host"] == f"xn--bcher-kva.test:{receiver.port}"


def test_a_literal_meets_the_guard_although_it_meets_no_resolver(receiver):
    with pytest.raises(EgressRefused, match=r"127\.0\.0\.0/8"):
        post(receiver.url("/hook"), policy=Policy(ports=(), allow_http=True))
    assert receiver.got == {}


def test_the_socket_is_judged_even_when_nothing_else_was(receiver, monkeypatch):
    monkeypatch.setattr(Policy, "vet_url", lambda self, url: url)
    with pytest.raises(EgressRefused, match=r"127\.0\.0\.0/8"):
        post(receiver.url("/hook"), policy=Policy(ports=(), allow_http=True))
    assert receiver.got == {}


def test_a_url_that_nobody_vetted_is_judged(receiver):
    for policy in (Policy(allow=OPEN.allow, ports=()), Policy(allow=OPEN.allow, allow_http=True)):
        with pytest.raises(EgressRefused, match="AGORA_EGRESS_"):
            post(f"http://{NAME}:{receiver.port}/hook", policy=policy)
    assert receiver.got == {}


def test_a_refused_address_is_never_dialled():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen()
        listener.setblocking(False)

        async def forbidden(host, port):
            return ["127.0.0.1", "127.0.0.2"]

        with pytest.raises(EgressRefused):
            post(f"http://{NAME}:{listener.getsockname()[1]}/", look_up=forbidden)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_an_answer_that_changes_between_look_ups_is_judged_each_time(receiver):
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    receiver.behave("/hook", (204, {"Connection": "close"}))

    async def changing(host, port):
        return answers.pop(0)

    with pytest.raises(EgressRefused, match=r"169\.254\.0\.0/16"):
        post(f"http://{NAME}:{receiver.port}/hook", look_up=changing, times=2)
    assert len(receiver.got["/hook"]) == 1


REDIRECTIONS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("status", REDIRECTIONS)
def test_a_redirect_is_an_answer_and_is_not_followed(receiver, bystander, status):
    receiver.behave("/hook", (status, {"Location": bystander.url(METADATA)}))
    ((got, headers, _),) = post(f"http://{NAME}:{receiver.port}/hook")
    assert (got, headers["Location"]) == (status, bystander.url(METADATA))
    assert bystander.got == {}


@pytest.mark.parametrize("status", REDIRECTIONS)
def test_a_redirect_is_not_followed_when_the_caller_forgot_to_say_so(receiver, bystander, status):
    receiver.behave("/hook", (status, {"Location": bystander.url(METADATA)}))
    with pytest.raises(EgressRefused, match="redirects are not followed"):
        post(f"http://{NAME}:{receiver.port}/hook", allow_redirects=True)
    assert len(receiver.got["/hook"]) == 1
    assert bystander.got == {}


def careless_post(url):
    """What a client does that believes its environment; shows that the tests below could fail."""

    async def main():
        async with ClientSession(trust_env=True) as session:
            with suppress(OSError):
                async with session.post(url, data=b"{}"):
                    pass

    asyncio.run(main())


@pytest.fixture(params=["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"])
def proxy_variable(request, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return request.param


def test_proxies_of_the_environment_are_not_used(receiver, bystander, proxy_variable, monkeypatch):
    monkeypatch.setenv(proxy_variable, f"http://user:password@127.0.0.1:{bystander.port}")
    ((status, _, _),) = post(f"http://{NAME}:{receiver.port}/hook")
    assert status == 204
    assert bystander.got == {}


def test_such_a_proxy_would_be_used_by_others(bystander, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{bystander.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    careless_post(f"http://{NAME}/hook")
    assert bystander.got


@pytest.mark.parametrize("excused", ["*", NAME, "127.0.0.1"])
def test_no_proxy_makes_no_difference(receiver, bystander, excused, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{bystander.port}")
    monkeypatch.setenv("no_proxy", excused)
    ((status, _, _),) = post(f"http://{NAME}:{receiver.port}/hook")
    assert (status, bystander.got) == (204, {})
    with pytest.raises(EgressRefused):
        post(f"http://{NAME}:{receiver.port}/hook", policy=Policy(ports=(), allow_http=True))


def test_a_proxy_is_refused(receiver, bystander):
    with pytest.raises(EgressRefused, match="a proxy is refused"):
        post(f"http://{NAME}:{receiver.port}/hook", proxy=f"http://127.0.0.1:{bystander.port}")
    assert (receiver.got, bystander.got) == ({}, {})


def test_netrc_is_not_read(receiver, monkeypatch, tmp_path):
    path = tmp_path / "netrc"
    path.write_text(f"machine {NAME} login agora password hunter2\nmachine 127.0.0.1 login agora password hunter2\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(path.read_text())
    careless_post(receiver.url("/careless"))
    assert "Authorization" in receiver.got["/careless"][0][0]
    post(f"http://{NAME}:{receiver.port}/hook")
    post(receiver.url("/hook"))
    assert ["Authorization" in headers for headers, *_ in receiver.got["/hook"]] == [False, False]


def test_cookies_are_neither_kept_nor_sent(receiver):
    receiver.behave("/hook", (204, {"Set-Cookie": "sid=1; Path=/"}))
    post(f"http://{NAME}:{receiver.port}/hook", times=3)
    assert ["Cookie" in headers for headers, *_ in receiver.got["/hook"]] == [False] * 3


def test_a_compressed_answer_is_left_as_it_is(receiver):
    receiver.behave("/hook", (200, {"Content-Encoding": "gzip"}))
    ((_, _, body),) = post(f"http://{NAME}:{receiver.port}/hook")
    assert body == b"said 200"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.mark.parametrize(("host", "in_tls"), [(NAME, NAME), (f"{NAME}.", NAME), ("bücher.test", "xn--bcher-kva.test")])
def test_tls_asks_for_the_name_and_checks_the_certificate_against_it(authority, host, in_tls):
    context, asked = authority.server(in_tls)
    secure = Receiver(ssl=context)
    try:
        url = OPEN.vet_url(f"https://{host}:{secure.port}/hook")
        ((status, _, _),) = post(url, ssl=authority.trusted)
        assert (status, asked) == (204, [in_tls])
        assert secure.got["/hook"][0][0]["Host"] == f"{in_tls}:{secure.port}"
        assert secure.got["/hook"][0][3] == "127.0.0.1"
    finally:
        secure.close()


@pytest.mark.parametrize("names", [("other.test",), ("127.0.0.1",), (f"sub.{NAME}", f"*.{NAME}")])
def test_a_certificate_of_another_name_is_refused_although_the_address_is_right(authority, names):
    context, _ = authority.server(*names)
    secure = Receiver(ssl=context)
    try:
        with pytest.raises(ClientConnectorCertificateError):
            post(f"https://{NAME}:{secure.port}/hook", ssl=authority.trusted)
        assert secure.got == {}
    finally:
        secure.close()


def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused(authority):
    context, _ = authority.server(NAME)
    secure = Receiver(ssl=context)
    try:
        with pytest.raises(ClientConnectorCertificateError):
            post(f"https://{NAME}:{secure.port}/hook")
        assert secure.got == {}
    finally:
        secure.close()
