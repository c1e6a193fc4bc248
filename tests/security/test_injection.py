"""Texts that mean something to SQL, to HTTP headers or to a file system, put wherever a client can put one.

Nothing is a fault of ours, nothing of another team is found, nothing sleeps: a statement that did would be cut off and
told as 503. That SQL has parameters only is also a rule of style (ruff S608, tests/architecture).
"""

import io
from urllib.parse import quote

import pytest

from agora.db import engines
from agora.files import service as files
from agora.settings import get_settings
from api.app import create_app
from domains.loader import DomainError, load_domain
from tests.support.caller import Caller
from tests.support.estate import BODIES, NO_BODY, QUERIES, Estate, contents
from tests.support.probe import probe
from tests.support.rig import Rig
from tests.support.routes import ROUTES

SQL = (
    "' OR '1'='1", "1; SELECT pg_sleep(9)--", "'||(SELECT pg_sleep(9))||'", "') OR 1=1--", '" OR ""="',
    "\\'; DROP TABLE jobs;--",
    "1 UNION SELECT 1,2,3", "%", "_%", "{}", "$1", ":x", "%(x)s", "%s", "'{\"a\":1}'::jsonb", "\\x00", "\u02bc OR 1=1",
)  # fmt: skip
FEW = ("'; SELECT pg_sleep(9)--", "%(x)s :x $1 \\", "' OR 1=1 --")
SPEC = create_app().extensions["agora-api"].spec.to_dict()
API = [route for route in ROUTES if route.rule.startswith("/api/v1/")]


@pytest.fixture
def estate(app, db, monkeypatch):
    """What the attacker is after; and statements that may run for a second."""
    monkeypatch.setattr(engines, "_statement_ms", 1000)
    engines.dispose_all()
    made = Estate(app, Rig(monkeypatch, probe))
    yield made
    engines.dispose_all()


@pytest.fixture
def attacker(app, estate):
    return Caller(app, team="attacker")


def is_harmless(answer, estate):
    loot = {*estate.ids.values(), *estate.refs.values(), *estate.keys.values(), estate.team_id}
    asked = answer.request.path + answer.request.query_string.decode()
    return answer.status_code < 500 and not [one for one in loot if one in answer.text and one not in asked]


def operation_of(route):
    item = SPEC["paths"].get(route.rule.replace("<", "{").replace(">", "}"), {})
    return item.get("parameters", []) + item.get(route.method, {}).get("parameters", []), item.get(route.method, {})


def strings_in(schema):
    """Names of the fields of a body that may be texts."""
    while "$ref" in schema:
        schema = SPEC["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    kinds = {name: one.get("type", "string") for name, one in schema.get("properties", {}).items()}
    return [name for name, kind in kinds.items() if "string" in kind or kind == "array"]


def test_no_parameter_of_any_read_reaches_sql(attacker, estate):
    tried = 0
    for route in API:
        if route.method != "get":
            continue
        names = [one["name"] for one in operation_of(route)[0] if one.get("in") == "query"]
        for name in names:
            for payload in SQL:
                answer = attacker.get(route.path(), query_string={name: payload})
                assert is_harmless(answer, estate), (route, name, payload, answer.status_code)
                tried += 1
    assert tried > 500


def test_no_id_in_a_path_reaches_sql(attacker, estate):
    for route in API:
        for name in route.arguments:
            for payload in FEW:
                path = route.path(**{name: quote(payload, safe="")}) + QUERIES.get(route.endpoint, "")
                body = (
                    {}
                    if route.method in {"get", "delete"} or route.endpoint in NO_BODY
                    else {"json": BODIES[route.endpoint]}
                )
                answer = getattr(attacker, route.method)(path, **body)
                assert is_harmless(answer, estate), (route, payload, answer.status_code)


def test_no_field_of_any_body_reaches_sql(attacker, estate, db):
    theirs = contents(db)
    tried = 0
    for route in API:
        if route.endpoint not in BODIES or route.endpoint == "keys.rotate_key":
            continue
        schema = operation_of(route)[1]["requestBody"]["content"]["application/json"]["schema"]
        for name in strings_in(schema):
            for payload in FEW:
                for value in (payload, [payload], {payload: payload}):
                    answer = getattr(attacker, route.method)(route.path(), json=BODIES[route.endpoint] | {name: value})
                    assert is_harmless(answer, estate), (route, name, value, answer.json)
                    tried += 1
    assert tried > 300
    now = contents(db)
    lost = {name: [row for row in rows - now[name] if estate.team_id in row] for name, rows in theirs.items()}
    assert {name: rows for name, rows in lost.items() if rows} == {}


# --- headers

SPLIT = ("a\r\nSet-Cookie: x=1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\x00b", "a\x0b", "\u560d\u560aX-Evil: 1", "a\u2028b")


@pytest.mark.parametrize("header", ["X-Request-Id", "Idempotency-Key", "Origin", "Prefer", "traceparent", "Accept"])
def test_what_is_said_again_cannot_begin_another_header(web, header):
    """Over the wire: the server refuses what holds a control character, and answers one request with one answer."""
    for text in SPLIT:
        said = (
            f"GET /errors/not-found HTTP/1.1\r\nHost: a\r\n{header}: ".encode()
            + text.encode()
            + b"\r\nConnection: close\r\n\r\n"
        )
        answers = web.answers(said)
        assert len(answers) == 1, text
        assert not {"x-evil", "set-cookie"} & answers[0].headers.keys(), text


NAMES = (
    "../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "C:\\x\\y.txt", "....//x", "%2e%2e%2fx", "..%c0%af..",
    "..", ".", "...", "~root",
    "a\u202etxt.exe", "\uff0e\uff0e\uff0fx", "con", "a;b", 'a"b', "a'b", "a`id`$(id)", "-rf",
    "a%0d%0aX-Evil: 1", "\U0001f600.txt", "a" * 255,
)  # fmt: skip


def test_a_name_of_a_file_is_a_name_and_no_path(app, db):
    """Content lies under ids; a name that has directories loses them, and is told so that no header ends in it."""
    caller, root = Caller(app), get_settings().data_dir
    before = {path for path in root.parent.rglob("*") if path.is_file()}
    for name in NAMES:
        made = caller.post("/api/v1/files", query_string={"name": name}, input_stream=io.BytesIO(b"x"))
        if made.status_code == 422:
            continue
        shown = made.json["name"]
        assert not {"/", "\\"} & set(shown), name
        answer = caller.get(f"/api/v1/files/{made.json['id']}/content")
        told = answer.headers["Content-Disposition"]
        assert told == f"attachment; filename*=UTF-8''{quote(shown)}"
        assert not {"\r", "\n", '"', ";"} & set(told.partition("''")[2]), name
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    written = {path for path in root.parent.rglob("*") if path.is_file()} - before
    assert written
    assert all(path.is_relative_to(root / "files" / "files" / caller.team_id) for path in written)


@pytest.mark.parametrize(
    "name", ["", " ", "/", "a\x00b", "a\nb", "a\r\nX-Evil: 1", "a\x1b[2J", "a" * 256, "a\u2028b", "\ufeff"]
)
def test_a_name_that_is_none_is_refused(app, db, name):
    answer = Caller(app).post("/api/v1/files", query_string={"name": name}, input_stream=io.BytesIO(b"x"))
    assert answer.status_code == 422


TRAVERSALS = (
    "../", "..%2f", "%2e%2e%2f", "%2e%2e/", "..%5c", "%252e%252e%252f", "..;/", "%c0%ae%c0%ae/", "....//", "/%2f",
    "%00/",
)  # fmt: skip


@pytest.mark.parametrize("root", ["/webhook-portal/static/", "/errors/", "/api/v1/files/", "/.well-known/", "/"])
def test_no_path_leaves_its_folder(web, root):
    for step in TRAVERSALS:
        for target in ("etc/passwd", "api/app.py", "pyproject.toml"):
            said = f"GET {root}{step * 8}{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            [answer] = web.answers(said.encode())
            assert answer.status in {301, 308, 400, 401, 403, 404}, (root, step, answer.status)
            assert b"root:" not in answer.body
            assert b"create_app" not in answer.body


def test_a_location_outside_of_the_store_is_not_read(db):
    """Locations come from our own rows; still, an id is checked before it is looked for."""
    for name in ("../../etc/passwd", "fil_../../../etc/passwd", "fil_" + "0" * 26 + "/../x", "\x00"):
        with pytest.raises(files.NotFound):
            files.open_file(name, team_id="team_x")


@pytest.mark.parametrize("name", ["../base", "base/../base", "/etc", ".", "..", "", "base/", "a\x00b", "..\\base", "~"])
def test_a_domain_is_named_and_not_addressed(name):
    with pytest.raises(DomainError):
        load_domain(name)
