"""What the Python client sends again, what it does not, and how long it rests before."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agora.client import ApiError, Unreachable, retries
from agora.client.retries import seconds_asked
from tests.support.answering import Told

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
MADE = Told(status=201, body=b'{"id": "key_2", "secret": "agora_2"}')
FIRST = Told(status=412, body=b'{"detail": "there is one already", "code": "precondition-failed"}')


@pytest.mark.parametrize("status", [502, 504])
def test_what_a_proxy_may_have_passed_on_is_not_done_twice(server, api, status):
    server.answers += [Told(status=status), MADE]
    with pytest.raises(ApiError) as refused:
        api.rotate_key("key_1")
    assert (refused.value.status, server.methods) == (status, ["POST"])
    server.answers[:] = [Told(status=status), FIRST]
    with pytest.raises(ApiError) as unknown:
        api.share_project("prj_1", "team_2", if_none_match="*")
    assert (unknown.value.status, server.methods) == (status, ["POST", "PUT"])


def test_nor_is_what_a_lost_connection_may_have_done(server, api):
    server.answers += [Told(status=0), FIRST]
    with pytest.raises(Unreachable):
        api.share_project("prj_1", "team_2", if_none_match="*")
    assert server.methods == ["PUT"]


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_api_says_that_it_has_not_done_is_sent_again(server, api, status):
    server.answers += [Told(status=status), MADE]
    assert api.rotate_key("key_1")["id"] == "key_2"
    assert server.methods == ["POST", "POST"]


def test_not_on_the_connection_that_may_have_been_closed_meanwhile(server, api):
    """The rest may outlast what the server keeps a connection for, and such a loss would not be tried again."""
    server.answers += [Told(status=503, headers={"Retry-After": "5"}), MADE]
    api._rest = lambda _: opened.append(api._local.connection)
    opened = []
    api.rotate_key("key_1")
    assert api._local.connection is not opened[0]
    assert opened[0].sock is None


@pytest.mark.parametrize("status", [502, 504, 0])
def test_what_can_be_repeated_is(server, api, status):
    server.answers += [Told(status=status), Told(status=status), MADE]
    assert api.rotate_key("key_1", idempotency_key="once")["id"] == "key_2"
    assert server.methods == ["POST"] * 3
    assert api.rests == [0.1, 0.2]


def test_as_long_as_is_asked_up_to_a_minute(server, api):
    server.answers += [Told(status=503, headers={"Retry-After": "42"}), Told(status=503, headers={"Retry-After": "x"})]
    api.list_jobs()
    assert api.rests == [42.0, 0.2]
    server.answers += [Told(status=429, headers={"Retry-After": "61"})]
    with pytest.raises(ApiError):
        api.list_jobs()
    assert (len(api.rests), len(server.asked)) == (2, 4)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 9 * 86_400.0),
        ("Wed, 21 Oct 2026 07:29:00 -0000", 60.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
        *((junk, 0.0) for junk in (None, "", "soon", "-5", "1e9", "5.5", "5, 7", "Wed, 99 Oct 2026 07:28:00 GMT")),
        ("Wed, 21 Oct 99999999999999 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(monkeypatch, value, seconds):
    monkeypatch.setattr(retries, "now", lambda: NOW)
    assert seconds_asked(value) == seconds


def test_a_connection_that_the_server_closes_is_not_kept(server, api):
    server.answers += [Told(headers={"Connection": "close"})] * 10
    for _ in range(10):
        api.list_jobs()
    assert len(api._open) == 1
