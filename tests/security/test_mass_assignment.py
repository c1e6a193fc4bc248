"""Fields that a client must not set, sent to every route that writes: refused as unknown, and nothing is changed."""

import pytest

from api.app import create_app
from tests.support import people
from tests.support.estate import BODIES, SPEAKS, Estate, contents
from tests.support.probe import probe
from tests.support.rig import Rig
from tests.support.routes import ROUTES

INNER = (
    "id", "team_id", "owner_id", "user_id", "role", "scopes", "status", "state", "is_admin", "admin", "system_role",
    "verified_at", "disabled_at", "password_hash", "totp_since", "created_at", "updated_at", "deleted_at", "fence",
    "secret_hash", "prefix", "revoked_at", "key_id", "sha256", "location", "size", "__class__", "output", "error",
)  # fmt: skip
OF_THE_PLATFORM = ("/api/v1/queues", "/api/v1/system")
WRITES = [route for route in ROUTES if route.endpoint in BODIES and not route.endpoint.startswith("portal.")]
OPERATIONS = create_app().extensions["agora-api"].spec.to_dict()


def schema_of(node):
    while "$ref" in node:
        node = OPERATIONS["components"]["schemas"][node["$ref"].rsplit("/", 1)[-1]]
    return node.get("properties", {})


def fields_of(route):
    """Names that the answer has or the inside knows, and the request does not take."""
    path = route.rule.replace("<", "{").replace(">", "}")
    operation = OPERATIONS["paths"][path][route.method]
    taken = schema_of(operation["requestBody"]["content"]["application/json"]["schema"])
    told = set(INNER)
    for status, answer in operation["responses"].items():
        for media in answer.get("content", {}).values() if status < "300" else ():
            told |= schema_of(media.get("schema", {})).keys()
    return sorted(told - taken.keys())


@pytest.fixture
def estate(app, db, monkeypatch):
    return Estate(app, Rig(monkeypatch, probe))


def test_no_route_takes_a_field_that_is_not_the_clients(app, db, estate):
    """One by one, so that each is refused by itself."""
    boss = people.administrator(app)
    before = contents(db)
    for route in WRITES:
        who = boss if route.rule.startswith(OF_THE_PLATFORM) else estate.owner
        extra = fields_of(route)
        body = BODIES[route.endpoint] | dict.fromkeys(extra, "x")
        answer = getattr(who, route.method)(estate.path_of(route), json=body, headers=SPEAKS)
        assert answer.status_code == 422, (route, answer.json)
        refused = {one["pointer"].strip("/") for one in answer.json["errors"] if one["rule"] == "unknown-field"}
        assert refused == set(extra), route
    assert contents(db) == before


NESTED = (
    ("batches", {"jobs": [BODIES["jobs.submit"] | {"team_id": "x"}]}),
    ("jobs", BODIES["jobs.submit"] | {"webhook": {"url": "http://127.0.0.1:1/", "team_id": "x"}}),
    ("jobs", BODIES["jobs.submit"] | {"budget": {"max_tokens": 1, "used_tokens": 0}}),
    ("webhook-endpoint-import", {"endpoints": [{"url": "http://127.0.0.1:1/", "team_id": "x"}]}),
    ("bulk", {"action": "cancel", "filter": {"agent": "a", "team_id": "x"}}),
)


def test_nor_further_in(app, db, estate):
    before = contents(db)
    for path, body in NESTED:
        answer = estate.owner.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, answer.json["errors"][0]["rule"]) == (422, "unknown-field"), path
    assert contents(db) == before


def test_nor_among_the_parameters(app, db, estate):
    """A filter that names another team is refused, or is no filter: it changes no answer."""
    before = contents(db)
    reads = [route for route in ROUTES if route.method == "get" and route.rule.startswith("/api/v1/")]
    for route in reads:
        path = estate.path_of(route)
        answer = estate.owner.get(f"{path}{'&' if '?' in path else '?'}team_id=x")
        if answer.status_code == 200 and route.endpoint != "queues.list_queues":  # which tells ages
            assert answer.data == estate.owner.get(path).data, f"{route} took team_id for something"
    assert contents(db) == before
