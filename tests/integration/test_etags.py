"""Conditional requests: no edit undoes another's, and who has an answer already is not sent it again."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from agora.client import Agora, ApiError
from agora.db.session import transaction
from agora.identity.models import MemberRow
from agora.jobs import service
from agora.schedules import service as schedules
from agora.webhooks import service as webhooks
from api import conditions
from api.app import create_app
from tests.support import people
from tests.support.caller import Caller
from tests.support.locks import until_waiting
from tests.support.people import Browser
from tests.support.probe import submit
from tests.support.projects import a_project
from tests.support.server import served

ENDPOINTS, SCHEDULES, HOOK = "/api/v1/webhook-endpoints", "/api/v1/schedules", "http://127.0.0.1:9/hook"
UNGUARDED = {
    "team.revoke_invitation": "an invitation is made and taken back, never edited: there is nothing to lose",
    "me.end_session": "a session is begun and ended, never edited",
    "webhook-endpoint-keys.revoke_endpoint_key": "a key is made and revoked, never edited",
    "webhook-keys.revoke_team_key": "a key is made and revoked, never edited",
    "projects.unshare": "a share is set and taken back; what it gives is set whole",
    "identities.unlink": "a link is made and unmade, never edited",
    "system.revoke": "a role is granted and revoked, never edited",
    "system.put_team_tier": "it is set whole: nothing of what was there before stays",
}
"""Writes that heed no If-Match, each with its reason; they refuse it."""


@pytest.fixture
def owner(app):
    """Somebody who owns a team with another member."""
    browser = Browser(app, people.sign_up())
    browser.team = browser.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    browser.other = people.sign_up()
    with transaction("auth") as session:
        session.add(MemberRow(team_id=browser.team, user_id=browser.other.id, role="viewer"))
    return browser


def endpoint(caller, **_):
    return f"{ENDPOINTS}/{caller.post(ENDPOINTS, json={'url': HOOK}).json['id']}", {"description": "other"}


def schedule(caller, **_):
    body = {"name": "nightly", "agent": "probe", "action": "double", "every": 3600}
    return f"{SCHEDULES}/{caller.post(SCHEDULES, json=body).json['id']}", {"priority": 7}


def limit(caller, **_):
    caller.put("/api/v1/limits/probe", json={"max_running": 1})
    return "/api/v1/limits/probe", {"max_running": 2}


def key(caller, **_):
    made = caller.post("/api/v1/keys", json={"name": "k", "scopes": ["jobs:read"]}).json["id"]
    return f"/api/v1/keys/{made}", {"api_version": "2026-11-23"}


def project(caller, **_):
    return f"/api/v1/projects/{a_project(caller.team_id).project_id}", {"name": "Another"}


def specification(caller, **_):
    made = a_project(caller.team_id)
    path = f"/api/v1/projects/{made.project_id}/specifications"
    return f"{path}/{caller.get(path).json['items'][0]['id']}", {"confidence": 0.25}


def hold(caller, **_):
    made = caller.post("/api/v1/holds", json={"name": "case", "metadata": {"case": 1}}).json["id"]
    return f"/api/v1/holds/{made}", None


def link(caller, **_):
    made = caller.post("/api/v1/webhook-portal-links", json={"all_endpoints": True}).json["id"]
    return f"/api/v1/webhook-portal-links/{made}", None


def team(**_):
    return "/api/v1/team", {"name": "Other"}


def member(owner, **_):
    return f"/api/v1/team/members/{owner.other.id}", {"role": "developer"}


def me(**_):
    return "/api/v1/me", {"name": "Other"}


MADE = {
    "webhook-endpoints.update_endpoint": endpoint, "webhook-endpoints.delete_endpoint": endpoint,
    "schedules.update_schedule": schedule, "schedules.delete_schedule": schedule, "limits.put_limit": limit,
    "limits.delete_limit": limit, "keys.revoke_key": key, "keys.pin_key": key,
    "projects.update_project": project, "projects.revise_specification": specification, "holds.release_hold": hold,
    "webhook-portal-links.revoke_portal_link": link, "team.rename_team": team, "team.change_role": member,
    "team.remove_member": member, "me.rename_me": me,
}  # fmt: skip
OF_USERS = {team, member, me}


def writes():
    """Endpoint and method of every route that changes what is there."""
    for rule in create_app().url_map.iter_rules():
        for method in sorted(rule.methods & {"PUT", "PATCH", "DELETE"}):
            if rule.endpoint.partition(".")[0] not in conditions.OWN_DOORS:
                yield rule.endpoint, method


def test_every_write_heeds_if_match_or_says_why_not(application):
    with application.app_context():
        guarded = {name for name, _ in writes() if conditions.is_guarded(name)}
    assert {name for name, _ in writes()} == guarded | UNGUARDED.keys()
    assert guarded == MADE.keys()


@pytest.mark.parametrize(("name", "method"), [one for one in writes() if one[0] in MADE])
def test_an_edit_is_done_only_to_what_was_read(caller, rig, owner, name, method):
    who = owner if MADE[name] in OF_USERS else caller
    path, body = MADE[name](caller=caller, owner=owner)
    body = None if method == "DELETE" else body

    def write(tag):
        return getattr(who, method.lower())(path, headers={"If-Match": tag}, **({"json": body} if body else {}))

    read = who.get(path)
    tag = read.headers["ETag"]
    for stale in ('"0123456789abcdef0123"', f"W/{tag}", '"a", "b"', tag.replace(".", "x.", 1)):
        refused = write(stale)
        assert (refused.status_code, refused.json["code"]) == (412, "precondition-failed"), stale
    assert "weak" in write(f"W/{tag}").json["detail"]
    for broken in ("abc", '"a" "b"', '"open', "", '"a"' + ", " * 3000 + "x"):
        refused = write(broken)
        assert (refused.status_code, refused.json["errors"][0]["rule"]) == (422, "entity-tag"), broken
    assert (who.get(path).headers["ETag"], who.get(path).json) == (tag, read.json)
    done = write(f'"other", {tag}')
    assert done.status_code in {200, 204}
    if body:
        assert done.headers["Content-Location"] == path
        assert done.headers["ETag"].strip('"') == who.get(path).headers["ETag"].strip('"').partition(".")[0]
        assert write(tag).status_code == 412
        assert write(done.headers["ETag"]).status_code == 200
        assert write("*").status_code == 200


def test_without_a_condition_the_last_edit_wins(caller):
    path, _ = endpoint(caller)
    for words in ("first", "second"):
        assert caller.patch(path, json={"description": words}).status_code == 200
    assert caller.get(path).json["description"] == "second"


TABLES = {endpoint: "webhook_endpoints", schedule: "schedules", limit: "limits"}


@pytest.mark.parametrize("made", TABLES)
def test_of_many_edits_at_once_of_the_same_state_one_is_done(app, caller, rig, made):
    """All of them have come to the row, which is locked, before the first may go on."""
    path, body = made(caller=caller)
    method = "put" if made is limit else "patch"
    tag, seen, many = caller.get(path).headers["ETag"], Counter(), 4

    def edit():
        seen[getattr(Caller(app), method)(path, json=body, headers={"If-Match": tag}).status_code] += 1

    threads = [threading.Thread(target=edit) for _ in range(many)]
    with transaction() as session:
        session.execute(text(f"SELECT 1 FROM {TABLES[made]} FOR UPDATE"))
        for one in threads:
            one.start()
        until_waiting(many)
    for one in threads:
        one.join()
    assert seen == {200: 1, 412: many - 1}


def test_a_limit_is_made_only_where_there_is_none(app, caller, rig):
    path, at_once, seen = "/api/v1/limits/probe.double", threading.Barrier(4), Counter()
    assert caller.put(path, json={"max_running": 1}, headers={"If-Match": "*"}).status_code == 412

    def make():
        own = Caller(app)
        at_once.wait()
        seen[own.put(path, json={"max_running": 1}, headers={"If-None-Match": "*"}).status_code] += 1

    threads = [threading.Thread(target=make) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert seen == {200: 1, 412: 3}
    refused = caller.put(path, json={"max_running": 1}, headers={"If-None-Match": '"a"'})
    assert refused.json["errors"][0]["rule"] == "entity-tag"


def test_what_merely_happens_to_an_endpoint_refuses_no_edit(caller, rig):
    path, body = endpoint(caller)
    before = caller.get(path)
    rig.sql("UPDATE webhook_endpoints SET last_success_at = now(), consecutive_failures = 3, allowance = 9")
    after = caller.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert (after.status_code, after.json["consecutive_failures"]) == (200, 3)
    assert caller.patch(path, json=body, headers={"If-Match": before.headers["ETag"]}).status_code == 200


def test_a_secret_header_that_is_changed_is_another_edition(caller):
    path, _ = endpoint(caller)
    caller.patch(path, json={"headers": {"Authorization": "one"}})
    tag = caller.get(path).headers["ETag"]
    caller.patch(path, json={"headers": {"Authorization": "two"}})
    assert caller.patch(path, json={"headers": {}}, headers={"If-Match": tag}).status_code == 412


def test_a_condition_that_nothing_would_heed_is_refused(caller, rig):
    path, _ = endpoint(caller)
    for method, target in (("post", f"{path}/pause"), ("delete", f"{path}/keys/whk_x")):
        refused = getattr(caller, method)(target, headers={"If-Match": "*"})
        assert (refused.status_code, refused.json["errors"][0]["rule"]) == (422, "no-condition")
    assert caller.get(path).json["status"] == "active"


READ = [
    "/api/v1/jobs", "/api/v1/agents", "/api/v1/agents/probe", "/api/v1/event-types", "/api/v1/event-types/job.failed",
    "/api/v1/openapi.json", "/errors", "/errors/invalid", "/api/v1/webhook-endpoints", "/api/v1/limits",
]  # fmt: skip


def test_who_has_an_answer_is_not_sent_it_again(caller, rig):
    submit(caller)
    for path in READ:
        check_revalidation(caller, path)


def check_revalidation(caller, path):
    first = caller.get(path)
    tag = first.headers["ETag"]
    for given in (tag, f'"x", W/{tag}', "*"):
        again = caller.get(path, headers={"If-None-Match": given})
        assert (again.status_code, again.data) == (304, b""), given
        for header in ("ETag", "Vary", "Cache-Control", "X-Request-Id"):
            assert (header in again.headers) is (header in first.headers), header
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"] != "no-store"
        assert "Content-Type" not in again.headers
    assert caller.get(path, headers={"If-None-Match": '"other"'}).json == first.json
    refused = caller.get(path, headers={"If-Match": '"other"'})
    assert (refused.status_code, refused.json["code"]) == (412, "precondition-failed")
    assert refused.content_type.startswith("application/problem+json")
    assert refused.headers.get("Agora-Version") == first.headers.get("Agora-Version")
    assert caller.get(path, headers={"If-Match": tag}).status_code == 200
    assert caller.get(path, headers={"If-None-Match": "other"}).json["errors"][0]["rule"] == "entity-tag"


def test_answers_of_others_and_refusals_have_no_tag(caller, app):
    assert "ETag" not in caller.get("/api/v1/jobs/job_x").headers
    assert "ETag" not in app.test_client().get("/healthz").headers
    assert set(caller.get("/api/v1/jobs").vary) == {"Accept", "Authorization", "Agora-Team", "Agora-Version"}


def job_tags(caller, rig, action):
    """The tags of a job from its submit to its end, each as long as it lasted."""
    path = submit(caller, action).headers["Location"]
    tags = [caller.get(path).headers["ETag"]]
    while rig.rung:
        rig.engine.run(rig.rung.popleft().step_id)
        tags.append(caller.get(path).headers["ETag"])
    return path, tags


def test_who_polls_a_job_hears_of_every_change_and_of_nothing_else(caller, rig, monkeypatch):
    path, tags = job_tags(caller, rig, "ask")
    assert len(set(tags)) == len(tags) == 2
    monkeypatch.setattr(service, "get_job", lambda *_, **__: 1 / 0)  # it need not be loaded
    assert caller.get(path, headers={"If-None-Match": tags[-1]}).status_code == 304
    monkeypatch.undo()
    caller.post(f"{path}/input", json={"value": 3})
    changed = caller.get(path, headers={"If-None-Match": tags[-1]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] not in tags


def test_a_job_that_runs_shows_its_seconds_and_keeps_its_tag(caller, rig):
    path = submit(caller).headers["Location"]
    rig.sql("UPDATE steps SET status = 'running', started_at = now(), fence = 'f', lease_expires_at = now()")
    rig.sql("UPDATE jobs SET status = 'running', started_at = now()")
    first = caller.get(path)
    assert first.headers["ETag"].startswith("W/")
    assert caller.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    for change in ("jobs SET progress_message = 'half'", "steps SET attempt = 2", "jobs SET usage = '{\"tokens\": 1}'"):
        before = caller.get(path).headers["ETag"]
        rig.sql(f"UPDATE {change}")
        assert caller.get(path, headers={"If-None-Match": before}).status_code == 200, change


def test_a_job_in_line_and_one_with_children_are_looked_at_whole(caller, rig):
    job = submit(caller)
    assert service.version_of(job.json["id"], team_id=caller.team_id) is None
    before = caller.get(job.headers["Location"])
    assert caller.get(job.headers["Location"], headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    rig.sql("INSERT INTO queues (name, paused_at, reason) SELECT queue, now(), 'lunch' FROM steps")
    after = caller.get(job.headers["Location"], headers={"If-None-Match": before.headers["ETag"]})
    assert after.json["waits"]["reason"] == "paused"
    rig.run()
    other = submit(caller).json["id"]
    rig.sql("UPDATE jobs SET parent_id = :parent WHERE id = :id", parent=job.json["id"], id=other)
    assert service.version_of(job.json["id"], team_id=caller.team_id) is None


def test_a_job_of_another_team_has_no_version(app, caller, rig):
    path, tags = job_tags(caller, rig, "double")
    stranger = Caller(app, team="other")
    assert stranger.get(path, headers={"If-None-Match": tags[-1]}).status_code == 404


@pytest.mark.parametrize("made", [endpoint, schedule])
def test_a_tag_does_not_depend_on_the_zone_of_the_session_that_reads(caller, rig, made):
    ref = made(caller=caller)[0].rpartition("/")[2]
    get = webhooks.get_endpoint if made is endpoint else schedules.get_schedule
    found = get(ref, team_id=caller.team_id)
    there = ZoneInfo("Asia/Tokyo")
    moved = {name: getattr(found, name).astimezone(there) for name in ("created_at", "updated_at")}
    assert replace(found, **moved).edition == found.edition
    assert replace(found, updated_at=found.updated_at + timedelta(microseconds=1)).edition != found.edition


def test_the_client_edits_what_it_read_and_walks_lists(application, caller, rig):
    with served(application) as url, Agora(url, caller.key) as api:
        ref = api.create_endpoint(HOOK)["id"]
        read = api.get_endpoint(ref)
        changed = api.update_endpoint(ref, if_match=read.etag, description="first")
        with pytest.raises(ApiError) as refused:
            api.update_endpoint(ref, if_match=read.etag, description="second")
        assert (refused.value.status, refused.value.code) == (412, "precondition-failed")
        with pytest.raises(ApiError):
            api.delete_endpoint(ref, if_match='"0"')
        api.delete_endpoint(ref, if_match=changed.etag)
        made = [api.submit("probe", "double", {})["id"] for _ in range(3)]
        assert [one["id"] for one in api.iter_jobs(limit=2, sort="created_at", fields="id")] == made
        assert api.get_job(made[0], fields=["id", "status"]) == {"id": made[0], "status": "queued"}
