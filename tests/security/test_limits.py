"""How large a request may be, how deep, how strange, and how long it may take: on every route."""

import io
import json

import pytest
from sqlalchemy import text

from agora.db import engines
from agora.db.session import transaction
from api import limits
from tests.support.caller import Caller
from tests.support.routes import ROUTES

LIMIT = 2048
JOBS = "/api/v1/jobs"
JSON = "application/json"


class Endless:
    """A body without end, that counts what is read of it."""

    def __init__(self):
        self.given = 0

    def read(self, size=-1):
        assert size >= 0, "somebody would read all of it"
        self.given += size
        return b" " * size

    def tell(self):
        return 0

    seek = close = lambda self, *_: None


@pytest.fixture
def small(app, setting):
    for name in ("AGORA_MAX_BODY_BYTES", "AGORA_MAX_BATCH_BYTES", "AGORA_MAX_FILE_BYTES"):
        setting(name, LIMIT)
    return app


def test_no_route_takes_a_body_that_is_too_long(small):
    caller = Caller(small)
    for route in ROUTES:
        path = route.path() + ("?name=a" if route.endpoint in limits.STREAMED else "")
        answer = getattr(caller, route.method)(path, data=b"x" * (LIMIT + 1), content_type=JSON)
        assert answer.status_code in {413, 405}, (route, answer.status_code)


def test_no_route_reads_on_when_a_body_of_chunks_is_too_long(small):
    """Its length is not told. Each route reads no more than the limit, and says so, or reads nothing."""
    caller = Caller(small)
    for route in ROUTES:
        body = Endless()
        path = route.path() + ("?name=a" if route.endpoint in limits.STREAMED else "")
        mimetype = "application/x-www-form-urlencoded" if route.endpoint.startswith("portal.") else JSON
        answer = getattr(caller, route.method)(
            path, input_stream=body, headers={"Transfer-Encoding": "chunked", "Content-Type": mimetype},
            environ_overrides={"wsgi.input_terminated": True},
        )  # fmt: skip
        assert body.given <= 128 * 1024, route  # what the framework reads at once
        assert body.given == 0 or answer.status_code in {413, 403, 404}, (route, answer.status_code)
        assert answer.status_code < 500 or route.endpoint == "health.ready", route


def test_a_body_of_chunks_as_long_as_it_may_be_is_taken_whole(small):
    body = json.dumps({"url": "http://127.0.0.1:1/hook"}).encode()
    sent = {"headers": {"Transfer-Encoding": "chunked", "Content-Type": JSON}}
    for length, status in ((LIMIT, 201), (LIMIT + 1, 413)):
        answer = Caller(small).post(
            "/api/v1/webhook-endpoints", input_stream=io.BytesIO(body.ljust(length)), **sent,
            environ_overrides={"wsgi.input_terminated": True},
        )  # fmt: skip
        assert answer.status_code == status, length


@pytest.mark.parametrize(("length", "status"), [(LIMIT, 201), (LIMIT + 1, 413)])
def test_a_file_may_have_as_many_bytes_as_the_limit_says(small, length, status):
    answer = Caller(small).post(
        "/api/v1/files?name=a", input_stream=io.BytesIO(b"x" * length), headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )  # fmt: skip
    assert answer.status_code == status


WRITES = [
    route for route in ROUTES if route.method in {"post", "patch", "put"} and not route.endpoint.startswith("portal.")
]
DEEP = 20_000
BODIES = {
    "lists in lists": b"[" * DEEP + b"]" * DEEP,
    "lists without end": b"[" * DEEP,
    "objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a field that nests": b'{"input": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge number": b'{"limit": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"limit": 1e999999999}',
    "a huge exponent below": b'{"limit": 1e-999999999}',
    "not a number": b'{"limit": NaN}',
    "a key a thousand times": b"{" + b",".join(b'"a": 1' for _ in range(10_000)) + b"}",
    "keys with one hash": b"{" + b",".join(b'"%d": 1' % (n * (2**61 - 1)) for n in range(3_000)) + b"}",
    "many keys": b"{" + b",".join(b'"%d": 1' % n for n in range(3_000)) + b"}",
    "the names of the inside": b'{"__proto__": {}, "__class__": {}, "constructor": 1, "$where": "1", "": 0}',
    "NUL": b'{"name": "\\u0000"}',
    "half a pair": b'{"name": "\\ud800"}',
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": json.dumps({"name": "x"}).encode("utf-16"),
    "a mark in front": b"\xef\xbb\xbf{}",
    "nothing": b"",
    "null": b"null",
    "a text": b'"' + b"a" * 500_000 + b'"',
}


@pytest.mark.parametrize("name", BODIES)
def test_no_body_is_a_fault_of_ours_on_any_route(app, name):
    caller = Caller(app)
    for route in WRITES:
        if name == "a text" and route.endpoint == "files.upload":
            continue
        answer = getattr(caller, route.method)(route.path(), data=BODIES[name], content_type=JSON)
        assert answer.status_code < 500, (route, answer.json)


def test_a_statement_that_takes_too_long_is_cut_off_and_told_as_unavailable(db, app, monkeypatch):
    def slow(*_, **__):
        with transaction() as session:
            session.execute(text("SELECT pg_sleep(30)"))

    monkeypatch.setattr("agora.jobs.service.list_jobs", slow)
    monkeypatch.setattr(engines, "_statement_ms", 200)
    engines.dispose_all()
    refused = Caller(app).get(JOBS)
    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    assert refused.headers["Retry-After"]


def test_behind_a_pooler_each_transaction_says_how_long_a_statement_may_run(db, monkeypatch):
    monkeypatch.setattr(engines, "_statement_ms", 4321)
    monkeypatch.setattr(engines.pooled, "check_session", lambda *_, **__: None)
    monkeypatch.setenv("AGORA_DB_POOLER", "transaction")
    engines.get_settings.cache_clear()
    engines.dispose_all()
    with transaction() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "4321ms"
    engines.dispose_all()
    monkeypatch.undo()
    engines.get_settings.cache_clear()


def test_workers_and_commands_have_no_such_bound(db):
    with transaction() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "0"
