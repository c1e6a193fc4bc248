"""One connection to a receiver: however its bytes are cut into pieces, the same comes of them."""

import asyncio
from itertools import pairwise

from aiohttp import ClientError, ClientPayloadError
from aiohttp.http import HttpProcessingError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agora.webhooks.wire import MOST_BYTES, MOST_HEAD, MOST_INTERIM, ReceiverProtocol

OK = b"HTTP/1.1 200 OK\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Line(asyncio.Transport):
    """A transport that only notes whether it was ended, and how."""

    def __init__(self):
        super().__init__()
        self.ended = None

    def is_closing(self):
        return self.ended is not None

    def close(self):
        self.ended = self.ended or "closed"

    def abort(self):
        self.ended = self.ended or "aborted"

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def judge(pieces):
    """What a client sees of an answer that comes so, and how its connection ended."""
    line, wire = Line(), ReceiverProtocol(asyncio.get_running_loop())
    wire.connection_made(line)
    wire.set_response_params(auto_decompress=False, read_until_eof=True)
    for piece in pieces:
        if not line.is_closing():
            wire.data_received(piece)
    if line.is_closing():
        wire.connection_lost(None)
    try:
        async with asyncio.timeout(0):
            message, body = await wire.read()
            return message.code, await body.read(), line.ended
    except TimeoutError:
        return "waits", line.ended
    except (ClientError, ClientPayloadError, HttpProcessingError):
        return "broken", line.ended


STREAMS = {
    "nothing": (b"", ("waits", None)),
    "half a head": (OK + b"x: y\r\n", ("waits", None)),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", None)),
    "no content, and junk": (b"HTTP/1.1 204 No Content\r\n\r\nabc", (204, b"", "aborted")),
    "a body": (OK + b"Content-Length: 3\r\n\r\nabc", (200, b"abc", None)),
    "half a body": (OK + b"Content-Length: 3\r\n\r\na", ("waits", None)),
    "a body in chunks": (CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", (200, b"abc", None)),
    "unreadable chunks": (CHUNKED + b"1\r\na\r\nzz\r\n", ("broken", "closed")),
    "newlines only": (b"HTTP/1.1 200 OK\nContent-Length: 1\n\na", (200, b"a", None)),
    "hints before": (HINT * MOST_INTERIM + OK + b"Content-Length: 1\r\n\r\na", (200, b"a", None)),
    "too many hints": (HINT * (MOST_INTERIM + 1) + OK + b"Content-Length: 1\r\n\r\na", ("broken", "aborted")),
    "a hint, and junk": (HINT + b"junk\r\n", ("broken", "closed")),
    "a switch": (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", (101, b"", None)),
    "two answers": ((OK + b"Content-Length: 0\r\n\r\n") * 2, (200, b"", "aborted")),
    "no answer": (b"SSH-2.0-x\r\n", ("broken", "closed")),
}


@settings(deadline=None)
@given(name=st.sampled_from(sorted(STREAMS)), cuts=st.lists(st.integers(0, 1000), max_size=8))
@example(name="no content, and junk", cuts=[26])
@example(name="no content, and junk", cuts=[23, 24, 25])
def test_where_the_bytes_are_cut_changes_nothing(name, cuts):
    stream, wanted = STREAMS[name]
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert asyncio.run(judge(pieces)) == wanted


def test_a_byte_at_a_time_too():
    for name, (stream, wanted) in STREAMS.items():
        assert asyncio.run(judge([stream[n : n + 1] for n in range(len(stream))])) == wanted, name


PIECES = [
    *(stream for stream, _ in STREAMS.values()), b"\r\n", b"\n", b"\r", b"\x00", b":", b"0\r\n\r\n", b"HTTP/1.1 599 ",
    b"Content-Length: 3\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Content-Encoding: gzip\r\n",
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=40)), max_size=8))
def test_whatever_comes_ends_in_an_answer_in_waiting_or_in_a_broken_one(pieces):
    outcome, *_ = asyncio.run(judge(pieces))
    assert outcome in {"waits", "broken"} or 0 <= outcome <= 999


def head_of(size):
    """An answer without a body, of so many bytes."""
    end = b"Content-Length: 0\r\n\r\n"
    each, last = divmod(size - len(OK + end), 40)
    lines = (b"x: " + b"y" * (length - 5) + b"\r\n" for length in [each] * 39 + [each + last])
    return OK + b"".join(lines) + end


def test_a_head_and_an_answer_have_their_bounds():
    assert len(head_of(MOST_HEAD)) == MOST_HEAD
    assert asyncio.run(judge([head_of(MOST_HEAD)])) == (200, b"", None)
    assert asyncio.run(judge([head_of(MOST_HEAD + 1)])) == ("broken", "aborted")
    assert asyncio.run(judge([b"\r\n" * (MOST_HEAD // 2 + 1)])) == ("broken", "aborted")
    assert asyncio.run(judge([CHUNKED + b"1;", b"x" * (MOST_BYTES - len(CHUNKED) - 2)])) == ("waits", None)
    assert asyncio.run(judge([CHUNKED + b"1;", b"x" * MOST_BYTES])) == ("broken", "aborted")


async def begin_again(unasked):
    """A second request on a connection on which something came in between."""
    line, wire = Line(), ReceiverProtocol(asyncio.get_running_loop())
    wire.connection_made(line)
    for number in range(2):
        wire.set_response_params(auto_decompress=False, read_until_eof=True)
        wire.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
        message, _ = await wire.read()
        assert message.code == 204
        if number == 0 and unasked:
            wire.data_received(unasked)
            return line.ended, wire.is_connected(), len(wire)
    return line.ended, wire.is_connected(), len(wire)


def test_a_connection_takes_one_request_after_another_and_nothing_in_between():
    assert asyncio.run(begin_again(b"")) == (None, True, 0)
    for unasked in (b"\r\n", HINT, OK + b"Content-Length: 0\r\n\r\n"):
        assert asyncio.run(begin_again(unasked)) == ("aborted", False, 0)
