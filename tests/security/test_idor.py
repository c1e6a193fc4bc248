"""Every route that has an id in its path, with the id of a real object, called by the owner of another team."""

import pytest

from tests.support import people
from tests.support.caller import Caller
from tests.support.estate import BODIES, NO_BODY, SPEAKS, Estate, contents
from tests.support.people import Browser
from tests.support.probe import probe
from tests.support.rig import Rig
from tests.support.routes import ROUTES

EVERYBODYS = {
    "versions.show_version",
    "agents.get_agent",
    "moves.move_jobs",
    "event-types.get_event_type",
    "errors.show_error",
}
"""What they name is nobody's: agents and types of events are the platform's, and a move is of one's own jobs."""
OWN_NAMES = {"limits.get_limit", "limits.put_limit", "limits.delete_limit"}
"""Their target is a name within the caller's team: an agent's limit is each team's own."""
OPERATORS = {"queues.pause_queue", "queues.resume_queue"}
"""These, and all below /system, are for administrators: test_authorisation.py tries them."""
OF_USERS = {"me.end_session", "identities.unlink"}
WITH_IDS = [
    route
    for route in ROUTES
    if route.arguments
    and route.rule.startswith("/api/")
    and route.endpoint not in EVERYBODYS | OPERATORS
    and not route.endpoint.startswith("system.")
]


@pytest.fixture
def rig(db, monkeypatch):
    return Rig(monkeypatch, probe)


@pytest.fixture
def theirs(app, rig):
    return Estate(app, rig)


def send(who, route, path):
    if route.method in {"post", "patch", "put"} and route.endpoint not in NO_BODY:
        return getattr(who, route.method)(path, json=BODIES[route.endpoint], headers=SPEAKS)
    return getattr(who, route.method)(path, headers=SPEAKS)


def strangers(app):
    key = Caller(app, team="stranger")
    user = Browser(app, people.sign_up())
    user.team = user.post("/api/v1/teams", json={"name": "Others"}).json["id"]
    return {"key": key, "user": user}


def test_there_is_a_body_for_every_route_that_takes_one():
    writes = {r.endpoint for r in ROUTES if r.method in {"post", "patch", "put"} and r.rule.startswith("/api/")}
    assert writes == BODIES.keys() | NO_BODY | {"files.upload"}


def test_what_is_another_teams_is_not_there_on_any_route_and_stays_as_it_is(app, db, theirs):
    who = strangers(app)
    before = contents(db)
    for route in WITH_IDS:
        path = theirs.path_of(route)
        assert "nothing" not in path or route.endpoint in OWN_NAMES, f"{route} has no object to be tried with"
        for name, stranger in who.items():
            if route.endpoint in OWN_NAMES:
                continue
            answer = send(stranger, route, path)
            if route.endpoint in OF_USERS and name == "key":
                assert answer.status_code == 403, route
                continue
            assert (answer.status_code, answer.json["code"]) == (404, "not-found"), (name, route, answer.json)
            assert theirs.team_id not in answer.text
    after = contents(db)
    lost = {name: rows - after[name] for name, rows in before.items() if rows - after[name]}
    assert lost == {}
    made = {name: after[name] - before[name] for name in before if after[name] - before[name]}
    assert made == {}


def test_the_same_requests_find_what_is_ones_own(app, theirs):
    """Else the test above would show nothing."""
    reads = [route for route in WITH_IDS if route.method == "get" and route.endpoint not in OWN_NAMES]
    for route in reads:
        if route.endpoint == "jobs.list_items":
            continue  # that job has no map; tests/integration/test_fan_out.py tries this one
        assert theirs.owner.get(theirs.path_of(route)).status_code == 200, route
    assert len(reads) > 15


def test_a_limit_of_ones_own_is_no_others(app, theirs):
    for stranger in strangers(app).values():
        assert stranger.get("/api/v1/limits/agent:probe").status_code == 404
        assert stranger.put("/api/v1/limits/agent:probe", json={"max_running": 1}).status_code == 200
        assert stranger.delete("/api/v1/limits/agent:probe").status_code == 204
    assert theirs.owner.get("/api/v1/limits/agent:probe").json["max_running"] == 7


def test_lists_show_nothing_of_another_team(app, theirs):
    reads = [route for route in ROUTES if route.method == "get" and route.rule.startswith("/api/")]
    lists = [route for route in reads if not route.arguments]
    ids = {*theirs.ids.values(), *theirs.refs.values(), *theirs.keys.values(), theirs.team_id}
    for stranger in strangers(app).values():
        for route in lists:
            found = stranger.get(route.path()).text
            assert not [one for one in ids if one in found], route


def test_a_filter_by_an_id_of_another_team_finds_nothing(app, theirs):
    values = {
        **theirs.ids, "parent_id": theirs.ids["job_id"], "batch": theirs.ids["batch_id"],
        "schedule": theirs.refs["schedules"], "endpoint": theirs.refs["webhook-endpoints"],
    }  # fmt: skip
    for stranger in strangers(app).values():
        for named in ("job_id", "parent_id", "batch", "schedule", "endpoint"):
            for path in ("/api/v1/jobs", "/api/v1/webhook-deliveries"):
                answer = stranger.get(f"{path}?{named}={values[named]}")
                assert answer.status_code in {404, 422} or answer.json["items"] == [], (path, named, answer.json)


def test_an_id_in_a_body_that_is_another_teams_is_not_there(app, theirs):
    for stranger in strangers(app).values():
        for path, body in (
            ("webhook-replays", {"endpoint": theirs.refs["webhook-endpoints"], "all": True}),
            ("webhook-replays", {"job_id": theirs.ids["job_id"]}),
            ("bulk", {"action": "retry", "filter": {"batch": theirs.ids["batch_id"]}}),
            ("bulk", {"action": "retry", "filter": {"schedule": theirs.refs["schedules"]}}),
        ):
            answer = stranger.post(f"/api/v1/{path}", json=body | {"dry_run": True})
            assert answer.status_code in {404, 422} or answer.json["matched"] == 0, (path, body, answer.json)
