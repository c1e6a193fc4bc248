"""Receivers whose TLS is wrong, slow or broken: a real server for each, through the engine and Postgres."""

import os
import ssl
from datetime import timedelta

import pytest

from tests.support.authority import DAY, Authority
from tests.support.hostile import EMPTY, OK, deaf, drip, pour, reset, say, stay
from tests.support.judging import DEADLINE, check_delivered, check_failed, endpoint, found, try_once
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db", "quiet", "calm")

HOST = "receiver.test"
FINE = stay(OK + EMPTY)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def engine(engines, authority):
    async def look_up(host, port):
        return ["127.0.0.1"]

    return engines(timeout=DEADLINE, look_up=look_up, ssl=authority.trust)


def test_the_right_name_under_a_trusted_authority_is_delivered(team, hostile, engine, authority):
    server = hostile.serve(FINE, tls=authority.server(HOST))
    tried = try_once(team, engine, server.url(HOST))
    check_delivered(tried, 200)
    timings = tried.attempt.timings
    assert set(timings) == {"dns", "connect", "tls", "first_byte"}
    assert timings["dns"] <= timings["connect"] < timings["tls"] <= timings["first_byte"]
    assert len(server.requests) == 1


DISTRUSTED = {
    "expired": ({"host": HOST, "start": -2 * DAY, "end": -timedelta(hours=1)}, "certificate has expired"),
    "not yet valid": ({"host": HOST, "start": timedelta(hours=1)}, "not yet valid"),
    "self-signed": ({"host": HOST, "self_signed": True}, "self-signed certificate"),
    "for another host": ({"host": "another.test"}, "Hostname mismatch, certificate is not valid for 'receiver.test'"),
    "for a part of the name": ({"host": "*.receiver.test"}, "Hostname mismatch"),
    "for the address and not the name": ({"host": "127.0.0.1"}, "Hostname mismatch"),
}


@pytest.mark.parametrize("name", DISTRUSTED)
def test_a_certificate_that_does_not_hold_gets_nothing(team, hostile, engine, authority, name):
    made, says = DISTRUSTED[name]
    server = hostile.serve(FINE, tls=authority.server(**made))
    tried = try_once(team, engine, server.url(HOST))
    check_failed(tried, None, "tls", says)
    assert (server.connections, server.requests) == (0, [])  # no handshake was done, no byte of the event was sent
    assert set(tried.attempt.timings) == {"dns"}


def test_an_authority_that_nobody_knows_gets_nothing(team, hostile, engine, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    server = hostile.serve(FINE, tls=stranger.server(HOST))
    check_failed(try_once(team, engine, server.url(HOST)), None, "tls", "unable to get local issuer certificate")
    assert server.requests == []


def test_the_authorities_of_the_system_do_not_know_ours(team, hostile, engines, authority):
    async def look_up(host, port):
        return ["127.0.0.1"]

    server = hostile.serve(FINE, tls=authority.server(HOST))
    tried = try_once(team, engines(timeout=DEADLINE, look_up=look_up), server.url(HOST))
    check_failed(tried, None, "tls", "unable to get local issuer certificate")
    assert server.requests == []


async def hang_up(peer):
    """Read what comes first, and close."""
    await peer.reader.read(2**16)


async def hang_up_hard(peer):
    await peer.reader.read(2**16)
    peer.reset()


HANDSHAKES = {
    "hangs": (deaf, "timeout", "waiting for the connection"),
    "drips": (drip(b"\x16\x03\x03\x10\x00", b"\x02" * 1000), "timeout", "waiting for the connection"),
    "plain text": (stay(b"HTTP/1.1 400 Bad Request\r\n" + EMPTY), "tls", "wrong version number"),
    "closed": (hang_up, "connect", "during the handshake"),
    "reset": (hang_up_hard, "connect", "reset by peer"),
    "any bytes": (stay(b"\x16\x03\x03" + bytes(range(256)) * 100), "tls", "SSL"),
    "an alert": (stay(b"\x15\x03\x03\x00\x02\x02\x28"), "tls", "handshake failure"),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_handshake_that_fails(team, hostile, engine, name):
    behave, error_class, says = HANDSHAKES[name]
    server = hostile.serve(behave, reads=False)
    tried = try_once(team, engine, f"https://{HOST}:{server.port}/hook")
    check_failed(tried, None, error_class, says)
    assert set(tried.attempt.timings) == {"dns"}
    assert server.still_connected() == 0


def test_plain_http_to_a_port_of_tls(team, hostile, engine, authority):
    server = hostile.serve(FINE, tls=authority.server(HOST))
    tried = try_once(team, engine, f"http://{HOST}:{server.port}/hook")
    assert tried.attempt.error_class in {"protocol", "disconnected"}  # an alert, or only the end
    check_failed(tried, None, tried.attempt.error_class, "")
    assert server.requests == []


def test_a_receiver_that_wants_a_certificate_of_ours(team, hostile, engine, authority):
    context = authority.server(HOST)
    context.verify_mode = ssl.CERT_REQUIRED
    tried = try_once(team, engine, hostile.serve(FINE, tls=context).url(HOST))
    check_failed(tried, None, "disconnected", "")
    # It refuses after our request has gone: whether that is read before the connection ends is a matter of luck.
    assert any(words in tried.attempt.error for words in ("before its answer", "reset by peer"))


async def junk(peer):
    """Bytes that no cipher made, under the feet of TLS."""
    os.write(peer.writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
    await peer.gone()


AFTERWARDS = {
    "reset in the body": (reset(OK + b"Content-Length: 100\r\n\r\nhalf"), "disconnected", "reset by peer"),
    "closed in the body": (say(OK + b"Content-Length: 100\r\n\r\nhalf"), "disconnected", "Not enough data"),
    "broken records": (junk, "disconnected", "record"),
    "a slow body": (drip(OK + b"Content-Length: 1000\r\n\r\n", b"x" * 1000), "timeout", "the answer's body"),
}


@pytest.mark.parametrize("name", AFTERWARDS)
def test_an_answer_over_tls_that_does_not_end_well(team, hostile, engine, authority, name):
    behave, error_class, says = AFTERWARDS[name]
    server = hostile.serve(behave, tls=authority.server(HOST))
    tried = try_once(team, engine, server.url(HOST))
    check_failed(tried, None, error_class, says)
    assert server.connections == 1


async def cut(peer):
    """Answer, and go without a word of TLS, as many servers do."""
    await peer.send(b"HTTP/1.0 200 OK\r\n\r\nfine")
    peer.writer.transport.abort()


WELL = {
    "closed": (say(b"HTTP/1.0 200 OK\r\n\r\nfine"), "fine"),
    "cut": (cut, "fine"),
}


@pytest.mark.parametrize("name", WELL)
def test_an_answer_that_ends_with_its_connection(team, hostile, engine, authority, name):
    behave, text = WELL[name]
    tried = try_once(team, engine, hostile.serve(behave, tls=authority.server(HOST)).url(HOST))
    check_delivered(tried, 200)
    assert tried.attempt.response_body == text


def test_a_body_without_end_is_cut_and_its_connection_dropped_at_once(team, hostile, engine, authority):
    """TLS says goodbye and waits for the same; with one who goes on sending that would last."""
    server = hostile.serve(pour(OK + b"\r\n", b"x" * 2**16), tls=authority.server(HOST))
    made = endpoint(team, server.url(HOST))
    team.happen()
    engine.start()
    eventually(lambda: team.statuses() == ["succeeded"])
    check_delivered(found(team, made), 200)
    eventually(lambda: server.still_connected() == 0, seconds=2)
