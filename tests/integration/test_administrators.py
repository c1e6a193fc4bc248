"""Administrators of the platform: what they see and do, and that the last super administrator stays."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from agora.cli.root import cli
from agora.client import Agora, ApiError
from agora.db.session import transaction
from agora.errors import Conflict
from agora.identity import admin_queries, administrators, members, principals
from agora.identity import service as identity
from agora.identity.models import SystemRoleRow, TeamRow, UserRow
from agora.identity.roles import SystemRole
from agora.teams.erase import erase_team
from tests.support import people
from tests.support.locks import until_waiting
from tests.support.people import Browser
from tests.support.server import served

SYSTEM = "/api/v1/system"


def act(browser, person, what):
    return browser.post(f"{SYSTEM}/users/{person.id}/{what}")


# --- what they see


def test_billing_puts_teams_into_tiers_and_support_does_not(app, admin, caller):
    billing = admin(SystemRole.BILLING)
    path = f"{SYSTEM}/teams/{caller.team_id}/tier"
    moved = billing.put(path, json={"tier": "free", "otherwise": {"projects": 7}})
    assert (moved.status_code, moved.json["tier"], moved.json["projects"]) == (200, "free", 7)
    shown = {one["quota"]: one["limit"] for one in caller.get("/api/v1/quotas").json["items"]}
    assert shown["projects"] == 7
    assert moved.json["otherwise"] == billing.get(path).json["otherwise"] == {"projects": 7}
    plain = billing.put(path, json={"tier": "free"}).json
    assert plain == billing.get(path).json
    of_team = {name: plain.pop(name) for name in ("team_id", "otherwise")}
    assert of_team == {"team_id": caller.team_id, "otherwise": {}}, "what was otherwise is so no more"
    assert plain in billing.get(f"{SYSTEM}/tiers").json["items"]
    assert billing.put(path, json={"tier": "none"}).status_code == 404
    assert billing.put(path, json={"tier": "free", "otherwise": {"members": -1}}).status_code == 422
    assert billing.put(f"{SYSTEM}/teams/team_01h455vb4pex5vsknk084sn02q/tier", json={"tier": "free"}).status_code == 404
    support = admin(SystemRole.SUPPORT)
    assert support.put(path, json={"tier": "free"}).status_code == 403
    assert support.get(path).json["tier"] == "free"
    assert admin(SystemRole.ANALYTICS).get(path).status_code == caller.get(path).status_code == 403
    assert caller.put(path, json={"tier": "free"}).status_code == 403


def test_a_look_at_a_user_waits_for_nobody_who_changes_them(admin):
    support, person = admin(SystemRole.SUPPORT), people.sign_up()
    with ThreadPoolExecutor(1) as pool, transaction("auth") as session:
        session.get(UserRow, person.id, with_for_update=True)
        looked = pool.submit(support.get, f"{SYSTEM}/users/{person.id}").result(timeout=10)
    assert (looked.status_code, looked.json["email"]) == (200, person.email)
    assert support.get(f"{SYSTEM}/users/usr_x").status_code == 404


def test_teams_are_counted_and_their_jobs_are_not_shown(app, admin, caller):
    boss, ada = admin(), Browser(app, people.sign_up())
    team_id = ada.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    shown = boss.get(f"{SYSTEM}/teams/{team_id}").json
    assert (shown["name"], shown["personal"], shown["members"], shown["keys"]) == ("Acme", False, 1, 0)
    assert {one["quota"]: one["used"] for one in shown["quotas"]} == {
        "projects": 0, "members": 1, "jobs_per_day": 0, "requests_per_minute": None, "storage_bytes": 0,
    }  # fmt: skip
    assert (shown["tier"], shown["otherwise"]) == ("enterprise", {})
    assert boss.get(f"{SYSTEM}/teams/{caller.team_id}").json["keys"] == 1
    listed, cursor = [], None
    while True:
        page = boss.get(f"{SYSTEM}/teams", query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
        listed += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert listed[0] == team_id
    assert len(listed) == len(set(listed)) == 4
    assert boss.get(f"{SYSTEM}/teams/team_01h455vb4pex5vsknk084sn02q").status_code == 404
    assert boss.get(f"{SYSTEM}/teams?cursor=x").json["errors"][0]["rule"] == "cursor"
    assert boss.get("/api/v1/jobs", headers={"Agora-Team": team_id}).status_code == 404


def test_users_are_listed_and_found_by_their_address(app, admin):
    boss, ada = admin(), people.sign_up()
    assert [one["id"] for one in boss.get(f"{SYSTEM}/users?limit=1").json["items"]] == [ada.id]
    [found] = boss.get(f"{SYSTEM}/users", query_string={"email": ada.email.upper()}).json["items"]
    assert (found["id"], found["system_roles"], found["second_factor"]) == (ada.id, [], False)
    assert boss.get(f"{SYSTEM}/users/{boss.person.id}").json["system_roles"] == ["super"]
    assert not {"password_hash", "totp_sealed"} & found.keys()
    assert boss.get(f"{SYSTEM}/users/nobody").status_code == 404


def test_usage_is_counts_only(app, admin):
    analyst = admin(SystemRole.ANALYTICS)
    people.sign_up()
    usage = analyst.get(f"{SYSTEM}/usage?days=3").json
    assert (usage["accounts"]["users"], usage["accounts"]["active"], usage["accounts"]["teams"]) == (2, 1, 2)
    assert usage["jobs"] == []
    assert analyst.get(f"{SYSTEM}/users").status_code == 403
    assert analyst.get(f"{SYSTEM}/usage?days=99").status_code == 422


# --- granting


def test_a_role_that_is_revoked_just_after_it_was_granted_was_granted(admin, monkeypatch):
    boss, person = admin(), people.sign_up()
    real = administrators.changing

    @contextmanager
    def another_revokes_it_then(*tags):
        with real(*tags):
            yield
        monkeypatch.setattr(administrators, "changing", real)
        administrators.revoke(person.id, SystemRole.SUPPORT)

    monkeypatch.setattr(administrators, "changing", another_revokes_it_then)
    granted = boss.post(f"{SYSTEM}/admins", json={"email": person.email, "role": "support"})
    assert (granted.status_code, granted.json["user_id"]) == (201, person.id)
    assert {one["user_id"] for one in boss.get(f"{SYSTEM}/admins").json["items"]} == {boss.person.id}


def test_a_role_is_granted_again_and_revoked_at_once(app):
    person = people.sign_up()
    administrators.grant(person.email, SystemRole.SUPPORT, by=None)
    with ThreadPoolExecutor(2) as pool:
        with transaction("auth") as session:
            session.get(UserRow, person.id, with_for_update=True)
            again = pool.submit(administrators.grant, person.email, SystemRole.SUPPORT, by=None)
            until_waiting(1, database="auth")
            revoked = pool.submit(administrators.revoke, person.id, SystemRole.SUPPORT)
            until_waiting(2, database="auth")
        assert (again.result(10).role, revoked.result(10)) == (SystemRole.SUPPORT, None)
    assert administrators.list_admins() == []


# --- what they do


def test_a_disabled_user_is_out_at_once_and_may_come_back(app, admin):
    support, person = admin(SystemRole.SUPPORT), people.sign_up()
    browser = Browser(app, person)
    assert browser.get("/api/v1/me").status_code == 200
    assert act(support, person, "disable").json["disabled_at"]
    assert browser.get("/api/v1/me").status_code == 401
    assert Browser(app).sign_in(person).status_code == 401
    assert act(support, person, "enable").json["disabled_at"] is None
    assert Browser(app).sign_in(person).status_code == 200


def test_a_lost_second_factor_is_taken_away_and_every_session_ends(app, admin):
    support, person = admin(SystemRole.SUPPORT), people.set_second_factor(people.sign_up())
    browser = Browser(app)
    browser.sign_in(person, code=person.code())
    assert act(support, person, "remove-second-factor").json["second_factor"] is False
    assert browser.get("/api/v1/me").status_code == 401
    assert Browser(app).sign_in(person).status_code == 200


@pytest.mark.parametrize("what", ["disable", "enable", "remove-second-factor"])
def test_support_has_no_power_over_administrators_and_nobody_over_themselves(admin, what):
    boss, support = admin(), admin(SystemRole.SUPPORT)
    refused = act(support, boss.person, what)
    assert (refused.status_code, refused.json["needed"]) == (403, "system:admins:manage")
    assert act(boss, boss.person, what).status_code == 403
    assert act(boss, support.person, what).status_code == 200


def test_roles_are_granted_and_taken_away_at_once(app, admin):
    boss, person = admin(), people.set_second_factor(people.sign_up())
    browser = Browser(app)
    browser.sign_in(person, code=person.code())
    assert browser.get(f"{SYSTEM}/users").status_code == 403
    granted = boss.post(f"{SYSTEM}/admins", json={"email": person.email, "role": "support"})
    assert (granted.status_code, granted.json["granted_by"]) == (201, boss.person.id)
    assert browser.get(f"{SYSTEM}/users").status_code == 200
    again = boss.post(f"{SYSTEM}/admins", json={"email": person.email, "role": "support"})
    assert again.json["created_at"] == granted.json["created_at"]
    assert len(boss.get(f"{SYSTEM}/admins").json["items"]) == 2
    assert browser.post(f"{SYSTEM}/admins", json={"email": person.email, "role": "super"}).status_code == 403
    role = f"{SYSTEM}/admins/{person.id}/support"
    assert boss.delete(role).status_code == 204
    assert browser.get(f"{SYSTEM}/users").status_code == 403
    assert boss.delete(role).status_code == 404
    assert boss.delete(f"{SYSTEM}/admins/{person.id}/king").status_code == 422


def test_whose_address_is_not_confirmed_becomes_no_administrator(app, admin):
    boss, person = admin(), people.sign_up(verified=False)
    refused = boss.post(f"{SYSTEM}/admins", json={"email": person.email, "role": "support"})
    assert refused.status_code == 409
    unknown = boss.post(f"{SYSTEM}/admins", json={"email": "nobody@example.test", "role": "support"})
    assert unknown.status_code == 404


def test_a_role_ends_with_the_second_factor(app, admin):
    boss = admin()
    body = {"password": boss.person.password, "code": boss.person.recovery_codes[0]}
    assert boss.post("/api/v1/me/second-factor/remove", json=body).status_code == 204
    assert boss.get(f"{SYSTEM}/users").json["code"] == "second-factor-required"
    principals.forget()
    assert boss.get(f"{SYSTEM}/users").json["code"] == "second-factor-required"


def test_support_may_pause_queues_and_makes_no_key_that_may(app, admin):
    support = admin(SystemRole.SUPPORT)
    assert support.post("/api/v1/queues/nothing/pause", json={}).status_code == 404
    refused = support.post("/api/v1/keys", json={"name": "k", "scopes": ["queues:write"]})
    assert refused.status_code == 403
    assert "system:users:read" not in identity.SCOPES


def test_the_client_does_it_with_an_access_token(app, admin):
    boss, ada = admin(), people.sign_up()
    with served(app) as url, Agora(url, boss.tokens["access_token"]) as us:
        assert us.me()["recovery_codes"] == len(us.renew_recovery_codes(boss.person.password)) == 10
        assert us.all_users(email=ada.email)["items"][0]["id"] == ada.id
        assert us.disable_user(ada.id)["disabled_at"]
        assert us.enable_user(ada.id)["disabled_at"] is None
        assert us.remove_second_factor_of(ada.id)["second_factor"] is False
        assert us.grant_admin(ada.email, "billing")["role"] == "billing"
        assert len(us.admins()) == 2
        us.revoke_admin(ada.id, "billing")
        assert us.platform_usage(days=2)["accounts"]["users"] == 2
        assert len(us.all_teams(limit=1)["items"]) == 1
        team_id = us.team()["id"]
        read = us.get_team_tier(team_id)
        assert us.put_team_tier(team_id, "free", if_match=read.etag, members=4)["members"] == 4
        with pytest.raises(ApiError) as refused:
            us.put_team_tier(team_id, "pro", if_match=read.etag)
        assert refused.value.code == "precondition-failed"
        assert us.get_any_team(team_id)["otherwise"] == {"members": 4}
        made = us.create_team("Acme")
        assert made["id"] in {one["id"] for one in us.teams()}
        assert len(us.sessions()) == 1
        assert us.team()["personal"] is True
        assert [one["role"] for one in us.members()] == ["owner"]
        invited = us.invite(ada.email, "viewer")
        assert [one["id"] for one in us.invitations()] == [invited["id"]]
        us.revoke_invitation(invited["id"])
        assert us.invitations() == []


# --- the last one


def test_the_last_super_administrator_stays(admin):
    boss = admin()
    mine = f"{SYSTEM}/admins/{boss.person.id}/super"
    refused = boss.delete(mine)
    assert (refused.status_code, refused.json["code"]) == (409, "conflict")
    other = admin()
    assert boss.delete(mine).status_code == 204
    with pytest.raises(Conflict):
        administrators.revoke(other.person.id, SystemRole.SUPER)


@pytest.mark.parametrize("how", ["delete", "change", "disable", "erase"])
def test_the_database_keeps_a_super_whoever_writes(admin, how):
    person = admin().person

    def write(session):
        row = session.get(SystemRoleRow, (person.id, "super"))
        if how == "delete":
            session.delete(row)
        elif how == "change":
            row.role = "support"
        elif how == "disable":
            session.get(UserRow, person.id).disabled_at = administrators.now()
        else:
            session.delete(session.get(UserRow, person.id))

    if how == "erase":
        with transaction("auth") as session:
            team_id = session.query(TeamRow.id).filter(TeamRow.personal_of == person.id).scalar()
        with pytest.raises(Conflict, match="last super administrator"):
            erase_team(team_id)
    with pytest.raises(IntegrityError, match="keep a super"), transaction("auth") as session:
        write(session)
    with transaction("auth") as session:
        session.add(SystemRoleRow(user_id=people.sign_up().id, role="super"))
        write(session)


def test_a_super_who_is_disabled_is_none(admin):
    boss, other = admin(), admin()
    assert act(boss, other.person, "disable").status_code == 200
    assert boss.delete(f"{SYSTEM}/admins/{boss.person.id}/super").status_code == 409


def test_of_two_who_go_at_once_one_stays(admin):
    """The second waits for the first, of whom it cannot see yet that they go."""
    first, second = admin().person.id, admin().person.id
    said = []

    def go():
        try:
            administrators.revoke(second, SystemRole.SUPER)
            said.append("gone")
        except Conflict:
            said.append("stays")

    thread = threading.Thread(target=go)
    with transaction("auth") as session:
        admin_queries.revoke(session, user_id=first, role="super")
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        thread.start()
        thread.join(0.3)
        assert said == []
    thread.join(20)
    assert said == ["stays"]


# --- the command line


def run(*arguments):
    return CliRunner().invoke(cli, ["admins", *arguments])


def test_the_operator_makes_the_first_one(app, db):
    person = people.sign_up()
    made = run("grant", person.email, "super")
    assert "must set a second factor up" in made.output
    assert person.email in run("list").output
    assert '"role": "super"' in run("list", "--json").output
    assert isinstance(run("revoke", person.email, "super").exception, Conflict)
    assert isinstance(CliRunner().invoke(cli, ["users", "disable", person.email]).exception, Conflict)
    run("grant", people.sign_up().email, "super")
    assert run("revoke", person.email, "super").exit_code == 0
    assert members.list_teams(person.id)
