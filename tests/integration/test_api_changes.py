"""What a change of a version can do, by a registry of the test's own; and a second major beside the first."""

import pytest
from flask import Flask, jsonify

from agora.api_versions import NEWEST, OLDEST
from agora.identity import service as identity
from api import auth
from api.app import create_app
from api.blueprint import Blueprint
from api.schemas.common import PageArgs
from api.versions import registry
from api.versions.change import Change, Renamed, Version
from api.versions.registry import V1, Registry
from tests.support.caller import Caller
from tests.support.probe import probe
from tests.support.rig import Rig

KEYS, JOBS, VERSION = "/api/v1/keys", "/api/v1/jobs", "Agora-Version"
OLD = {VERSION: OLDEST}


class Extra:
    """A registry with one more version, whose changes touch everything that a change can."""

    def __init__(self):
        self.version = Version(
            date="2027-03-01",
            changes=(
                Change(
                    name="jobs.event", description="Events have a kind.", operations=frozenset({"events.list_events"}),
                    event=lambda event: event | {"data": {"older": True}},
                ),
                Change(
                    name="jobs.page-size", description="`size` is `limit`.", operations=frozenset({"jobs.list_jobs"}),
                    query=lambda query: {("limit" if name == "size" else name): one for name, one in query.items()}
                    if "size" in query
                    else query,
                ),
                Change(
                    name="jobs.no-moves", description="Jobs are moved no more.", removes=frozenset({"moves.move_job"})
                ),
                Change(
                    name="keys.overlap", description="`beside`.", operations=frozenset({"keys.rotate_key"}),
                    asked=(Renamed("beside_seconds", "overlap_seconds"),),
                ),
                Change(
                    name="jobs.accepted", description="A new job is 202.", operations=frozenset({"jobs.submit"}),
                    older_status=201, newer_status=202,
                ),
            ),
        )  # fmt: skip
        # The middle version called `beside_seconds` what this test's newest, as the schema, calls `overlap_seconds`.
        middle = Change(
            name="rotations.beside", description="", operations=frozenset({"keys.rotate_key"}),
            asked=(Renamed("overlap", "beside_seconds"),),
        )  # fmt: skip
        versions = [self.version, Version(date=NEWEST, changes=(middle,), sunset="2028-06-01"), V1.versions[-1]]
        self.registry = Registry(versions)


@pytest.fixture
def extra(monkeypatch):
    made = Extra()
    monkeypatch.setitem(registry.MAJORS.known, "v1", made.registry)
    return made


def test_events_of_lists_and_streams_go_through_the_changes(caller, extra, monkeypatch):
    rig = Rig(monkeypatch, probe)
    rig.team_id = caller.team_id
    job = rig.submit("double", {"n": 1})
    rig.run()
    path = f"{JOBS}/{job.id}/events"
    listed = caller.get(path).json["items"]
    assert {str(one["data"]) for one in listed} == {"{'older': True}"}
    stream = caller.get(path, headers={"Accept": "text/event-stream"}).text
    assert stream.count('"data": {"older": true}') == len(listed)
    newest = {"Agora-Version": "2027-03-01"}
    assert "older" not in caller.get(path, headers=newest).text
    assert "older" not in caller.get(path, headers=newest | {"Accept": "text/event-stream"}).text


def test_a_query_goes_through_the_changes(caller, extra):
    assert caller.get(f"{JOBS}?size=1").status_code == 200
    refused = caller.get(f"{JOBS}?size=0")
    assert [(one["rule"], one["value"]) for one in refused.json["errors"]] == [("range", "0")]
    assert caller.get(f"{JOBS}?size=1", headers={"Agora-Version": "2027-03-01"}).status_code == 422
    assert caller.get(f"{JOBS}?limit=1&limit=2").status_code == 200


def test_an_operation_that_is_gone_is_there_for_those_of_before(caller, extra):
    path, body = f"{JOBS}/job_x/move", {"version": 1}
    assert caller.post(path, json=body).json["detail"] == "there is no job job_x"
    gone = caller.post(path, json=body, headers={"Agora-Version": "2027-03-01"})
    assert (gone.status_code, "gone since 2027-03-01" in gone.json["detail"]) == (404, True)


def test_changes_of_several_versions_follow_each_other(caller, extra):
    key = caller.post(KEYS, json={"name": "k", "scopes": ["jobs:read"]}).json["id"]
    for version, name in ((OLDEST, "overlap"), (NEWEST, "beside_seconds"), ("2027-03-01", "overlap_seconds")):
        refused = caller.post(f"{KEYS}/{key}/rotate", json={name: -1}, headers={VERSION: version})
        assert [one["pointer"] for one in refused.json["errors"]] == [f"/{name}"], version
        assert refused.json["detail"].startswith(name)
    assert caller.post(f"{KEYS}/{key}/rotate", json={"overlap": 9}, headers=OLD).status_code == 201


def test_of_several_successes_the_one_that_changed_has_its_older_status(caller, extra, monkeypatch):
    Rig(monkeypatch, probe)
    newest = {VERSION: "2027-03-01"}

    def submit(key, **headers):
        body = {"agent": "probe", "action": "double", "input": {"n": 1}, "unique": {"key": key}}
        return caller.post(JOBS, json=body, headers=headers).status_code

    assert [submit("a"), submit("a")] == [201, 200]
    assert [submit("b", **newest), submit("b", **newest)] == [202, 200]


# --- majors


def test_a_major_that_there_is_not_is_named(caller, app):
    refused = caller.get("/api/v2/jobs")
    assert (refused.status_code, refused.json["code"]) == (404, "not-found")
    assert refused.json["detail"] == "there is no /api/v2; there is /api/v1"
    assert app.test_client().get("/api/v2/jobs").status_code == 401


def test_a_second_major_stands_beside_the_first_over_the_same_services(db, monkeypatch):
    second = Blueprint("second", __name__, url_prefix="/api/v2/keys")

    @second.get("")
    @auth.scope("keys:manage")
    @second.arguments(PageArgs, location="query")
    def list_keys(_query):
        return jsonify(data=[one.name for one in identity.list_keys(auth.team_id())])

    app: Flask = create_app()
    app.register_blueprint(second)
    monkeypatch.setitem(registry.MAJORS.known, "v2", Registry([Version(date="2027-06-01")]))
    caller = Caller(app)
    answered = caller.get("/api/v2/keys")
    assert (answered.json, answered.headers[VERSION]) == ({"data": ["k"]}, "2027-06-01")
    assert caller.get(KEYS).json["items"][0]["name"] == "k"
    assert caller.get("/api/v2/keys", headers=OLD).status_code == 422
