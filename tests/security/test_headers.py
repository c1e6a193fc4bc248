"""What every answer says to browsers, on every route, whoever asks; and which pages of other origins may ask."""

import pytest

from agora.errors import SettingsError
from agora.settings import load_settings
from api import cors, headers
from tests.support.caller import Caller
from tests.support.routes import ROUTES

ORIGIN = "https://app.example"
JOBS = "/api/v1/jobs"
ASKED = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}


def answers(app):
    """An answer of each route, to nobody and to somebody with a key."""
    caller, nobody = Caller(app), app.test_client()
    for route in ROUTES:
        if route.endpoint == "events.stream_events":
            continue  # it does not end; its head is that of test_a_stream_has_them_too
        for who in (nobody, caller):
            with getattr(who, route.method)(route.path()) as answer:
                yield route, answer


def test_every_answer_of_every_route_has_the_headers(app):
    seen = set()
    for route, answer in answers(app):
        where = (route.method, route.rule, answer.status_code)
        for name in headers.ALWAYS:
            assert answer.headers.getlist(name), (where, name)
        assert answer.headers["X-Content-Type-Options"] == "nosniff", where
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'", where
        assert "script-src" not in policy, where
        if "sandbox" not in policy:
            assert policy["frame-ancestors"] == "'none'", where
        if not answer.mimetype.startswith("text/html"):
            assert "style-src" not in policy or route.endpoint.startswith("portal"), where
        assert answer.headers["Cache-Control"], where
        assert answer.headers["X-Request-Id"], where
        assert "Access-Control-Allow-Origin" not in answer.headers, where
        assert answer.status_code < 500 or route.endpoint == "health.ready", where
        seen.add(route)
    assert len(seen) > 100


def test_nobody_is_told_what_the_server_runs_on(web):
    for answer in (web.get(), web.get("/nothing"), *web.answers(b"x\r\n\r\n")):
        assert answer.headers["server"] == "agora"
        assert "x-powered-by" not in answer.headers


@pytest.mark.parametrize(
    ("seconds", "public", "said"),
    [("0", "https://a.example", None), ("600", "https://a.example", "max-age=600"), ("600", "http://a.example", None),
     ("600", "", None)],
)  # fmt: skip
def test_https_is_demanded_only_over_https_and_if_the_operator_says_so(app, setting, seconds, public, said):
    setting("AGORA_HSTS_SECONDS", seconds)
    setting("AGORA_PUBLIC_URL", public)
    assert app.test_client().get("/healthz").headers.get("Strict-Transport-Security") == said


# --- CORS


@pytest.fixture
def opened(app, setting):
    setting("AGORA_CORS_ORIGINS", f"{ORIGIN}, http://localhost:3000")
    return app


def test_without_a_list_nobody_is_told_anything(caller):
    answer = caller.get(JOBS, headers={"Origin": ORIGIN})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    assert "Origin" not in answer.headers.get("Vary", "")
    assert caller.options(JOBS, headers=ASKED).status_code != 204


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
def test_a_page_of_the_list_may_read_answers_and_their_headers(opened, origin):
    answer = Caller(opened).get(JOBS, headers={"Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "Origin" in answer.headers["Vary"]
    assert {"ETag", "Retry-After", "Location", "X-Request-Id"} <= set(
        answer.headers["Access-Control-Expose-Headers"].split(", ")
    )
    assert "Access-Control-Allow-Credentials" not in answer.headers
    refused = opened.test_client().get(JOBS, headers={"Origin": origin})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, origin)


STRANGERS = [
    "null", "*", "", "https://app.example.evil.test", "https://evil.test/https://app.example", "https://xapp.example",
    "https://app.example:443", "https://app.example:8443", "http://app.example", "https://APP.example",
    "https://app.example/", "https://app.example, https://evil.test", "https://sub.app.example", "https://app.exampl",
    "https://app\x2eexample\t", "https://user@app.example", "file://", "https://app.example\u200b",
]  # fmt: skip


@pytest.mark.parametrize("origin", STRANGERS)
def test_no_other_page_may(opened, origin):
    client = opened.test_client()
    sent = (
        {"Origin": origin.encode().decode("latin-1").strip("\t")}
        if "\t" not in origin
        else {"Origin": "https://app.example.x"}
    )
    for answer in (client.get("/errors", headers=sent), client.options(JOBS, headers=ASKED | sent)):
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
        assert "Origin" in answer.headers["Vary"]


def test_a_browser_asks_first_without_credentials(opened):
    answer = opened.test_client().options(JOBS, headers=ASKED | {"Access-Control-Request-Headers": "authorization"})
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert {"Authorization", "Idempotency-Key", "Agora-Team"} <= set(
        answer.headers["Access-Control-Allow-Headers"].split(", ")
    )
    assert set(answer.headers["Vary"].split(", ")) >= {"Origin", "Access-Control-Request-Method"}


@pytest.mark.parametrize(
    ("path", "method"),
    [(JOBS, "DELETE"), ("/api/v1/nothing", "GET"), ("/webhook-portal/", "POST"), ("/docs", "GET"), ("/metrics", "GET"),
     (JOBS, "TRACE"), (JOBS, "post"), (JOBS, "")],
)  # fmt: skip
def test_only_what_there_is_may_be_asked_for(opened, path, method):
    answer = opened.test_client().options(path, headers=ASKED | {"Access-Control-Request-Method": method})
    assert answer.status_code != 204
    assert "Access-Control-Allow-Methods" not in answer.headers


def test_the_preflight_of_every_route_of_the_api_is_answered(opened):
    for route in ROUTES:
        sent = ASKED | {"Access-Control-Request-Method": route.method.upper()}
        answer = opened.test_client().options(route.path(), headers=sent)
        assert (answer.status_code == 204) is route.path().startswith(cors.OPENED), route


def test_the_portal_which_goes_by_a_cookie_is_opened_to_nobody(opened):
    answer = opened.test_client().get("/webhook-portal/", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example", "https://app.example/", "https://app.example/x", "https://*.app.example",
     "https://app.example:443", "http://app.example:80", "https://APP.example", "ftp://app.example", "https://",
     "https://u:p@app.example", "https://app.example?x", "https://app.example:0", "https://app.example https://b"],
)  # fmt: skip
def test_an_origin_that_no_browser_would_send_is_refused_at_the_start(origin):
    with pytest.raises(SettingsError, match="AGORA_CORS_ORIGINS"):
        load_settings({"AGORA_CORS_ORIGINS": origin})


def test_origins_are_taken_as_written():
    wanted = ("https://app.example", "http://localhost:3000", "http://[::1]:8080", "https://xn--bcher-kva.example")
    assert load_settings({"AGORA_CORS_ORIGINS": ", ".join(wanted)}).cors_origins == wanted
