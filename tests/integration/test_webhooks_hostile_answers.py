"""Receivers whose answers are odd, broken or endless: a real server for each, through the engine and Postgres."""

import gzip
import zlib

import pytest

from agora.webhooks.sender import MAX_BODY
from tests.support.hostile import CHUNKED, EMPTY, OK, answer_each, drip, half_close, pour, say, silence, stay
from tests.support.judging import DEADLINE, check_delivered, check_failed, endpoint, found, run, try_once
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db", "quiet", "calm")

BIG_HEADERS = b"".join(b"x-%d: " % n + b"y" * 8000 + b"\r\n" for n in range(38))
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

DELIVERED = {
    "no content": (stay(b"HTTP/1.1 204 No Content\r\n\r\n"), 204),
    "no content, and a body": (stay(b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc"), 204),
    "no content, and a body later": (stay(b"HTTP/1.1 204 No Content\r\n\r\n", b"abc", pause=0.1), 204),
    "no content, and chunks": (stay(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), 204),
    "no content, and no end": (pour(b"HTTP/1.1 204 No Content\r\n\r\n", bytes(2**16)), 204),
    "reset content, and a body": (stay(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 3\r\n\r\nabc"), 205),
    "more than its length": (stay(OK + b"Content-Length: 2\r\n\r\nabcdefgh"), 200),
    "more than its length, later": (stay(OK + b"Content-Length: 2\r\n\r\nab", b"cdefgh", pause=0.1), 200),
    "two answers": (stay((OK + EMPTY) * 2), 200),
    "a second answer with a body": (stay(OK + b"Content-Length: 2\r\n\r\nab" + CHUNKED + b"1\r\nx\r\n"), 200),
    "a head in two pieces": (stay(OK + b"Content-Length: 2\r", b"\n\r", b"\nab", pause=0.05), 200),
    "a head of 300 kB": (stay(OK + BIG_HEADERS + EMPTY), 200),
    "HTTP/1.0": (say(b"HTTP/1.0 200 OK\r\n\r\nfine"), 200),
    "ends with the connection": (half_close(OK + b"\r\nfine"), 200),
    "newlines without returns": (stay(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"), 200),
    "a few hints before": (stay(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 3 + OK + EMPTY), 200),
    "a large body": (stay(OK + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000), 200),
    "a body without end": (pour(OK + b"\r\n", b"x" * 2**16), 200),
    "a body of 10 GB": (pour(OK + b"Content-Length: 10000000000\r\n\r\n", b"x" * 2**16), 200),
    "chunks without end": (pour(CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"), 200),
    "tiny chunks without end": (pour(CHUNKED, b"1\r\nx\r\n" * 1000), 200),
}


@pytest.mark.parametrize("name", DELIVERED)
def test_a_2xx_whose_end_or_first_64_kib_came_is_delivered(team, hostile, engines, name):
    behave, code = DELIVERED[name]
    server = hostile.serve(behave)
    tried = try_once(team, engines(timeout=DEADLINE), server.url())
    check_delivered(tried, code)
    assert (server.connections, len(server.requests)) == (1, 1)
    assert tried.attempt.peer_address == f"127.0.0.1:{server.port}"
    assert {"connect", "first_byte"} <= set(tried.attempt.timings)
    if "without end" in name or "GB" in name or "large" in name:
        assert tried.attempt.response_body == "x" * MAX_BODY


UNREADABLE = {
    "one header of 1 MB": (pour(OK + b"x: ", b"y" * 2**20), "more than 8190 bytes"),
    "a name of 1 MB": (pour(OK, b"y" * 2**20), "more than 8190 bytes"),
    "100,000 headers": (say(OK + b"x: y\r\n" * 100_000 + EMPTY), "Too many headers"),
    "a status line of 64 KiB": (pour(b"HTTP/1.1 200 ", b"y" * 2**16), "more than 8190 bytes"),
    "trailers without end": (pour(CHUNKED + b"1\r\nx\r\n0\r\n", b"x: y\r\n" * 1000), "Too many headers"),
    "blank lines without end": (pour(b"", b"\r\n" * 2**15), "more than 4 MiB"),
    "a chunk's extension without end": (pour(CHUNKED + b"1;", b"x" * 2**16), "more than 4 MiB"),
    "continue, a million times": (say(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000_000), "more than 16 answers of 1xx"),
    "hints without end": (pour(b"", b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" * 1000), "more than 16 answers of 1xx"),
    "a continue with a body": (
        stay(b"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\nx" + OK + EMPTY),
        "status line",
    ),
    "HTTP/0.9": (say(b"<html>hello</html>"), "status line"),
    "another protocol": (say(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "status line"),
    "any bytes": (say(bytes(range(256)) * 100), "status line"),
    "a status of four digits": (stay(b"HTTP/1.1 2000 OK\r\n" + EMPTY), "status"),
    "a negative length": (stay(OK + b"Content-Length: -5\r\n\r\n"), "Content-Length"),
    "two lengths": (stay(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), "Content-Length"),
    "a length beyond counting": (stay(OK + b"Content-Length: 99999999999999999999\r\n\r\nab"), "overflow"),
    "length and chunks": (
        stay(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        "Transfer-Encoding can't be present with Content-Length",
    ),
    "a chunk's size is no number": (stay(CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"), "chunk size"),
    "a chunk's size is no number, later": (stay(CHUNKED + b"3\r\nabc\r\n", b"zz\r\nabc", pause=0.1), "chunk size"),
    "a chunk's size is negative": (stay(CHUNKED + b"-3\r\nabc\r\n"), "chunk size"),
    "a chunk beyond counting": (stay(CHUNKED + b"f" * 17 + b"\r\nabc"), "overflow"),
    "NUL in a header": (stay(OK + b"x: a\x00b\r\n" + EMPTY), "Invalid HTTP header"),
    "a header without a colon": (stay(OK + b"nonsense\r\n" + EMPTY), "Invalid header"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_answer_fails_at_once_and_says_why(team, hostile, engines, name):
    behave, says = UNREADABLE[name]
    server = hostile.serve(behave)
    tried = try_once(team, engines(timeout=DEADLINE), server.url())
    check_failed(tried, None, "protocol", says)
    assert tried.attempt.duration_ms < DEADLINE * 1000
    assert (server.connections, len(server.requests)) == (1, 1)


LATE = {
    "silence": (silence, "waiting for the answer"),
    "slow headers": (drip(OK, b"x-slow: " + b"a" * 1000), "waiting for the answer"),
    "a slow status line": (drip(b"", b"HTTP/1.1 200 " + b"a" * 1000), "waiting for the answer"),
    "a slow body": (drip(OK + b"Content-Length: 1000\r\n\r\n", b"a" * 1000), "waiting for the answer's body"),
    "slow chunks": (drip(CHUNKED, b"1\r\nx\r\n" * 200), "waiting for the answer's body"),
    "less than its length": (stay(OK + b"Content-Length: 100\r\n\r\nhalf"), "waiting for the answer's body"),
    "no length and no end": (stay(OK + b"\r\nfine"), "waiting for the answer's body"),
    "reset content, no length": (stay(b"HTTP/1.1 205 Reset Content\r\n\r\n"), "waiting for the answer's body"),
    "continue, and then nothing": (stay(b"HTTP/1.1 100 Continue\r\n\r\n"), "waiting for the answer"),
}


def test_what_is_not_whole_at_the_deadline_is_a_failure(team, hostile, engines):
    """All at once: none of them makes another one later."""
    made = {name: endpoint(team, hostile.serve(behave).url()) for name, (behave, _) in LATE.items()}
    team.happen()
    run(engines(timeout=DEADLINE), count=len(LATE))
    for name, (_, stage) in LATE.items():
        tried = found(team, made[name])
        check_failed(tried, None, "timeout", f"no complete answer within {DEADLINE:g} s, {stage}")
        assert tried.attempt.duration_ms >= DEADLINE * 1000 - 1, name
        assert ("first_byte" in tried.attempt.timings) == stage.endswith("body"), name


@pytest.mark.parametrize("code", [0, 101, 304, 400, 404, 500, 501, 999])
def test_any_other_status_is_a_failure_of_the_delivery_and_not_of_the_endpoint(team, hostile, engines, code):
    answer = UPGRADE if code == 101 else b"HTTP/1.1 %03d Odd\r\n" % code + EMPTY
    tried = try_once(team, engines(timeout=DEADLINE), hostile.serve(stay(answer, b"more" * 100_000)).url())
    check_failed(tried, code, "status", f"the receiver answered {code}")


def zstd_bomb(blocks):
    """A Zstandard frame (RFC 8878) in which each block of four bytes stands for 128 KiB of one byte."""
    size = 128 * 1024
    first, last = (((size << 3) | (1 << 1) | end).to_bytes(3, "little") + b"x" for end in (0, 1))
    return b"\x28\xb5\x2f\xfd\x00\x38" + first * (blocks - 1) + last


def deflate_bomb(size):
    return zlib.compress(bytes(size))


BOMBS = {
    "gzip": gzip.compress(bytes(50_000_000)),
    "deflate": deflate_bomb(50_000_000),
    "zstd": zstd_bomb(4000),
    "br": b"\x1b\xff\xff\x3f" * 1000,  # its bytes do not matter: nothing looks at them
    "gzip, gzip": gzip.compress(gzip.compress(bytes(50_000_000))),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_a_compressed_bomb_is_never_unpacked(team, hostile, engines, coding):
    bomb = BOMBS[coding]
    head = OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(bomb))
    server = hostile.serve(stay(head + bomb))
    tried = try_once(team, engines(timeout=DEADLINE), server.url())
    check_delivered(tried, 200)
    assert tried.attempt.response_body == f"[{min(len(bomb), MAX_BODY)} bytes, content-encoding {coding}]"
    assert b"accept-encoding: identity" in server.requests[0][0].lower()


TEXTS = {
    "NUL": (b"a\x00b", "a\ufffdb"),
    "no UTF-8": (b"\xff\xfe ok", "\ufffd\ufffd ok"),
    "half of a surrogate pair": (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    "what a terminal would obey": (b"\x1b[2J\x9b\x07ok\tand\r\nmore", "\ufffd[2J\ufffd\ufffdok\tand\r\nmore"),
    "text that spells a NUL": (b'{"a": "\\u0000"}', '{"a": "\\u0000"}'),
}


@pytest.mark.parametrize("name", TEXTS)
def test_odd_bytes_of_a_body_are_kept_as_text_that_can_be_stored_and_shown(team, hostile, engines, name):
    sent, kept = TEXTS[name]
    server = hostile.serve(stay(OK + b"Content-Length: %d\r\n\r\n" % len(sent) + sent))
    tried = try_once(team, engines(timeout=DEADLINE), server.url())
    check_delivered(tried, 200)
    assert tried.attempt.response_body == kept


def test_odd_bytes_of_headers_are_kept_likewise(team, hostile, engines):
    lines = b"X-Odd: \xff\xed\xa0\x80\x1b[31m\x07\r\nX-Folded: a\r\n b\r\n"
    tried = try_once(team, engines(timeout=DEADLINE), hostile.serve(stay(OK + lines + EMPTY)).url())
    check_delivered(tried, 200)
    assert tried.attempt.response_headers["x-odd"] == "????\ufffd[31m\ufffd"
    assert tried.attempt.response_headers["x-folded"] == "a b"


def test_a_flood_of_cookies_is_neither_kept_nor_sent_back(team, hostile, engines):
    cookies = b"".join(b"Set-Cookie: c%d=topsecret; Path=/; Max-Age=9999\r\n" % n for n in range(120))
    server = hostile.serve(answer_each(OK + cookies + EMPTY, OK + EMPTY))
    endpoint(team, server.url())
    engine = engines(timeout=DEADLINE)
    engine.start()
    for count in (1, 2):
        team.happen()
        engine.ring()
        eventually(lambda count=count: team.statuses() == ["succeeded"] * count)
    assert "topsecret" not in repr(team.deliveries())
    assert (server.connections, len(server.requests)) == (1, 2)
    assert all(b"\r\ncookie:" not in head.lower() for head, _ in server.requests)
