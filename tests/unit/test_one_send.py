"""What callers of the API get in one packet."""

import socket
from types import SimpleNamespace

from gunicorn.config import Config

from api.one_send import OneSend


def answered(parts, headers):
    """The packets that an answer takes, over a socket that keeps them apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        request = SimpleNamespace(method="POST", version=(1, 1), should_close=lambda: False, trailers=[])
        response = OneSend(request, ours, Config())
        response.start_response("202 ACCEPTED", headers)
        for part in parts:
            response.write(part)
        response.close()
        ours.shutdown(socket.SHUT_WR)
        return list(iter(lambda: theirs.recv(4096), b""))


def test_an_answer_is_one_packet():
    (packet,) = answered([b'{"id": 1}'], [("Content-Length", "9")])
    head, _, body = packet.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 202 ACCEPTED\r\n")
    assert body == b'{"id": 1}'


def test_a_stream_goes_out_as_it_comes():
    first, second, last = answered([b"one", b"two"], [])
    assert first.endswith(b"\r\n\r\n3\r\none\r\n")
    assert (second, last) == (b"3\r\ntwo\r\n", b"0\r\n\r\n")


def test_an_answer_without_a_body_has_a_head():
    (packet,) = answered([], [("Content-Length", "0")])
    assert packet.endswith(b"\r\n\r\n")
