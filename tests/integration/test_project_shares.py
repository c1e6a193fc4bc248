"""Projects that are shared: what the other team sees and does; strangers see nothing; a share ends at once."""

import threading

import pytest

from agora.audit import duties
from agora.client import Agora, ApiError
from agora.db.session import transaction
from agora.errors import Forbidden, NotFound
from agora.identity import service as identity
from agora.identity.roles import Role
from agora.ids import new_id
from agora.jobs.chronicle import owes_ring
from agora.projects import changes, service, share_queries, shares
from agora.projects.access import Access, reach
from agora.teams.erase import erase_team
from tests.support.caller import Caller
from tests.support.projects import a_project
from tests.support.server import served
from tests.support.webhooks import sql

PROJECTS = "/api/v1/projects"


@pytest.fixture
def ours(app):
    return Caller(app, team="ours")


@pytest.fixture
def theirs(app):
    return Caller(app, team="theirs")


@pytest.fixture
def project(ours):
    return a_project(ours.team_id).project_id


@pytest.fixture
def shared(ours, theirs, project):
    """Shares the project with the other team."""

    def share(access):
        answered = ours.put(f"{PROJECTS}/{project}/shares/{theirs.team_id}", json={"access": access})
        assert answered.status_code in {200, 201}, answered.json
        return answered.json

    return share


def changes_of(caller, project):
    """Each change, tried; the statuses."""
    path = f"{PROJECTS}/{project}"
    [specification, *_] = sql("SELECT id FROM specifications WHERE current ORDER BY id")
    [clash] = sql("SELECT id FROM conflicts")
    return [
        caller.patch(path, json={"name": "Another"}).status_code,
        caller.patch(path, json={"phase": "analysis"}).status_code,
        caller.patch(f"{path}/specifications/{specification['id']}", json={"value": "<= 1 s"}).status_code,
        caller.post(f"{path}/conflicts/{clash['id']}/resolve", json={}).status_code,
    ]


def test_an_edit_says_whose_state_it_answers(ours, project):
    """Another value makes another specification: the tag of that one would say nothing of the one that was edited."""
    path = f"{PROJECTS}/{project}/specifications"
    [first, *_] = ours.get(path).json["items"]
    same = ours.patch(f"{path}/{first['id']}", json={"confidence": 0.25})
    there = ours.get(f"{path}/{first['id']}")
    assert (same.json, same.headers["Content-Location"]) == (there.json, f"{path}/{first['id']}")
    assert ours.get(f"{path}/{first['id']}", headers={"If-Match": same.headers["ETag"]}).status_code == 200
    other = ours.patch(f"{path}/{first['id']}", json={"value": "<= 7 s"})
    assert other.json["id"] != first["id"]
    assert "ETag" not in other.headers
    there = ours.get(other.headers["Content-Location"])
    assert other.json == there.json


def reads_of(caller, project):
    paths = ["", "/specifications", "/conflicts"]
    return [caller.get(f"{PROJECTS}/{project}{path}").status_code for path in paths]


def test_a_team_sees_its_own_projects(ours, project):
    [listed] = ours.get(PROJECTS).json["items"]
    assert (listed["id"], listed["access"], listed["team_id"]) == (project, "own", ours.team_id)
    shown = ours.get(f"{PROJECTS}/{project}").json
    assert (shown["phase"], shown["specifications"], shown["conflicts"]) == ("discovery", 2, 1)
    [first, second] = ours.get(f"{PROJECTS}/{project}/specifications").json["items"]
    assert (first["key"], first["status"], second["value"]) == ("performance.response_time", "draft", "PostgreSQL")
    [clash] = ours.get(f"{PROJECTS}/{project}/conflicts").json["items"]
    assert clash["severity"] == "high"
    assert changes_of(ours, project) == [200, 200, 200, 204]
    assert ours.get(f"{PROJECTS}/{project}").json["name"] == "Another"
    assert ours.patch(f"{PROJECTS}/{project}", json={"name": "a", "phase": "design"}).status_code == 422
    assert ours.patch(f"{PROJECTS}/{project}", json={"phase": "implementation"}).status_code == 409


def test_a_stranger_sees_nothing(theirs, project):
    assert theirs.get(PROJECTS).json["items"] == []
    assert reads_of(theirs, project) == [404] * 3
    assert changes_of(theirs, project) == [404] * 4
    path = f"{PROJECTS}/{project}/shares"
    assert theirs.get(path).status_code == 404
    assert theirs.post(path, json={"team_id": theirs.team_id, "access": "write"}).status_code == 404
    assert theirs.put(f"{path}/{theirs.team_id}", json={"access": "write"}).status_code == 404
    assert theirs.delete(f"{path}/{theirs.team_id}").status_code == 404


def test_shared_to_read_is_seen_and_not_changed(ours, theirs, project, shared):
    told = shared("read")
    assert (told["team_id"], told["access"]) == (theirs.team_id, "read")
    [listed] = theirs.get(PROJECTS).json["items"]
    assert (listed["id"], listed["access"], listed["team_id"]) == (project, "read", ours.team_id)
    assert reads_of(theirs, project) == [200] * 3
    assert theirs.get(f"{PROJECTS}/{project}").json["specifications"] == 2
    assert changes_of(theirs, project) == [403] * 4
    assert sql("SELECT name, phase FROM projects") == [{"name": "Loan desk", "phase": "discovery"}]


def test_shared_to_write_is_changed_and_its_events_are_the_owners(ours, theirs, project, shared):
    shared("read")
    shared("write")
    assert changes_of(theirs, project) == [200, 200, 200, 204]
    assert theirs.get(f"{PROJECTS}/{project}").json["access"] == "write"
    assert sql("SELECT DISTINCT team_id FROM events") == [{"team_id": ours.team_id}]
    assert sql("SELECT DISTINCT team_id FROM specifications") == [{"team_id": ours.team_id}]
    assert len(ours.get(f"{PROJECTS}/{project}/shares").json["items"]) == 1


def test_a_share_ends_at_once(ours, theirs, project, shared):
    shared("write")
    path = f"{PROJECTS}/{project}/shares/{theirs.team_id}"
    assert ours.delete(path).status_code == 204
    assert reads_of(theirs, project) == [404] * 3
    assert changes_of(theirs, project) == [404] * 4
    assert theirs.get(PROJECTS).json["items"] == []
    assert ours.delete(path).status_code == 404


def test_nobody_passes_on_what_was_shared_with_them(app, ours, theirs, project, shared):
    shared("write")
    third = Caller(app, team="third")
    path = f"{PROJECTS}/{project}/shares"
    for refused in (
        theirs.post(path, json={"team_id": third.team_id, "access": "read"}),
        theirs.put(f"{path}/{third.team_id}", json={"access": "read"}),
        theirs.put(f"{path}/{theirs.team_id}", json={"access": "write"}),
        theirs.get(path),
        theirs.delete(f"{path}/{theirs.team_id}"),
    ):
        assert refused.status_code == 403
    assert reads_of(third, project) == [404] * 3


def test_what_is_no_other_team_is_refused(ours, project):
    path = f"{PROJECTS}/{project}/shares"
    for team_id, rule in ((ours.team_id, "other-team"), (new_id("team"), "exists"), ("x", "exists")):
        refused = ours.post(path, json={"team_id": team_id, "access": "read"}).json["errors"]
        assert [(one["pointer"], one["rule"]) for one in refused] == [("/team_id", rule)]
        refused = ours.put(f"{path}/{team_id}", json={"access": "read"}).json["errors"]
        assert [(one["pointer"], one["rule"]) for one in refused] == [("/with_team_id", rule)]
    assert ours.post(path, json={"team_id": "x", "access": "own"}).status_code == 422
    assert ours.put(f"{path}/x", json={"access": "own"}).json["errors"][0]["pointer"] == "/access"


def test_a_put_tells_whether_it_made_or_changed_a_share(ours, theirs, project):
    path = f"{PROJECTS}/{project}/shares"
    one = f"{path}/{theirs.team_id}"
    made, again, changed = (ours.put(one, json={"access": access}) for access in ("read", "read", "write"))
    assert [answered.status_code for answered in (made, again, changed)] == [201, 200, 200]
    assert made.json == again.json == changed.json | {"access": "read"} == ours.get(path).json["items"][0] | made.json
    assert changed.headers["ETag"].strip('"') == ours.get(one).headers["ETag"].strip('"').partition(".")[0]
    older = ours.post(path, json={"team_id": theirs.team_id, "access": "read"})
    assert (older.status_code, older.json) == (201, made.json)


@pytest.mark.parametrize("method", ["put", "post"])
def test_the_logs_of_both_teams_tell_what_a_share_was_before(ours, theirs, project, method):
    path = f"{PROJECTS}/{project}/shares"

    def share(access):
        if method == "put":
            return ours.put(f"{path}/{theirs.team_id}", json={"access": access})
        return ours.post(path, json={"team_id": theirs.team_id, "access": access})

    for access in ("read", "read", "write"):
        assert share(access).status_code < 300
    duties.copy_entries()
    for team in (ours, theirs):
        second, first = team.get("/api/v1/audit?action=project.shared").json["items"]
        both = {"with_team_id": theirs.team_id}
        assert (first["before"], first["after"]) == ({}, both | {"access": "read"})
        assert (second["before"], second["after"]) == ({"access": "read"}, both | {"access": "write"})


def test_a_specification_is_found_in_its_own_project_only(ours, project):
    other = a_project(ours.team_id).project_id
    [specification, *_] = sql("SELECT id FROM specifications WHERE project_id = :id", id=project)
    [clash] = sql("SELECT id FROM conflicts WHERE project_id = :id", id=project)
    path = f"{PROJECTS}/{other}"
    assert ours.patch(f"{path}/specifications/{specification['id']}", json={"value": "x"}).status_code == 404
    assert ours.post(f"{path}/conflicts/{clash['id']}/resolve", json={}).status_code == 404


def test_own_and_shared_projects_are_one_list_with_pages(ours, theirs, project, shared):
    shared("read")
    made = [project, *(a_project(theirs.team_id).project_id for _ in range(3)), a_project(ours.team_id).project_id]
    seen, cursor = [], None
    for _ in range(2):
        page = theirs.get(PROJECTS, query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
        seen += [(one["id"], one["access"]) for one in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == [(one, "own") for one in reversed(made[1:4])] + [(project, "read")]
    assert theirs.get(f"{PROJECTS}?cursor=x").json["errors"][0]["rule"] == "cursor"


def test_jobs_of_the_other_team_see_what_is_shared_with_it(theirs, project, shared):
    with pytest.raises(NotFound):
        service.candidates_of(project, team_id=theirs.team_id)
    shared("read")
    assert len(service.candidates_of(project, team_id=theirs.team_id)) == 2
    assert len(service.conflicts_of(project, team_id=theirs.team_id)) == 1
    with pytest.raises(Forbidden):
        changes.set_scores(project, team_id=theirs.team_id, maturity=1, coverage=1)


def test_a_revocation_waits_for_what_is_being_written_and_nothing_is_written_after_it(ours, theirs, project, shared):
    shared("write")
    revoked = threading.Event()

    def revoke():
        shares.unshare(project, theirs.team_id, team_id=ours.team_id)
        revoked.set()

    with transaction() as session:
        assert reach(session, project, team_id=theirs.team_id, needs=Access.WRITE).access == Access.WRITE
        thread = threading.Thread(target=revoke)
        thread.start()
        assert not revoked.wait(0.3)
        assert not owes_ring(session)
    thread.join(10)
    assert revoked.is_set()
    with transaction() as session, pytest.raises(NotFound):
        reach(session, project, team_id=theirs.team_id, needs=Access.WRITE)


def test_roles_decide_who_looks_changes_and_shares():
    from agora.identity.roles import permissions_of  # noqa: PLC0415

    may = {role: {one for one in permissions_of(role) if one.startswith("projects:")} for role in Role}
    assert may[Role.VIEWER] == {"projects:read"}
    assert may[Role.DEVELOPER] == {"projects:read", "projects:write"}
    assert may[Role.LEAD] == {"projects:read", "projects:write", "projects:share"}


@pytest.mark.parametrize("erased", ["ours", "theirs"])
def test_a_share_goes_with_either_team(ours, theirs, project, shared, erased):
    shared("read")
    erase_team(erased)
    assert sql("SELECT * FROM project_shares") == []
    assert len(sql("SELECT * FROM projects")) == (erased == "theirs")


def test_the_client_and_a_share_of_its(app, ours, theirs, project):
    with served(app) as url, Agora(url, ours.key) as us, Agora(url, theirs.key) as them:
        read = us.share_project(project, theirs.team_id, if_none_match="*")
        for stale in ({"if_none_match": "*"}, {"if_match": '"0"'}):
            with pytest.raises(ApiError, match="precondition-failed"):
                us.share_project(project, theirs.team_id, "write", **stale)
        assert us.get_share(project, theirs.team_id)["access"] == "read"
        assert us.share_project(project, theirs.team_id, "write", if_match=read.etag)["access"] == "write"
        assert them.list_projects()["items"][0]["id"] == project
        assert them.update_project(project, name="Ledger")["name"] == "Ledger"
        [first, *_] = them.list_specifications(project)
        assert them.revise_specification(project, first["id"], confidence=1.0)["id"] == first["id"]
        [clash] = them.list_conflicts(project)
        them.resolve_conflict(project, clash["id"])
        assert us.get_project(project)["conflicts"] == 0
        assert [one["team_id"] for one in us.list_shares(project)] == [theirs.team_id]
        us.unshare_project(project, theirs.team_id)
        assert them.list_projects()["items"] == []
    assert identity.authenticate(ours.key).team_id == ours.team_id
    with transaction() as session:
        assert share_queries.list_shares(session, team_id=ours.team_id, project_id=project) == []
