"""Receivers that break the connection, or never let go of it: a real server for each, through the engine."""

import asyncio
import socket
import threading

import pytest

from tests.support.hostile import CHUNKED, EMPTY, OK, answer_each, deaf, half_close, reset, say, stay
from tests.support.judging import DEADLINE, check_delivered, check_failed, endpoint, found, try_once
from tests.support.webhooks import eventually, sql

pytestmark = pytest.mark.usefixtures("db", "quiet", "calm")

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"

BROKEN = {
    "reset at once": (reset(), "reset by peer"),
    "reset in the head": (reset(b"HTTP/1.1 200 OK\r\nx: "), "reset by peer"),
    "reset in the body": (reset(OK + b"Content-Length: 100\r\n\r\nhalf"), "reset by peer"),
    "reset in a chunk": (reset(CHUNKED + b"3\r\nabc\r\n"), "reset by peer"),
    "reset in a body that ends with the connection": (reset(OK + b"\r\nhalf"), "reset by peer"),
    "closed without a word": (say(), "before its answer"),
    "closed in the head": (say(OK + b"Set-Cookie: a=topsecret\r\nx: "), "before its answer"),
    "closed in the body": (say(OK + b"Content-Length: 100\r\n\r\nhalf"), "Not enough data"),
    "closed in a chunk": (say(CHUNKED + b"3\r\nabc\r\n"), "Not enough data"),
    "half closed without a word": (half_close(), "before its answer"),
    "half closed in the body": (half_close(OK + b"Content-Length: 100\r\n\r\nhalf"), "Not enough data"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_connection_that_breaks_before_the_whole_answer_is_a_failure(team, hostile, engines, name):
    behave, says = BROKEN[name]
    server = hostile.serve(behave)
    tried = try_once(team, engines(timeout=DEADLINE), server.url())
    check_failed(tried, None, "disconnected", says)
    assert (server.connections, len(server.requests)) == (1, 1)  # a new connection that breaks is not tried again
    assert tried.attempt.duration_ms < DEADLINE * 1000
    assert "topsecret" not in repr(tried)


def test_a_closed_port_is_refused(team, engines):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    tried = try_once(team, engines(timeout=DEADLINE), f"http://127.0.0.1:{port}/hook")
    check_failed(tried, None, "connect", "Connect call failed")
    assert tried.attempt.timings == {}
    assert tried.attempt.peer_address is None


def test_a_port_that_nobody_serves_times_out(team, engines):
    """The system accepts for a process that never does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        tried = try_once(team, engines(timeout=DEADLINE), url)
    check_failed(tried, None, "timeout", "waiting for the answer")
    assert "first_byte" not in tried.attempt.timings


large = pytest.mark.filterwarnings("ignore:Sending a large body directly")


def grow_body():
    """A body that no buffer of the system holds; real ones are far smaller, of which aiohttp would not warn."""
    assert sql("UPDATE webhook_deliveries SET body = repeat('x', 16000000)") == 1


@large
def test_who_does_not_read_is_let_go_at_the_deadline(team, hostile, engines):
    """The rest of the body is dropped with the connection: it must not wait for a receiver that never reads."""
    server = hostile.serve(deaf, reads=False)
    made = endpoint(team, server.url())
    team.happen()
    grow_body()
    engine = engines(timeout=DEADLINE)
    engine.start()
    eventually(lambda: team.deliveries()[0].attempts)
    check_failed(found(team, made), None, "timeout", "waiting for the answer")
    eventually(lambda: server.still_connected() == 0, seconds=2)
    assert server.connections == 1


@large
def test_who_answers_before_reading_the_body_has_it_delivered(team, hostile, engines):
    """It said 200, and that counts; the connection is no good for another request."""
    server = hostile.serve(answer_each(OK + b"Content-Length: 2\r\n\r\nok", last=deaf), reads=False)
    endpoint(team, server.url())
    team.happen()
    grow_body()
    engine = engines(timeout=DEADLINE)
    engine.start()
    eventually(lambda: team.statuses() == ["succeeded"])
    [attempt] = team.deliveries()[0].attempts
    assert (attempt.status_code, attempt.response_body) == (200, "ok")
    assert attempt.duration_ms < DEADLINE * 1000
    eventually(lambda: server.still_connected() == 0, seconds=2)


def test_who_answers_before_reading_a_short_body_too(team, hostile, engines):
    server = hostile.serve(stay(NO_CONTENT), reads=False)
    check_delivered(try_once(team, engines(timeout=DEADLINE), server.url()), 204)


def run_twice(team, engine, url):
    """Two events, one after the other, through one engine; the deliveries, each when it was tried."""
    made = endpoint(team, url)
    engine.start()
    for count in (1, 2):
        team.happen()
        engine.ring()
        eventually(lambda count=count: sum(len(one.attempts) for one in team.deliveries()) == count)
        yield team.deliveries(endpoint=made)[-1]


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_kept_connection_that_is_closed_under_us_is_no_failure(team, hostile, engines, how):
    """The second request is read and dropped; it is made again at once on a new connection, with the same id."""

    async def drop(peer):
        await peer.take()
        if how == "reset":
            peer.reset()

    server = hostile.serve(answer_each(NO_CONTENT, last=drop))
    first, second = run_twice(team, engines(timeout=DEADLINE), server.url())
    assert (first.status, second.status, second.attempt) == ("succeeded", "succeeded", 1)
    assert [len(one.attempts) for one in (first, second)] == [1, 1]
    assert server.connections == 2
    asked = [head.lower() for head, _ in server.requests]
    assert len(asked) == 3
    assert all(f"webhook-id: {second.event_id}".encode() in head for head in asked[1:])


def test_several_kept_connections_may_be_closed_under_us(team, hostile, engines):
    """Three connections are kept, and all of them turn out to be dead: the fourth is new."""
    together = asyncio.Barrier(3)

    async def behave(peer):
        if peer.server.connections <= 3:
            await together.wait()
            await peer.send(NO_CONTENT)
            await peer.take()
            peer.reset()
        else:
            await peer.send(NO_CONTENT)
            await peer.gone()

    server = hostile.serve(behave)
    endpoint(team, server.url())
    team.happen(count=3)
    engine = engines(timeout=DEADLINE * 5)
    engine.start()
    eventually(lambda: team.statuses() == ["succeeded"] * 3)
    team.happen()
    engine.ring()
    eventually(lambda: team.statuses() == ["succeeded"] * 4)
    assert [one.attempt for one in team.deliveries()] == [1] * 4
    assert server.connections == 4


@pytest.mark.parametrize("unasked", [OK + EMPTY, OK + b"Content-", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
def test_what_comes_unasked_on_a_kept_connection_ends_it(team, hostile, engines, unasked):
    """A receiver cannot answer a request beforehand: the second delivery is judged by the second answer."""
    ended, recorded = [], threading.Event()

    async def behave(peer):
        if peer.server.connections > 1:
            await peer.send(b"HTTP/1.1 500 No\r\n" + EMPTY)
            await peer.gone()
            return
        await peer.send(NO_CONTENT)
        await asyncio.to_thread(recorded.wait, 15.0)
        try:
            await peer.send(unasked)
            await peer.gone()
        finally:
            ended.append(peer)

    server = hostile.serve(behave)
    engine = engines(timeout=DEADLINE)
    deliveries = run_twice(team, engine, server.url())
    assert next(deliveries).status == "succeeded"
    recorded.set()
    eventually(lambda: ended)
    assert server.still_connected() == 0
    second = next(deliveries)
    assert (second.status, second.last_status_code) == ("pending", 500)
    assert server.connections == 2
