"""The OpenAPI document, held against the app with what there is: generated ids are of nothing.

Each link is followed once: what an answer says of itself is what the next request takes.
"""

import io
from itertools import count

import pytest
import schemathesis

from agora.identity import service as identity
from api.app import create_app
from api.openapi_document import operation_id
from api.openapi_links import LINKS
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


def send(who, route, path):
    """Send what would be taken; the answer, which is one that the document describes."""
    endpoint, body = route.endpoint, {}
    if endpoint == "files.upload":
        body = {"input_stream": io.BytesIO(b"text"), "query_string": {"name": "a.txt"}}
    elif endpoint in BODIES:
        body = {"json": BODIES[endpoint] | FRESH.get(endpoint, dict)()}
    else:
        assert route.method in {"get", "delete"} or endpoint in NO_BODY
    answer = getattr(who, route.method)(path, headers=SPEAKS, **body)
    described(route).validate_response(answer)
    return answer


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
}  # fmt: skip
"""What is found by a name."""


def test_each_read_of_what_there_is_answers_as_described(estate, boss):
    estate.ids |= {"team_id": estate.team_id, "account_id": estate.user_id()}
    for route in READS:
        who = boss if route.rule.startswith("/api/v1/system/") else estate.owner
        named = NAMED.get(route.endpoint)
        path = estate.path_of(route) if named is None else route.path(**dict.fromkeys(route.arguments, named))
        answer = send(who, route, path)
        assert answer.status_code == 200, (path, answer.json)
