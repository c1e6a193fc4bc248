"""The HTTP API on real databases: what is accepted, what is refused and how, and who may see what."""

import random
import string
import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from agora.clock import now
from agora.identity import service as identity
from agora.jobs import service
from agora.jobs.types import Submission
from agora.settings import get_settings
from api import auth, capacity
from api.schemas.accepted import show_accepted
from api.schemas.jobs import SubmittedOut
from tests.support.caller import Caller
from tests.support.probe import submit


def test_a_job_is_accepted_run_and_read(caller, rig):
    accepted = submit(caller, metadata={"order": "1"}, priority=9)
    assert accepted.status_code == 202
    assert accepted.headers["Location"] == f"/api/v1/jobs/{accepted.json['id']}"
    rig.run()
    job = caller.get(accepted.headers["Location"]).json
    assert (job["status"], job["output"], job["progress"]) == ("succeeded", {"n": 8}, 1.0)
    assert job["steps"][0]["tries"][0]["outcome"] == "succeeded"
    assert job["created_at"].endswith("Z")
    listed = caller.get("/api/v1/jobs?status=succeeded").json
    assert [one["id"] for one in listed["items"]] == [job["id"]]
    assert caller.get("/api/v1/jobs?status=failed").json["items"] == []


def test_an_accepted_job_is_shown_as_its_schema_shows_it(caller, rig):
    later = now() + timedelta(hours=1)
    for more in ({}, {"deadline": later, "metadata": {"a": 1}, "priority": 9}, {"run_at": later}):
        submission = Submission(agent="probe", action="double", input={"n": 3}, **more)
        job = service.submit(submission, team_id=caller.team_id).job
        shown, schema = show_accepted(job), SubmittedOut()
        assert shown == schema.dump(job)
        assert list(shown) == [name for name in schema.fields if name in shown]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/agent"),
        ({"agent": "nobody", "action": "x", "input": {}}, "/agent"),
        ({"agent": "probe", "action": "nothing", "input": {}}, "/action"),
        ({"agent": "probe", "action": "double", "input": {}, "version": 7}, "/version"),
        ({"agent": "probe", "action": "double", "input": {"n": "x"}}, "/input/n"),
        ({"agent": "probe", "action": "double", "input": {}, "priority": 10}, "/priority"),
        ({"agent": "probe", "action": "double", "input": {}, "surprise": 1}, "/surprise"),
        ({"agent": "probe", "action": "double", "input": {}, "run_at": "2030-01-01T00:00:00"}, "/run_at"),
        ({"agent": "probe", "action": "double", "input": {}, "metadata": {"x": "y" * 20_000}}, "/metadata"),
        ({"agent": "probe", "action": "double", "input": {}, "webhook": {"url": "ftp://x/"}}, "/webhook"),
    ],
)
def test_bad_submits_name_the_field(caller, rig, body, pointer):
    refused = caller.post("/api/v1/jobs", json=body)
    assert refused.status_code == 422
    assert refused.content_type == "application/problem+json"
    assert refused.json["errors"][0]["pointer"].startswith(pointer)
    assert refused.json["code"] == "invalid"
    assert refused.json["request_id"] == refused.headers["X-Request-Id"]
    assert caller.get("/api/v1/jobs").json["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("get", "/api/v1/nothing", {}, 404, "not-found"),
        ("get", "/api/v1/jobs/job_x", {}, 404, "not-found"),
        ("put", "/api/v1/jobs", {}, 405, "method-not-allowed"),
        ("post", "/api/v1/jobs", {"data": b"{", "content_type": "application/json"}, 400, "bad-request"),
        ("post", "/api/v1/jobs", {"data": b"x" * (1024 * 1024 + 1)}, 413, "too-large"),
        ("get", "/api/v1/jobs?limit=0", {}, 422, "invalid"),
        ("get", "/api/v1/jobs?cursor=zzz", {}, 422, "invalid"),
    ],
)
def test_every_error_is_a_problem(caller, method, path, options, status, code):
    refused = getattr(caller, method)(path, **options)
    assert (refused.status_code, refused.content_type) == (status, "application/problem+json")
    assert refused.json["code"] == code
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= set(refused.json)


def test_deep_json_is_refused_before_it_is_stored(caller, rig):
    deep = value = {}
    for _ in range(40):
        value["x"] = {}
        value = value["x"]
    assert submit(caller, value=deep).json["errors"][0]["rule"] == "max-depth"


def test_a_database_that_is_away_is_a_503_with_retry_after(app, caller, monkeypatch):
    from agora.db import engines  # noqa: PLC0415
    from agora.settings import get_settings  # noqa: PLC0415

    engines.dispose_all()
    monkeypatch.setenv("DATABASE_URL", "postgresql://x:y@127.0.0.1:1/none")
    get_settings.cache_clear()
    try:
        answered = caller.get("/api/v1/jobs")
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
        engines.dispose_all()
    assert (answered.status_code, answered.json["code"]) == (503, "unavailable")
    assert answered.headers["Retry-After"]


def test_an_idempotency_key_makes_one_job(caller, rig):
    headers = {"Idempotency-Key": "order-1"}
    body = {"agent": "probe", "action": "double", "input": {"n": 1}}
    first = caller.post("/api/v1/jobs", json=body, headers=headers)
    again = caller.post("/api/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    other = caller.post("/api/v1/jobs", json=body | {"priority": 1}, headers=headers)
    assert (other.status_code, other.json["code"]) == (422, "idempotency-key-reused")
    rig.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    later = caller.post("/api/v1/jobs", json=body, headers=headers)
    assert later.json["id"] != first.json["id"]


def test_prefer_wait_answers_with_the_ended_job(caller, rig):
    done = threading.Event()

    def work():
        while not done.is_set():
            rig.run()
            done.wait(0.02)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        answered = caller.post(
            "/api/v1/jobs", json={"agent": "probe", "action": "double", "input": {}}, headers={"Prefer": "wait=20"}
        )
    finally:
        done.set()
        worker.join()
    assert (answered.status_code, answered.json["status"]) == (200, "succeeded")


def test_an_answer_that_names_its_question_may_be_sent_again(caller, rig):
    job = submit(caller, action="ask").json
    rig.run()
    path = f"/api/v1/jobs/{job['id']}/input"
    question = caller.get(f"/api/v1/jobs/{job['id']}").json["question"]
    assert (question["prompt"], question["schema"]["type"], question["step"]) == ("How many?", "integer", "ask")
    wrong = caller.post(path, json={"value": 3, "question": "stp_01h455vb4pex5vsknk084sn02q"})
    assert (wrong.status_code, wrong.json["errors"][0]["pointer"]) == (422, "/question")
    answer = {"value": 3, "question": question["id"]}
    assert [caller.post(path, json=answer).status_code for _ in range(3)] == [200] * 3
    other = caller.post(path, json=answer | {"value": 4})
    assert (other.status_code, other.json["code"]) == (409, "already-answered")
    rig.run()
    ended = caller.get(f"/api/v1/jobs/{job['id']}").json
    assert (ended["status"], ended["output"], ended["question"]) == ("succeeded", {"n": 3}, None)
    assert caller.post(path, json=answer).status_code == 200


def test_a_question_is_answered_over_http(caller, rig):
    job = submit(caller, "ask").json
    rig.run()
    path = f"/api/v1/jobs/{job['id']}/input"
    assert caller.post(path, json={"value": "many"}).json["errors"][0]["pointer"] == "/value"
    assert caller.post(path, json={"value": 3}).status_code == 200
    assert caller.post(path, json={"value": 4}).status_code == 409
    rig.run()
    assert caller.get(f"/api/v1/jobs/{job['id']}").json["output"] == {"n": 3}


def test_cancel_once(caller, rig):
    job = submit(caller).json
    assert caller.post(f"/api/v1/jobs/{job['id']}/cancel", json={"reason": "no"}).json["status"] == "cancelled"
    again = caller.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json["code"], again.json["state"]) == (409, "illegal-transition", "cancelled")


def test_events_as_a_list_and_as_a_stream(caller, rig):
    job = submit(caller).json
    rig.run()
    path = f"/api/v1/jobs/{job['id']}/events"
    listed = caller.get(path).json["items"]
    assert [one["seq"] for one in listed] == [1, 2, 3, 4]
    streamed = caller.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": "2"})
    lines = streamed.get_data(as_text=True).splitlines()
    assert [line for line in lines if line.startswith("id:")] == ["id: 3", "id: 4"]
    for wrong in ("x", "-1", "1.5", "٣", "2147483648", "99999999999"):
        refused = caller.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": wrong.encode()})
        assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/headers/Last-Event-ID"), wrong


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_stream_behind_the_end_of_its_job_ends(caller, rig, forgotten):
    """Browsers come again after every end, with the last id; nothing may be held open for what never comes."""
    job = submit(caller).json
    path, headers = f"/api/v1/jobs/{job['id']}/events", {"Accept": "text/event-stream"}
    running = caller.get(path, headers=headers | {"Last-Event-ID": "1"}, buffered=False)
    following = running.iter_encoded()
    assert next(following) == b"retry: 1000\n\n"
    rig.run()
    assert [part.partition(b"\n")[0] for part in following] == [b"id: 2", b"id: 3", b"id: 4"]
    if forgotten:  # by retention: the job is there longer than its events
        rig.sql("DELETE FROM events WHERE job_id = :job", job=job["id"])
    for last in ("0",) if forgotten else ("4", "5", "2147483647"):
        behind = caller.get(path, headers=headers | {"Last-Event-ID": last})
        assert behind.get_data(as_text=True) == "retry: 1000\n\nretry: 86400000\n\n"


def test_a_job_that_is_made_is_answered_as_made_whatever_keeps_the_answer_from_waiting(caller, rig, monkeypatch):
    """A refusal would have its caller make another."""
    key_id, settings = identity.authenticate(caller.key).actor_id, get_settings()
    asked = {"json": {"agent": "probe", "action": "double", "input": {"n": 1}}, "headers": {"Prefer": "wait=1"}}
    answers = []
    for held in ({key_id: settings.max_streams_per_key}, {"others": settings.max_streams}):
        monkeypatch.setattr(capacity, "_held", Counter(held))
        answers.append(caller.post("/api/v1/jobs", **asked))
        assert capacity._held == Counter(held)
    monkeypatch.setattr(capacity, "_held", Counter())
    patient = caller.post("/api/v1/jobs", **asked)
    assert (patient.status_code, patient.headers["Preference-Applied"]) == (202, "wait")

    def away(*_, **__):
        raise OperationalError("SELECT", {}, Exception("the server went away"))

    monkeypatch.setattr("api.v1.jobs.service.get_job", away)
    for answer in (*answers, caller.post("/api/v1/jobs", **asked)):
        assert answer.status_code == 202
        assert answer.json["status"] == "queued"
        assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json['id']}"
        assert "Preference-Applied" not in answer.headers
    assert capacity._held == Counter()


def test_a_path_that_leads_nowhere_takes_an_idempotency_key_of_no_length(caller):
    """Its route is part of a row of an index, which has room for some 2,700 bytes."""
    nowhere = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=3500))
    for path in (f"/api/v1/keys/{nowhere}/rotate", f"/api/v1/jobs/{nowhere}/retry", f"/api/v1/jobs/{nowhere}/fork"):
        answer = caller.post(path, json={}, headers={"Idempotency-Key": "k"})
        assert answer.status_code in {404, 422}, (path[:20], answer.json)


def test_pages_follow_one_another_without_gap_or_repeat(caller, rig):
    made = [submit(caller).json["id"] for _ in range(5)]
    seen, cursor = [], ""
    for _ in range(3):
        page = caller.get(f"/api/v1/jobs?limit=2{cursor}").json
        seen += [one["id"] for one in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    assert page["next_cursor"] is None


def test_other_teams_see_nothing(app, caller, rig):
    job = submit(caller).json
    stored = caller.post("/api/v1/files?name=a.txt", data=b"hello").json
    endpoint = caller.post("/api/v1/webhook-endpoints", json={"url": "http://127.0.0.1:9/hook"}).json
    stranger = Caller(app, "others")
    paths = [
        f"/api/v1/jobs/{job['id']}",
        f"/api/v1/jobs/{job['id']}/events",
        f"/api/v1/files/{stored['id']}",
        f"/api/v1/files/{stored['id']}/content",
        f"/api/v1/webhook-endpoints/{endpoint['id']}",
    ]
    for path in paths:
        assert caller.get(path).status_code == 200, path
        assert stranger.get(path).status_code == 404, path
    assert stranger.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 404
    assert stranger.get("/api/v1/jobs").json["items"] == []


def test_every_route_needs_a_key_and_a_scope(app, caller):
    powerless = Caller(app, scopes=("files:read",))
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            own_door = rule.endpoint.partition(".")[0] in auth.OWN_DOORS  # test_portal_doors.py tries these
            if rule.endpoint in auth.OPEN_ENDPOINTS or rule.endpoint == "static" or own_door:
                continue
            needed = auth.scope_of(rule.endpoint)
            assert needed, f"{rule.endpoint} declares no scope"
            path = rule.rule.replace("<", "").replace(">", "")
            method = next(iter(rule.methods - {"HEAD", "OPTIONS"})).lower()
            assert getattr(app.test_client(), method)(path).status_code == 401, rule
            if needed not in {"files:read", auth.ANY_KEY}:
                assert getattr(powerless, method)(path).status_code == 403, rule


def test_files_are_streamed_in_and_out(caller, monkeypatch):
    stored = caller.post("/api/v1/files?name=../../etc/plan.md", data=b"# Plan")
    assert stored.status_code == 201
    assert (stored.json["name"], stored.json["media_type"], stored.json["size"]) == ("plan.md", "text/markdown", 6)
    content = caller.get(stored.json["links"]["content"])
    assert content.data == b"# Plan"
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert caller.post("/api/v1/files?name=%00", data=b"x").status_code == 422


def test_a_file_that_is_too_large_leaves_nothing_behind(caller, db, monkeypatch):
    from pathlib import Path  # noqa: PLC0415

    from agora.settings import get_settings  # noqa: PLC0415

    monkeypatch.setenv("AGORA_MAX_FILE_BYTES", "2048")
    get_settings.cache_clear()
    try:
        refused = caller.post("/api/v1/files?name=big.bin", data=b"x" * 4096)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert refused.status_code == 413
    assert not list(Path(db["AGORA_DATA_DIR"]).rglob("*.partial"))


def test_docs_and_openapi_are_open_and_local(app):
    client = app.test_client()
    spec = client.get("/api/v1/openapi.json").json
    assert spec["openapi"] == "3.1.0"
    assert "/api/v1/jobs" in spec["paths"]
    page = client.get("/docs").get_data(as_text=True)
    assert "<script" not in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").status_code == 503  # no dispatcher has ticked
    assert "agora_dispatcher_tick_age_seconds" in client.get("/metrics").get_data(as_text=True)


def test_agents_are_listed_with_their_schemas(caller, rig):
    found = caller.get("/api/v1/agents/probe").json["items"]
    assert {one["action"] for one in found} == {"double", "ask"}
    assert found[0]["input_schema"]["type"] == "object"
    assert caller.get("/api/v1/agents/nobody").status_code == 404
