"""Requests that a proxy and a server could read differently, sent by hand to the server as it is run.

Each is refused with 400, after which the connection is closed, so that nothing behind it is served; or it is read as
exactly one request. What would be smuggled in asks for a page that nobody else asks for, and is seen in the answers.
"""

import json

import pytest

HOST = "Host: agora.test\r\n"
SMUGGLED = f"GET /errors/smuggled HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
POST = f"POST /api/v1/auth/sign-in HTTP/1.1\r\n{HOST}Content-Type: application/json\r\n"
BODY = '{"email": "a@example.test", "password": "wrong"}'


def chunked(header, chunks=None):
    """A POST with a header that a proxy may or may not take for chunked, and another request behind it."""
    framed = chunks if chunks is not None else f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"
    return f"{POST}{header}\r\n\r\n{framed}{SMUGGLED}"


def length(header):
    return f"{POST}{header}\r\n\r\n{BODY}{SMUGGLED}"


N = len(BODY)
REFUSED = {
    "length and chunked": chunked(f"Content-Length: {N}\r\nTransfer-Encoding: chunked"),
    "chunked and length": chunked(f"Transfer-Encoding: chunked\r\nContent-Length: {N}"),
    "two lengths that differ": length(f"Content-Length: {N}\r\nContent-Length: 0"),
    "two lengths that agree": length(f"Content-Length: {N}\r\nContent-Length: {N}"),
    "a list of lengths": length(f"Content-Length: {N}, {N}"),
    "a length with a plus": length(f"Content-Length: +{N}"),
    "a length with a minus": length(f"Content-Length: -{N}"),
    "a length with a space in it": length("Content-Length: 4 8"),
    "a hexadecimal length": length(f"Content-Length: {N:#x}"),
    "a length in other digits": length("Content-Length: \u00b2"),
    "a length with an underscore": length("Content-Length: 4_8"),
    "an empty length": length("Content-Length:"),
    "an endless length": length(f"Content-Length: {'9' * 5000}"),
    "chunked, identity": chunked("Transfer-Encoding: chunked, identity"),
    "chunked twice": chunked("Transfer-Encoding: chunked, chunked"),
    "chunked in two headers": chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "chunked and something unknown": chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
    "xchunked": chunked("Transfer-Encoding: xchunked"),
    "quoted": chunked('Transfer-Encoding: "chunked"'),
    "identity": length(f"Transfer-Encoding: identity\r\nContent-Length: {N}"),
    "gzip alone": chunked("Transfer-Encoding: gzip"),
    "an empty coding": chunked("Transfer-Encoding:"),
    "a space before the colon": chunked("Transfer-Encoding : chunked"),
    "a tab before the colon": chunked("Transfer-Encoding\t: chunked"),
    "a space before the name": chunked(" Transfer-Encoding: chunked"),
    "a vertical tab": chunked("Transfer-Encoding: \x0bchunked"),
    "a NUL": chunked("Transfer-Encoding: chunked\x00"),
    "a bare CR": chunked("X: a\rTransfer-Encoding: chunked"),
    "a bare LF": chunked("X: a\nTransfer-Encoding: chunked"),
    "obsolete folding": chunked("Transfer-Encoding:\r\n chunked"),
    "folding of another header": chunked("X: a\r\n b\r\nTransfer-Encoding: chunked"),
    "chunked of HTTP/1.0": chunked("Transfer-Encoding: chunked").replace("HTTP/1.1", "HTTP/1.0", 1),
    "only bare LFs": chunked("Transfer-Encoding: chunked").replace("\r\n", "\n"),
    "a name with a bracket": chunked("Transfer-Encoding(): chunked"),
    "no name": chunked(": x"),
    "no colon": chunked("Transfer-Encoding chunked"),
    "two hosts": chunked("Host: other.test\r\nTransfer-Encoding: chunked"),
    "two content types": length(f"Content-Length: {N}\r\nContent-Type: text/plain"),
    "a chunk size with a sign": chunked("Transfer-Encoding: chunked", f"+{N:x}\r\n{BODY}\r\n0\r\n\r\n"),
    "a chunk size with 0x": chunked("Transfer-Encoding: chunked", f"0x{N:x}\r\n{BODY}\r\n0\r\n\r\n"),
    "a chunk size with an underscore": chunked("Transfer-Encoding: chunked", f"0_{N:x}\r\n{BODY}\r\n0\r\n\r\n"),
    "a chunk size after a space": chunked("Transfer-Encoding: chunked", f" {N:x}\r\n{BODY}\r\n0\r\n\r\n"),
    "no chunk size": chunked("Transfer-Encoding: chunked", f"\r\n{BODY}\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunked("Transfer-Encoding: chunked", f"3\r\n{BODY}\r\n0\r\n\r\n"),
    "a chunk that ends with LF": chunked("Transfer-Encoding: chunked", f"{N:x}\r\n{BODY}\n0\r\n\r\n"),
    "a chunk size line that ends with LF": chunked("Transfer-Encoding: chunked", f"{N:x}\n{BODY}\r\n0\r\n\r\n"),
    "a broken chunk extension": chunked("Transfer-Encoding: chunked", f"{N:x};a\x00=b\r\n{BODY}\r\n0\r\n\r\n"),
    "an endless chunk extension": chunked("Transfer-Encoding: chunked", f"{N:x};{'a' * 100_000}"),
    "a length among the trailers": chunked(
        "Transfer-Encoding: chunked", f"{N:x}\r\n{BODY}\r\n0\r\nContent-Length: 3\r\n\r\n"
    ),
    "lower-case method": f"get / HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "two spaces": f"GET  / HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "no version": f"GET /\r\n{HOST}\r\n{SMUGGLED}",
    "HTTP/0.9": f"GET / HTTP/0.9\r\n{HOST}\r\n{SMUGGLED}",
    "HTTP/2.0": f"GET / HTTP/2.0\r\n{HOST}\r\n{SMUGGLED}",
    "HTTP/1.1 and more": f"GET / HTTP/1.1 x\r\n{HOST}\r\n{SMUGGLED}",
    "the preface of HTTP/2": f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{SMUGGLED}",
    "a NUL in the path": f"GET /\x00 HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "a byte that is no ASCII in the path": f"GET /\u00e9 HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "an authority as target": f"GET agora.test:80 HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "a star as target": f"GET * HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "a very long target": f"GET /{'a' * 10_000} HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}",
    "a hundred headers more": f"GET / HTTP/1.1\r\n{HOST}" + "X: y\r\n" * 120 + "\r\n",
    "a very long header": f"GET / HTTP/1.1\r\n{HOST}X: {'a' * 10_000}\r\n\r\n{SMUGGLED}",
    "headers without end": f"GET / HTTP/1.1\r\n{HOST}" + f"X: {'a' * 8000}\r\n" * 120,
    "an expectation that nobody knows": f"GET / HTTP/1.1\r\n{HOST}Expect: a pony\r\n\r\n{SMUGGLED}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(web, name):
    answers = web.answers(REFUSED[name].encode("latin-1"))
    assert [one.status for one in answers] == [400], (name, [one.body for one in answers])
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert answers[0].headers["connection"] == "close"
    assert answers[0].json["code"] == "bad-request"
    assert answers[0].headers["x-request-id"] == answers[0].json["request_id"]


ONE = f"GET /errors/not-found HTTP/1.1\r\n{HOST}"
AS_ONE = {
    "a chunk extension": (chunked("Transfer-Encoding: chunked", f'{N:x};a=b;c="d"\r\n{BODY}\r\n0\r\n\r\n'), [401, 404]),
    "leading zeros": (chunked("Transfer-Encoding: chunked", f"000{N:X}\r\n{BODY}\r\n000\r\n\r\n"), [401, 404]),
    "trailers": (chunked("Transfer-Encoding: chunked", f"{N:x}\r\n{BODY}\r\n0\r\nX-Agora: 1\r\n\r\n"), [401, 404]),
    "upper-case coding": (chunked("Transfer-Encoding: CHUNKED"), [401, 404]),
    "a body of GET": (f"{ONE}Connection: close\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}", [415]),
    "a length of an underscored header": (f"{ONE}Content_Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}", [200, 404]),
    "a coding of an underscored header": (f"{ONE}Transfer_Encoding: chunked\r\n\r\n{SMUGGLED}", [200, 404]),
    "an absolute target": (f"GET http://other.test/errors/not-found HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}", [200, 404]),
    "one empty line before": (f"\r\n{ONE}\r\n{SMUGGLED}", [200, 404]),
    "CONNECT": (f"CONNECT agora.test:443 HTTP/1.1\r\n{HOST}\r\n{SMUGGLED}", [401]),
    "an upgrade that is not made": (f"{ONE}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n{SMUGGLED}", [200, 404]),
}


@pytest.mark.parametrize("name", AS_ONE)
def test_what_is_allowed_is_read_as_exactly_one_request(web, name):
    """The next request begins just behind it: 404 is the one that was sent after it, as a client may."""
    said, statuses = AS_ONE[name]
    answers = web.answers(said.encode("latin-1"))
    assert [one.status for one in answers] == statuses, [one.body for one in answers]


def test_a_chunk_that_claims_to_be_endless_is_cut_at_the_limit(web, db):
    head = f"{POST}Transfer-Encoding: chunked\r\n\r\n"
    [answer] = web.answers((head + "F" * 40 + "\r\n").encode() + b"x" * 200_000)
    assert (answer.status, answer.json["code"]) == (413, "too-large")


def test_a_body_that_breaks_off_has_no_effect(web, db):
    with web.wire() as wire:
        wire.send(length(f"Content-Length: {N + 1000}").encode())
        wire.socket.shutdown(1)
        answer = wire.answer()
    assert (answer.status, answer.json["code"]) == (400, "bad-request")


@pytest.mark.parametrize("name", ["X_Forwarded_For", "X_Forwarded-For", "Agora_Team", "Authorization_"])
def test_a_header_with_an_underscore_is_none(web, name):
    [answer] = web.answers(f"GET /errors/not-found HTTP/1.1\r\n{HOST}{name}: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.status == 200


def test_no_header_sets_the_path(web):
    """Also from this machine, whose proxies gunicorn would trust with it."""
    said = (
        f"GET /errors/not-found HTTP/1.1\r\n{HOST}SCRIPT_NAME: /errors\r\nPATH_INFO: /docs\r\nConnection: close\r\n\r\n"
    )
    [answer] = web.answers(said.encode())
    assert (answer.status, answer.json["code"]) == (200, "not-found")


def test_faults_of_clients_are_none_of_ours(web, web_log):
    """The log has no traceback of any of these: a client cannot fill it, nor wake anybody."""
    for said in [*REFUSED.values(), *(said for said, _ in AS_ONE.values())]:
        web.answers(said.encode("latin-1"))
    assert "Traceback" not in web_log.read_text()


def test_what_was_sent_is_not_repeated(web):
    [answer] = web.answers(f"GET /<script>\x01 HTTP/1.1\r\n{HOST}\r\n".encode())
    assert b"script" not in answer.body
    assert json.loads(answer.body)["status"] == 400
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_server_has_no_other_door(web, web_log):
    """gunicorn would open a control socket in the user's home, one for all of their servers."""
    assert [path.name for path in web_log.parent.rglob("*") if path.is_socket() or path.name == ".gunicorn"] == []
