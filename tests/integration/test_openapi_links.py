"""The OpenAPI document, held against the app with what there is: generated ids are of nothing.

Each link is followed once: what an answer says of itself is what the next request takes.
"""

import json
from itertools import count

import pytest
import schemathesis

from agora.identity import service as identity
from api.app import create_app
from api.openapi_document import operation_id
from api.openapi_headers import ALWAYS, DEPRECATING, TAKEN
from api.openapi_links import LINKS
from api.schemas.jobs import EventOut
from tests.support import people
from tests.support.estate import BODIES, NO_BODY, QUERIES, SPEAKS, Estate
from tests.support.routes import ROUTES

schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", create_app())
BY_OPERATION = {operation_id(route.endpoint): route for route in ROUTES}
BY_ENDPOINT = {route.endpoint: route for route in ROUTES}
NUMBERS = count(1)
FRESH = {
    "schedules.create_schedule": lambda: {"name": f"s{next(NUMBERS)}"},
    "projects.share": lambda: {"team_id": identity.ensure_team(f"partners {next(NUMBERS)}")},
    "system.grant": lambda: {"email": people.set_second_factor(people.sign_up()).email},
}
"""Fields that make another object each time."""
TOO_EARLY = {"jobs.give_input", "budgets.approve_job", "lineage.retry_job"}
"""For a job that was just made: it asks for nothing and has not ended."""


@pytest.fixture
def estate(app, rig):
    return Estate(app, rig)


@pytest.fixture
def boss(app):
    return people.administrator(app)


def described(route):
    """An operation of the document."""
    return schema[route.rule.replace("<", "{").replace(">", "}")][route.method.upper()]


def body_of(route):
    """What would be taken, as options of a test client."""
    endpoint = route.endpoint
    if endpoint == "files.upload":
        return {"data": b"text", "query_string": {"name": "a.txt"}}
    if endpoint in BODIES:
        return {"json": BODIES[endpoint] | FRESH.get(endpoint, dict)()}
    assert route.method in {"get", "delete"} or endpoint in NO_BODY
    return {}


def send(who, route, path, *, body=None, **headers):
    """Send what would be taken; the answer, which is one that the document describes."""
    body = body_of(route) if body is None else body
    answer = getattr(who, route.method)(path, headers=SPEAKS | headers, **body)
    described(route).validate_response(answer)
    assert not answer.data or {answer.mimetype, "*/*"} & media_of(route, answer).keys()
    return answer


def media_of(route, answer):
    """The media that the document has of an answer's status."""
    return described(route).definition.raw["responses"][str(answer.status_code)].get("content", {})


def path_of(estate, route):
    """Where a maker is called; what it would use up is made anew."""
    if route.endpoint == "keys.rotate_key":
        estate.keys["keys"] = estate.made("keys", BODIES["keys.create_key"])["id"]
    if route.endpoint == "lineage.retry_job":
        estate.ids["job_id"] = estate.made("jobs", BODIES["jobs.submit"])["id"]
        estate.made(f"jobs/{estate.ids['job_id']}/cancel", {})
    if route.endpoint == "projects.put_share":
        estate.ids["with_team_id"] = identity.ensure_team(f"partners {next(NUMBERS)}")
    return estate.path_of(route)


def value_of(expression, route, path, answer):
    """What a runtime expression of OpenAPI stands for, after this answer of a route."""
    source, _, name = expression.rpartition("." if expression.startswith("$request.") else "/")
    if source == "$response.body#":
        return answer.json[name]
    assert source == "$request.path"
    return path.split("/")[route.rule.split("/").index(f"<{name}>")]


@pytest.mark.parametrize("maker", LINKS)
def test_each_link_leads_to_what_was_made(estate, boss, maker):
    """A new object for each link, so that none finds it deleted."""
    route = BY_ENDPOINT[maker]
    who = boss if maker.startswith("system.") else estate.owner
    for operation in [operation_id(name) for name in LINKS[maker]]:
        path = path_of(estate, route)
        made = send(who, route, path)
        assert made.status_code in {201, 202}, made.json
        link = described(route).definition.raw["responses"][str(made.status_code)]["links"][operation]
        target = BY_OPERATION[link["operationId"]]
        values = {name: value_of(one, route, path, made) for name, one in link["parameters"].items()}
        assert values.keys() == set(target.arguments)
        answer = send(who, target, target.path(**values) + QUERIES.get(target.endpoint, ""))
        early = target.endpoint in TOO_EARLY
        assert answer.status_code == 409 if early else answer.status_code < 300, (operation, answer.json)


READS = [route for route in ROUTES if route.method == "get" and route.rule.startswith("/api/v1/") and not route.is_open]
NAMED = {
    "agents.get_agent": "probe", "event-types.get_event_type": "job.succeeded", "limits.get_limit": "agent:probe",
    "limits.put_limit": "agent:probe",
}  # fmt: skip
"""What is found by a name."""


def where(estate, route):
    """Where what there is is read, or changed."""
    named = NAMED.get(route.endpoint)
    return path_of(estate, route) if named is None else route.path(**dict.fromkeys(route.arguments, named))


def test_each_read_of_what_there_is_answers_as_described(estate, boss):
    estate.ids |= {"team_id": estate.team_id, "account_id": estate.user_id()}
    for route in READS:
        who = boss if route.rule.startswith("/api/v1/system/") else estate.owner
        path = where(estate, route)
        answer = send(who, route, path)
        assert answer.status_code == 200, (path, answer.json)


def test_a_live_stream_is_described(estate):
    """Its schema is that of the whole text; schemathesis would take it for that of one event."""
    route = BY_ENDPOINT["events.list_events"]
    answer = estate.owner.get(estate.path_of(route), headers={"Accept": "text/event-stream"})
    media = media_of(route, answer)["text/event-stream"]
    assert answer.mimetype == "text/event-stream"
    assert media["schema"] == {"type": "string"}
    for text in (answer.text, media["example"]):
        events = [block.splitlines() for block in text.split("\n\n") if block.startswith("id: ")]
        assert events
        for number, kind, data in events:
            event = json.loads(data.removeprefix("data: "))
            assert (number, kind) == (f"id: {event['seq']}", f"event: {event['type']}")
            assert EventOut().validate(event) == {}
            assert event.keys() == EventOut().fields.keys()


def test_downloads_are_described_whatever_they_are(estate):
    sheet, content = (BY_ENDPOINT[name] for name in ("audit.export_entries", "files.get_content"))
    assert send(estate.owner, sheet, sheet.path()).mimetype == "text/csv"
    for kind in ("image/png", "application/octet-stream"):
        sent = estate.owner.post("/api/v1/files?name=a", data=b"\x89PNG", content_type=kind)
        assert send(estate.owner, content, content.path(file_id=sent.json["id"])).mimetype == kind


UNSENT = {
    "oidc.about": "it needs a provider: test_oidc.py", "oidc.start": "likewise", "oidc.callback": "likewise",
    "identities.begin_link": "likewise",
    "sign-in.verify_email": "it needs the token of a mail: test_recorded_v1.py", "teams.accept": "likewise",
    "sign-in.accept_as_new": "likewise", "team.change_role": "it needs another member: test_members.py",
    "queues.list_queues": "it tells seconds, and is never what it was", "system.get_usage": "likewise",
}  # fmt: skip
"""Operations whose headers are not seen here, each with the reason."""


def has_own_headers(route):
    answers = [answer for code, answer in described(route).definition.raw["responses"].items() if code < "400"]
    return any(answer["headers"].keys() - ALWAYS.keys() - DEPRECATING.keys() for answer in answers)


DESCRIBED = [one for one in ROUTES if one.rule.startswith("/api/v1/") and one.endpoint != "api-docs.openapi_json"]
SAID = {"Idempotency-Key": "again", "Prefer": "wait=1"}
"""What is said in headers, where an operation takes them."""


def test_each_header_that_is_described_is_sent(estate, boss, rig, headers_of_answers):
    """At first, to a repeat with the same key, and to who has it already."""
    estate.ids |= {"team_id": estate.team_id, "account_id": estate.user_id()}
    for route in [one for one in DESCRIBED if one.endpoint not in UNSENT and has_own_headers(one)]:
        who = boss if route.rule.startswith("/api/v1/system/") else estate.owner
        path, body = where(estate, route), body_of(route)
        said = {name: SAID[name] for name in TAKEN.get(route.endpoint, ()) if name in SAID}
        first = send(who, route, path, body=body, **said)
        assert first.status_code < 300, (path, first.json)
        if route.endpoint == "jobs.submit":
            send(who, route, path, body=body, **said)
            rig.run()  # the next repeat need not wait: 200
        if "Idempotency-Key" in said:
            send(who, route, path, body=body, **said)
        elif route.method.lower() == "put":
            send(who, route, path, body=body)  # it is there already: another status
        elif route.method == "get" and "ETag" in first.headers:
            send(who, route, path, **{"If-None-Match": first.headers["ETag"]})
    unsent = headers_of_answers.unsent()
    elsewhere = {operation_id(name) for name in UNSENT}
    assert {key: names for key, names in unsent.items() if key[0] not in elsewhere} == {}
    assert {name for name, _ in unsent} >= elsewhere
