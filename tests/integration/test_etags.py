"""Conditional edits: none undoes another's, and each write heeds If-Match or says why not."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from agora.api_versions import NEWEST
from agora.client import Agora, ApiError
from agora.db.session import transaction
from agora.identity import service as identity
from agora.identity.models import MemberRow
from agora.quotas import tiers
from agora.schedules import service as schedules
from agora.webhooks import service as webhooks
from api import conditions
from api.app import create_app
from tests.support import people
from tests.support.caller import Caller
from tests.support.locks import until_waiting
from tests.support.people import Browser
from tests.support.projects import a_project
from tests.support.server import served

ENDPOINTS, SCHEDULES, HOOK = "/api/v1/webhook-endpoints", "/api/v1/schedules", "http://127.0.0.1:9/hook"
UNGUARDED = {
    "team.revoke_invitation": "an invitation is made and taken back, never edited: there is nothing to lose",
    "me.end_session": "a session is begun and ended, never edited",
    "webhook-endpoint-keys.revoke_endpoint_key": "a key is made and revoked, never edited",
    "webhook-keys.revoke_team_key": "a key is made and revoked, never edited",
    "identities.unlink": "a link is made and unmade, never edited",
    "system.revoke": "a role is granted and revoked, never edited",
}
"""Writes that heed no If-Match, each with its reason; they refuse it."""
MAKES = "it makes something new, and changes nothing that somebody may have read"
TOKEN = "what is sent is used up by it: a second one is refused"
TO_A_STATE = "it brings about a state, whichever it is in: a second one finds it there, or is refused"
ONCE = "only one state allows it, and it leaves that state: of two the second is refused or changes nothing"
OWN_CHECK = "it takes what only its user knows as it is now: a password, a code"
POSTS = {
    MAKES: {
        "batches.submit_batch", "bulk.begin_bulk", "files.upload", "holds.create_hold", "jobs.submit",
        "keys.create_key", "schedules.create_schedule", "system.grant", "teams.create_team",
        "webhook-endpoint-keys.add_endpoint_key", "webhook-endpoints.create_endpoint", "webhook-keys.add_team_key",
        "webhook-portal-links.create_portal_link", "webhook-replays.begin_replay", "sign-in.sign_in_user",
        "sign-in.sign_up", "sign-in.ask_to_reset", "sign-in.ask_to_verify", "identities.begin_link", "me.enrol",
        # of an object that is there, which stays as it is
        "lineage.fork_job", "lineage.retry_job", "schedules.run_schedule", "webhook-deliveries.resend_delivery",
        "webhook-endpoints.recover_endpoint", "webhook-endpoints.send_test",
        # a key beside those that there are, which end with the overlap; of an address that is invited, another token
        "keys.rotate_key", "webhook-key-rotations.rotate_endpoint_key", "webhook-key-rotations.rotate_team_key",
        "team.invite",
    },
    TOKEN: {
        "sign-in.accept_as_new", "sign-in.reset_password", "sign-in.verify_email", "sign-in.refresh", "teams.accept",
        "oidc.finish",
    },
    TO_A_STATE: {
        "batches.cancel_batch", "bulk.cancel_bulk", "jobs.cancel_job", "webhook-replays.cancel_replay",
        "queues.pause_queue", "queues.resume_queue", "schedules.pause_schedule", "schedules.resume_schedule",
        "webhook-endpoints.pause_endpoint", "webhook-endpoints.resume_endpoint", "system.disable_user",
        "system.enable_user", "system.remove_second_factor", "team.leave", "sign-in.sign_out", "moves.move_job",
        "moves.move_jobs",
    },
    ONCE: {"budgets.approve_job", "jobs.give_input", "projects.resolve_conflict"},
    OWN_CHECK: {"me.change_password", "me.confirm", "me.remove", "me.renew_recovery_codes"},
    "it says of each endpoint what is to become of it, by the uid that the export gave": {
        "webhook-endpoint-exchange.import_endpoints",
    },
    "it is the older way of a PUT that takes conditions": {"projects.share"},
}  # fmt: skip
"""POSTs that heed no If-Match, by the reason; they refuse it."""


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


def share(caller, **_):
    partner = identity.ensure_team("partners")
    path = f"/api/v1/projects/{a_project(caller.team_id).project_id}/shares/{partner}"
    assert caller.put(path, json={"access": "read"}).status_code == 201
    return path, {"access": "write"}


def tier(owner, **_):
    return f"/api/v1/system/teams/{owner.team}/tier", {"tier": "free", "otherwise": {"projects": 7}}


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
    "projects.put_share": share, "projects.unshare": share, "system.put_team_tier": tier,
    "webhook-portal-links.revoke_portal_link": link, "team.rename_team": team, "team.change_role": member,
    "team.remove_member": member, "me.rename_me": me,
}  # fmt: skip
OF_USERS = {team, member, me}


def writes(*methods):
    """Endpoint and method of every route that changes what is there."""
    for rule in create_app().url_map.iter_rules():
        for method in sorted(rule.methods & set(methods or ("PUT", "PATCH", "DELETE"))):
            if rule.endpoint.partition(".")[0] not in conditions.OWN_DOORS:
                yield rule.endpoint, method


def test_every_write_heeds_if_match_or_says_why_not(application):
    with application.app_context():
        guarded = {name for name, _ in writes() if conditions.is_guarded(name)}
    assert {name for name, _ in writes()} == guarded | UNGUARDED.keys()
    assert guarded == MADE.keys()


def test_every_post_heeds_if_match_or_says_why_not(application):
    with application.app_context():
        guarded = {name for name, _ in writes("POST") if conditions.is_guarded(name)}
    told = [name for names in POSTS.values() for name in names]
    assert sorted(told) == sorted(name for name, _ in writes("POST"))
    assert guarded == set()


@pytest.mark.parametrize(("name", "method"), [one for one in writes() if one[0] in MADE])
def test_an_edit_is_done_only_to_what_was_read(caller, rig, owner, admin, name, method):
    who = admin() if MADE[name] is tier else owner if MADE[name] in OF_USERS else caller
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


def made_at_once(app, path, body):
    """What four callers hear who each make the same thing at once, if it is not there yet: how often each status."""
    at_once, seen = threading.Barrier(4), Counter()

    def make():
        own = Caller(app)
        at_once.wait()
        seen[own.put(path, json=body, headers={"If-None-Match": "*"}).status_code] += 1

    threads = [threading.Thread(target=make) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return seen


def test_a_limit_is_made_only_where_there_is_none(app, caller, rig):
    path = "/api/v1/limits/probe.double"
    assert caller.put(path, json={"max_running": 1}, headers={"If-Match": "*"}).status_code == 412
    assert made_at_once(app, path, {"max_running": 1}) == {200: 1, 412: 3}
    refused = caller.put(path, json={"max_running": 1}, headers={"If-None-Match": '"a"'})
    assert refused.json["errors"][0]["rule"] == "entity-tag"


def test_a_share_is_changed_only_as_it_was_read(app, caller, rig):
    path, _ = share(caller)
    tag = caller.get(path).headers["ETag"]

    def put(access, **condition):
        return caller.put(path, json={"access": access}, headers=condition).status_code

    assert put("write", **{"If-None-Match": "*"}) == 412
    assert put("write", **{"If-Match": '"other"'}) == 412
    assert put("write", **{"If-Match": tag}) == 200
    assert put("read", **{"If-Match": tag}) == 412, "somebody was first"
    assert caller.get(path).json["access"] == "write"
    assert caller.delete(path, headers={"If-Match": tag}).status_code == 412
    assert caller.delete(path).status_code == 204
    assert caller.get(path).status_code == 404
    assert put("read", **{"If-Match": "*"}) == 412
    assert made_at_once(app, path, {"access": "read"}) == {201: 1, 412: 3}


def test_the_tag_of_a_team_is_good_for_its_tier_and_outlives_what_others_do(admin, owner, as_landed):
    boss, path = admin(), f"/api/v1/system/teams/{owner.team}"
    tag = boss.get(path).headers["ETag"]
    tiers.set_tier("free", {"projects": 12})  # the operator's: no edit of this team
    owner.post("/api/v1/keys", json={"name": "k", "scopes": ["jobs:read"]}, headers={"Agora-Version": NEWEST})
    shown = boss.get(path, headers={"If-None-Match": tag})
    assert (shown.status_code, shown.json["keys"]) == (200, 1)

    def put(tier_):
        return boss.put(f"{path}/tier", json={"tier": tier_}, headers={"If-Match": tag})

    assert put("free").status_code == 200
    assert (put("pro").status_code, boss.get(path).json["tier"]) == (412, "free")


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
    shares = f"{share(caller)[0].rpartition('/')[0]}"
    for method, target in (("post", f"{path}/pause"), ("delete", f"{path}/keys/whk_x"), ("post", shares)):
        refused = getattr(caller, method)(target, headers={"If-Match": "*"})
        assert (refused.status_code, refused.json["errors"][0]["rule"]) == (422, "no-condition")
    assert caller.get(path).json["status"] == "active"


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
