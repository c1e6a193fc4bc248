"""Errors as clients meet them: every entry of the catalogue happens, each wrong field is named, nothing leaks."""

import ast
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from werkzeug.exceptions import RequestTimeout

import agora.documents.errors  # so that their classes are walked too
import agora.egress.policy
import agora.runtime.dump
import agora.runtime.up
import agora.webhooks.signing  # noqa: F401
import domains.loader  # noqa: F401
from agora.errors import AgoraError
from agora.identity import administrators
from agora.identity import service as identity
from agora.identity.roles import SystemRole
from agora.jobs import service
from agora.quotas import tiers
from agora.settings import get_settings
from agora.telemetry import get_logger
from api import capacity
from api.app import create_app
from api.errors import markdown, problems
from api.errors.catalogue import CATALOGUE, NOT_OVER_HTTP
from api.errors.rules import RULES
from api.versions import negotiate
from tests.support import people
from tests.support.caller import Caller

ROOT = Path(__file__).resolve().parents[2]
JOBS = "/api/v1/jobs"
DOUBLE = {"agent": "probe", "action": "double", "input": {"n": 1}}
PROBLEM = "application/problem+json"


def sign_in_as(app, monkeypatch, *, verified=True, second_factor=False):
    person = people.sign_up(verified=verified)
    if second_factor:
        people.set_second_factor(person)
    body = {"email": person.email, "password": person.password}
    return app.test_client().post("/api/v1/auth/sign-in", json=body)


def unread_json(caller, **_):
    return caller.post(JOBS, data=b"{", content_type="application/json")


def no_key(caller, **_):
    return caller.post(JOBS, json=DOUBLE, headers={"Authorization": "Bearer agora_no"})


def no_scope(app, **_):
    return Caller(app, scopes=("jobs:read",)).post(JOBS, json=DOUBLE)


def unknown_id(caller, **_):
    return caller.get(f"{JOBS}/job_01m8n68v92ex4sftxqvbxqdtbs")


def wrong_method(caller, **_):
    return caller.put(JOBS, json=DOUBLE)


def uid_taken(caller, **_):
    body = {"url": "http://127.0.0.1:1/hook", "uid": "mine"}
    caller.post("/api/v1/webhook-endpoints", json=body)
    return caller.post("/api/v1/webhook-endpoints", json=body)


def cancelled_twice(caller, **_):
    job = caller.post(JOBS, json=DOUBLE).json
    caller.post(f"{JOBS}/{job['id']}/cancel", json={})
    return caller.post(f"{JOBS}/{job['id']}/cancel", json={})


def no_room(caller, **_):
    body = DOUBLE | {"concurrency_key": "k", "concurrency_limit": 1, "concurrency_policy": "reject"}
    caller.post(JOBS, json=body)
    return caller.post(JOBS, json=body)


def second_answer(caller, rig, **_):
    path = f"{JOBS}/{caller.post(JOBS, json=DOUBLE | {'action': 'ask'}).json['id']}"
    rig.run()
    answer = {"value": 3, "question": caller.get(path).json["question"]["id"]}
    caller.post(f"{path}/input", json=answer)
    return caller.post(f"{path}/input", json=answer | {"value": 4})


def slow_body(caller, **_):
    def stop(*_):
        raise RequestTimeout("the body does not go on")  # as api/connections.py does

    body = {"wsgi.input": SimpleNamespace(read=stop), "CONTENT_LENGTH": "10"}
    return caller.post(JOBS, environ_overrides=body, content_type="application/json")


def long_body(caller, **_):
    return caller.post(JOBS, data=b"x" * (1024 * 1024 + 1))


def no_json(caller, **_):
    return caller.post(JOBS, data=b"agent=probe", content_type="application/x-www-form-urlencoded")


def wrong_field(caller, **_):
    return caller.post(JOBS, json=DOUBLE | {"priority": 12})


def another_body(caller, **_):
    headers = {"Idempotency-Key": "k"}
    caller.post(JOBS, json=DOUBLE, headers=headers)
    return caller.post(JOBS, json=DOUBLE | {"priority": 1}, headers=headers)


def too_many_streams(caller, monkeypatch, **_):
    key_id = identity.authenticate(caller.key).actor_id
    monkeypatch.setattr(capacity, "_held", Counter({key_id: get_settings().max_streams_per_key}))
    return stream_of_a_job(caller)


def stream_of_a_job(caller):
    made = caller.post(JOBS, json=DOUBLE).json
    return caller.get(f"{JOBS}/{made['id']}/events", headers={"Accept": "text/event-stream"})


def fault_of_ours(caller, monkeypatch, **_):
    def broken(*_, **__):
        raise RuntimeError("a secret of the inside: postgresql://agora:pass@db")

    monkeypatch.setattr(service, "list_jobs", broken)
    return caller.get(JOBS)


def full_process(caller, monkeypatch, **_):
    monkeypatch.setattr(capacity, "_held", Counter({"others": get_settings().max_streams}))
    return stream_of_a_job(caller)


def no_code(app, monkeypatch, **_):
    return sign_in_as(app, monkeypatch, second_factor=True)


def no_confirmed_address(app, monkeypatch, **_):
    return sign_in_as(app, monkeypatch, verified=False)


def retired_version(caller, monkeypatch, setting, **_):
    setting("AGORA_SUNSET", "refuse")
    monkeypatch.setattr(negotiate, "now", lambda: datetime(2100, 1, 1, tzinfo=UTC))
    return caller.get(JOBS, headers={"Agora-Version": "2026-11-23"})


def no_second_factor(app, **_):
    person = people.sign_up()
    administrators.grant(person.email, SystemRole.SUPER, by=None)
    return people.Browser(app, person).post("/api/v1/queues/cpu/pause", json={})


def too_many_requests(caller, **_):
    tiers.move_team("t", None, {"requests_per_minute": 1})
    caller.get(JOBS)
    return caller.get(JOBS)


def too_many_jobs(caller, **_):
    tiers.move_team("t", None, {"jobs_per_day": 1})
    caller.post(JOBS, json=DOUBLE)
    return caller.post(JOBS, json=DOUBLE)


def no_storage(caller, **_):
    tiers.move_team("t", None, {"storage_bytes": 1})
    return caller.post("/api/v1/files?name=a.txt", data=b"two")


def stale_tag(caller, **_):
    path = f"/api/v1/webhook-endpoints/{caller.post('/api/v1/webhook-endpoints', json={'url': 'http://127.0.0.1:9/h'}).json['id']}"
    tag = caller.get(path).headers["ETag"]
    caller.patch(path, json={"description": "first"}, headers={"If-Match": tag})
    return caller.patch(path, json={"description": "second"}, headers={"If-Match": tag})


HAPPENS = {
    "version-retired": retired_version,
    "second-factor-required": no_second_factor,
    "rate-limited": too_many_requests, "daily-quota-exceeded": too_many_jobs, "quota-exceeded": no_storage,
    "precondition-failed": stale_tag,
    "second-factor-needed": no_code, "email-unverified": no_confirmed_address,
    "bad-request": unread_json, "unauthenticated": no_key, "forbidden": no_scope, "not-found": unknown_id,
    "method-not-allowed": wrong_method, "conflict": uid_taken, "illegal-transition": cancelled_twice,
    "concurrency-limit": no_room, "already-answered": second_answer, "too-large": long_body,
    "request-timeout": slow_body,
    "unsupported-media-type": no_json, "invalid": wrong_field, "idempotency-key-reused": another_body,
    "too-many-requests": too_many_streams, "internal-error": fault_of_ours, "unavailable": full_process,
}  # fmt: skip


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_entry_of_the_catalogue_happens(app, caller, rig, monkeypatch, setting, code):
    refused = HAPPENS[code](app=app, caller=caller, rig=rig, monkeypatch=monkeypatch, setting=setting)
    entry, told = CATALOGUE[code], refused.json
    assert (refused.status_code, refused.content_type) == (entry.status, PROBLEM), told
    assert (told["code"], told["status"], told["title"]) == (code, entry.status, entry.title)
    assert told["request_id"] == refused.headers["X-Request-Id"]
    assert told["instance"].startswith("/api/v1/")
    assert told["detail"]
    assert ("Retry-After" in refused.headers) == (entry.status in {429, 503})
    shown = app.test_client().get(told["type"])
    assert (shown.status_code, shown.json["code"]) == (200, code)
    for inside in ("secret of the inside", "postgresql://", "Traceback", ".py"):
        assert inside not in refused.text


def test_every_error_of_the_domain_is_in_the_catalogue_or_never_reaches_http():
    def walk(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from walk(child)

    slugs = {kind.slug for kind in walk(AgoraError) if kind.__module__.startswith(("agora", "domains"))}
    assert slugs - CATALOGUE.keys() == NOT_OVER_HTTP
    assert not NOT_OVER_HTTP & CATALOGUE.keys()


def test_an_error_that_is_in_no_catalogue_is_a_fault_of_ours_and_told_as_such(app, caller, rig, monkeypatch):
    class Surprise(AgoraError):
        """Nobody listed this."""

        slug = "surprise"

    def broken(*_, **__):
        raise Surprise("inner words")

    monkeypatch.setattr(service, "list_jobs", broken)
    refused = caller.get(JOBS)
    assert (refused.status_code, refused.json["code"]) == (500, "internal-error")
    assert "inner words" not in refused.text


def test_a_status_that_no_entry_has_becomes_a_bad_request(db):
    from werkzeug.exceptions import ImATeapot  # noqa: PLC0415

    def view():
        raise ImATeapot

    view.__agora_scope__ = "any"
    app = create_app()
    app.add_url_rule("/tea", view_func=view)
    refused = Caller(app).get("/tea")
    assert (refused.status_code, refused.json["code"]) == (400, "bad-request")


# --- fields


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"action": "double", "input": {}}, {("/agent", "required", None, "-")}),
        (DOUBLE | {"agent": 7}, {("/agent", "type", "integer", 7)}),
        (DOUBLE | {"agent": None}, {("/agent", "not-null", "null", None)}),
        (DOUBLE | {"agent": ""}, {("/agent", "length", "string", "")}),
        (DOUBLE | {"agent": "x" * 300}, {("/agent", "length", "string", "-")}),
        (DOUBLE | {"priority": 12}, {("/priority", "range", "integer", 12)}),
        (DOUBLE | {"priority": "high"}, {("/priority", "type", "string", "high")}),
        (DOUBLE | {"surprise": [1]}, {("/surprise", "unknown-field", "array", "-")}),
        (DOUBLE | {"a/b~c": 1}, {("/a~1b~0c", "unknown-field", "integer", "-")}),
        (DOUBLE | {"run_at": "soon"}, {("/run_at", "date-time", "string", "soon")}),
        (DOUBLE | {"concurrency_key": "k", "concurrency_policy": "maybe"},
         {("/concurrency_policy", "enum", "string", "maybe")}),
        (DOUBLE | {"webhook": {"url": "http://127.0.0.1/", "events": [1]}},
         {("/webhook/events/0", "type", "integer", 1)}),
        (DOUBLE | {"webhook": {"secret": 5}},
         {("/webhook/url", "required", None, "-"), ("/webhook/secret", "type", "integer", "-")}),
        (DOUBLE | {"input": {"n": "x"}}, {("/input/n", "type", "string", "x")}),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_rule_and_the_class_of_its_value(caller, rig, body, errors):
    """Also its value, where it is short and no secret."""
    refused = caller.post(JOBS, json=body)
    assert refused.status_code == 422
    told = {
        (one["pointer"], one["rule"], one.get("value_class"), str(one.get("value", "-")))
        for one in refused.json["errors"]
    }
    assert told == {(pointer, rule, kind, str(value)) for pointer, rule, kind, value in errors}
    assert caller.get(JOBS).json["items"] == []


def test_all_fields_that_are_wrong_are_named_at_once(caller, rig):
    refused = caller.post(JOBS, json={"agent": 1, "input": {}, "priority": 99, "x": None, "run_at": 5})
    assert {one["pointer"] for one in refused.json["errors"]} == {"/agent", "/action", "/priority", "/x", "/run_at"}


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null"])
def test_a_body_that_is_no_object_is_named_as_a_whole(caller, rig, body):
    refused = caller.post(JOBS, data=body, content_type="application/json")
    assert refused.status_code == 422
    assert [one["pointer"] for one in refused.json["errors"]] == ["/"]


@pytest.mark.parametrize(
    ("query", "pointer", "rule"),
    [("limit=0", "/limit", "range"), ("limit=ten", "/limit", "type"), ("cursor=zzz", "/cursor", "cursor"),
     ("sttus=queued", "/sttus", "unknown-field"), ("created_after=now", "/created_after", "date-time")],
)  # fmt: skip
def test_a_wrong_parameter_is_named(caller, query, pointer, rule):
    refused = caller.get(f"{JOBS}?{query}")
    assert [(one["pointer"], one["rule"]) for one in refused.json["errors"]] == [(pointer, rule)]


def test_a_secret_that_is_wrong_is_not_repeated(caller):
    body = {"url": "http://127.0.0.1:1/", "secret": "whsec_short", "headers": {"Authorization": "Bearer t0p\n"}}
    refused = caller.post("/api/v1/webhook-endpoints", json=body)
    assert refused.status_code == 422
    assert "whsec_short" not in refused.text
    assert "t0p" not in refused.text


@pytest.mark.parametrize(
    "body", [{"pasword": "hunter2"}, {"otp": "hunter2"}, ["hunter2"], {"webhook": {"url": {"password": "hunter2"}}},
             {"priority": {"credentials": {"x": "hunter2"}}}, "hunter2"],
)  # fmt: skip
def test_what_may_be_a_secret_is_not_repeated(caller, rig, body):
    given = DOUBLE | body if isinstance(body, dict) else body
    refused = caller.post(JOBS, json=given)
    assert refused.status_code == 422
    assert "hunter2" not in refused.text


def test_a_time_at_the_end_of_time_is_no_fault_of_ours(caller):
    late = {"name": "k", "scopes": ["jobs:read"], "expires_at": "9999-12-31T23:59:59-23:00"}
    refused = caller.post("/api/v1/keys", json=late)
    assert (refused.status_code, refused.json["errors"][0]["rule"]) == (422, "date-time")
    assert caller.get("/api/v1/keys").status_code == 200


def test_every_rule_that_the_code_names_is_explained():
    named = set()
    for path in [*(ROOT / "platform/agora").rglob("*.py"), *(ROOT / "api").rglob("*.py")]:
        if {"cli", "scaffold"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "invalid_field" in ast.unparse(node.func) and len(node.args) > 1:
                named |= {node.args[1].value} if isinstance(node.args[1], ast.Constant) else set()
    assert named
    assert named <= RULES.keys()


# --- request ids, pages


def test_every_line_of_the_log_names_the_request(caller, rig, monkeypatch):
    monkeypatch.setattr(service, "list_jobs", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(problems, "log", get_logger("anew"))  # else it may write where an earlier app told it to
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        caller.get(JOBS, headers={"X-Request-Id": "mine-1"})
        made = caller.get(JOBS).headers["X-Request-Id"]
    assert [line["request_id"] for line in lines if line["event"] == "request failed"] == ["mine-1", made]
    assert made.startswith("req_")


def test_an_id_that_could_forge_a_line_of_the_log_is_not_taken(caller):
    for bad in ("a b", "x" * 101, "a\tb", "é"):
        assert caller.get(JOBS, headers={"X-Request-Id": bad}).headers["X-Request-Id"].startswith("req_")


def test_the_catalogue_is_open_to_programs_and_to_people(app):
    client = app.test_client()
    assert [one["code"] for one in client.get("/errors").json["items"]] == list(CATALOGUE)
    page = client.get("/errors/not-found", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.content_type.startswith("text/html")
    assert "What to do." in page.text
    assert "script" not in page.headers["Content-Security-Policy"]
    assert client.get("/errors/nothing").json["code"] == "not-found"
    assert client.get("/errors/not-found").headers["Vary"] == "Accept"


def test_docs_are_those_of_the_catalogue():
    assert (ROOT / "docs/errors.md").read_text() == markdown.markdown()
