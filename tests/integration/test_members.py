"""Teams of users: roles, invitations, and an owner who stays."""

import email
import email.policy
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from agora.clock import now
from agora.db.session import transaction
from agora.errors import Conflict
from agora.idempotency.models import AuthIdempotencyRow
from agora.identity import duties, invitations, members
from agora.identity.models import InvitationRow, MemberRow, TeamRow, UserRow
from agora.identity.roles import Role
from agora.teams.erase import erase_team
from tests.support import people
from tests.support.locks import until_waiting
from tests.support.people import PASSWORD, Browser

TEAM, MEMBERS, INVITATIONS = "/api/v1/team", "/api/v1/team/members", "/api/v1/team/invitations"


@pytest.fixture
def post(setting, tmp_path):
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")

    def token():
        duties.send_mails()
        newest = max((tmp_path / "mail").glob("*.eml"))
        message = email.message_from_bytes(newest.read_bytes(), policy=email.policy.default)
        return re.search(r"^ {4}(\S+)\s*$", message.get_content(), re.MULTILINE)[1]

    return token


@pytest.fixture
def owner(app):
    """Somebody with a team of several."""
    browser = Browser(app, people.sign_up())
    browser.team = browser.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    return browser


def joined(app, owner, role):
    """A member of the owner's team, in this role."""
    person = people.sign_up()
    with transaction("auth") as session:
        session.add(MemberRow(team_id=owner.team, user_id=person.id, role=role))
    browser = Browser(app, person)
    browser.team, browser.person = owner.team, person
    return browser


def test_a_team_is_made_chosen_and_renamed(owner):
    assert owner.get(TEAM).json["name"] == "Acme"
    assert owner.get(TEAM).json["role"] == "owner"
    assert owner.patch(TEAM, json={"name": "Acme Inc"}).json["name"] == "Acme Inc"
    assert [one["name"] for one in owner.get("/api/v1/teams").json["items"]] == ["Ada", "Acme Inc"]
    assert owner.patch(TEAM, json={"name": "  "}).status_code == 422


def test_a_team_of_others_is_not_there(app, owner):
    stranger = Browser(app, people.sign_up())
    stranger.team = owner.team
    for path in (TEAM, "/api/v1/jobs", MEMBERS):
        assert (stranger.get(path).status_code, stranger.get(path).json["code"]) == (404, "not-found")
    stranger.team = "acme"
    assert stranger.get(TEAM).status_code == 422


def test_a_key_names_no_other_team_than_its_own(caller, owner):
    assert caller.get("/api/v1/jobs", headers={"Agora-Team": caller.team_id}).status_code == 200
    assert caller.get("/api/v1/jobs", headers={"Agora-Team": owner.team}).status_code == 404


@pytest.mark.parametrize(
    ("role", "reads", "submits", "approves", "manages"),
    [("owner", True, True, True, True), ("lead", True, True, True, False), ("developer", True, True, False, False),
     ("viewer", True, False, False, False)],
)  # fmt: skip
def test_what_a_role_may(app, owner, role, reads, submits, approves, manages):
    browser = joined(app, owner, role)
    body = {"agent": "nobody", "action": "x", "input": {}}
    assert (browser.get("/api/v1/jobs").status_code == 200) is reads
    assert (browser.post("/api/v1/jobs", json=body).status_code == 422) is submits  # else 403
    assert (browser.get("/api/v1/keys").status_code == 200) is approves
    assert (browser.get(INVITATIONS).status_code == 200) is manages
    assert browser.post("/api/v1/queues/cpu/pause").status_code == 403  # of all teams: no role has it


def test_nobody_makes_a_key_that_may_more_than_themselves(app, owner):
    lead = joined(app, owner, "lead")
    for scopes, status in ((["jobs:write"], 201), (["*"], 403), (["team:manage"], 403), (["queues:write"], 403)):
        made = lead.post("/api/v1/keys", json={"name": "k", "scopes": scopes})
        assert made.status_code == status, (scopes, made.json)
    assert owner.post("/api/v1/keys", json={"name": "k", "scopes": ["*"]}).status_code == 201
    assert owner.post("/api/v1/keys", json={"name": "k", "scopes": ["queues:write"]}).status_code == 403


def test_a_role_is_changed_and_counts_at_once(app, owner):
    member = joined(app, owner, "viewer")
    assert member.get("/api/v1/keys").status_code == 403
    path = f"{MEMBERS}/{member.person.id}"
    assert member.patch(path, json={"role": "owner"}).status_code == 403
    assert owner.patch(path, json={"role": "lead"}).json["role"] == "lead"
    assert member.get("/api/v1/keys").status_code == 200
    assert owner.delete(path).status_code == 204
    assert member.get(TEAM).status_code == 404
    assert owner.patch(path, json={"role": "lead"}).status_code == 404


def test_the_last_owner_stays(app, owner):
    me = owner.get("/api/v1/me").json["id"]
    for refused in (owner.post(f"{TEAM}/leave"), owner.delete(f"{MEMBERS}/{me}"),
                    owner.patch(f"{MEMBERS}/{me}", json={"role": "viewer"})):  # fmt: skip
        assert (refused.status_code, refused.json["code"]) == (409, "conflict")
    second = joined(app, owner, "owner")
    assert owner.post(f"{TEAM}/leave").status_code == 204
    assert second.post(f"{TEAM}/leave").status_code == 409


def test_two_owners_who_leave_at_once_do_not_both(app, owner):
    second = joined(app, owner, "owner")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: one.post(f"{TEAM}/leave").status_code, (owner, second)))
    assert sorted(answers) == [204, 409]


def test_nobody_leaves_their_own_team(app):
    assert Browser(app, people.sign_up()).post(f"{TEAM}/leave").status_code == 409


def test_the_database_keeps_an_owner_whoever_writes(app, owner):
    with pytest.raises(IntegrityError), transaction("auth") as session:
        session.query(MemberRow).filter_by(team_id=owner.team).delete()


def test_who_is_in_many_teams_makes_no_other_one(app, owner, monkeypatch):
    """Also in those that are another's: else who hands one over would make the next."""
    monkeypatch.setattr(members, "MOST_TEAMS", 3)
    member = joined(app, owner, "viewer")
    key = {"Idempotency-Key": "k1"}
    assert member.post("/api/v1/teams", json={"name": "Third"}, headers=key).status_code == 201
    refused = member.post("/api/v1/teams", json={"name": "Fourth"})
    assert (refused.status_code, refused.json["code"]) == (409, "conflict")
    assert "you are in 3 teams" in refused.json["detail"]
    assert member.post("/api/v1/teams", json={"name": "Third"}, headers=key).status_code == 201  # a repeat
    assert member.post(f"{TEAM}/leave").status_code == 204
    member.team = None
    assert member.post("/api/v1/teams", json={"name": "Fourth"}).status_code == 201


def test_teams_that_are_made_at_once_are_bounded_too(app, owner, monkeypatch):
    monkeypatch.setattr(members, "MOST_TEAMS", 3)
    me = owner.get("/api/v1/me").json["id"]
    with ThreadPoolExecutor(2) as pool:
        with transaction("auth") as session:
            session.get(UserRow, me, with_for_update=True)
            asked = [pool.submit(owner.post, "/api/v1/teams", json={"name": "New"}) for _ in range(2)]
            until_waiting(2, database="auth")
        assert sorted(one.result(10).status_code for one in asked) == [201, 409]


# --- invitations


def test_an_invitation_is_accepted_by_whom_it_is_for(app, owner, post):
    guest, other = people.sign_up(), people.sign_up()
    made = owner.post(INVITATIONS, json={"email": guest.email.upper(), "role": "developer"})
    assert (made.status_code, made.json["email"]) == (201, guest.email)
    token = post()
    assert Browser(app, other).post("/api/v1/teams/accept", json={"token": token}).status_code == 422
    browser = Browser(app, guest)
    assert browser.post("/api/v1/teams/accept", json={"token": token}).json["role"] == "developer"
    assert browser.post("/api/v1/teams/accept", json={"token": token}).status_code == 422
    assert owner.get(INVITATIONS).json["items"] == []
    assert {one["role"] for one in owner.get(MEMBERS).json["items"]} == {"owner", "developer"}
    again = owner.post(INVITATIONS, json={"email": guest.email, "role": "owner"})
    assert (again.status_code, again.json["code"]) == (409, "conflict")


def test_an_invitation_makes_an_account_on_a_closed_platform(app, owner, post, setting):
    setting("AGORA_SIGN_UP", "closed")
    owner.post(INVITATIONS, json={"email": "new@example.test", "role": "viewer"})
    body = {"token": post(), "password": PASSWORD, "name": "Neo"}
    browser = Browser(app)
    assert browser.post("/api/v1/auth/accept-invitation", json=body | {"password": "password1234"}).status_code == 422
    made = browser.post("/api/v1/auth/accept-invitation", json=body)
    assert (made.status_code, made.json["email"]) == (201, "new@example.test")
    assert made.json["verified_at"]
    browser.sign_in(people.Person(id="", email="new@example.test"))
    browser.team = owner.team
    assert browser.get(TEAM).json["role"] == "viewer"
    assert browser.post("/api/v1/auth/accept-invitation", json=body).status_code == 422


def test_whoever_has_an_account_accepts_with_it(app, owner, post):
    guest = people.sign_up()
    owner.post(INVITATIONS, json={"email": guest.email, "role": "viewer"})
    token = post()
    refused = Browser(app).post("/api/v1/auth/accept-invitation", json={"token": token, "password": PASSWORD})
    assert refused.status_code == 409
    assert Browser(app, guest).post("/api/v1/teams/accept", json={"token": token}).status_code == 200


def test_an_invitation_that_was_revoked_replaced_or_has_run_out_is_void(app, owner, post):
    guest = people.sign_up()
    browser = Browser(app, guest)

    def invited(role="viewer"):
        return owner.post(INVITATIONS, json={"email": guest.email, "role": role}).json["id"], post()

    first_id, first = invited()
    second_id, second = invited("lead")
    assert browser.post("/api/v1/teams/accept", json={"token": first}).status_code == 422
    assert [one["id"] for one in owner.get(INVITATIONS).json["items"]] == [second_id]
    assert owner.delete(f"{INVITATIONS}/{second_id}").status_code == 204
    assert owner.delete(f"{INVITATIONS}/{second_id}").status_code == 404
    assert browser.post("/api/v1/teams/accept", json={"token": second}).status_code == 422
    third_id, third = invited()
    with transaction("auth") as session:
        session.get(InvitationRow, third_id).expires_at = now() - timedelta(seconds=1)
    assert browser.post("/api/v1/teams/accept", json={"token": third}).status_code == 422
    assert first_id


def test_a_forged_invitation_is_refused(app, owner, post):
    guest = people.sign_up()
    owner.post(INVITATIONS, json={"email": guest.email, "role": "viewer"})
    name, expiry, mac = post().split(".")
    with transaction("auth") as session:
        session.get(InvitationRow, name).role = Role.OWNER  # as if somebody could write a row, but not sign
    for bad in (f"{name}.{expiry}.{mac}", f"{name}.{expiry}.{'0' * 64}", f"{name}.{expiry}", "inv_x.1.y", "x"):
        assert Browser(app, guest).post("/api/v1/teams/accept", json={"token": bad}).status_code == 422


def test_invitations_of_other_teams_are_out_of_reach(app, owner, post):
    made = owner.post(INVITATIONS, json={"email": "guest@example.test", "role": "viewer"}).json
    stranger = Browser(app, people.sign_up())
    assert stranger.delete(f"{INVITATIONS}/{made['id']}").status_code == 404
    assert stranger.get(INVITATIONS).json["items"] == []
    assert stranger.delete(f"{MEMBERS}/{owner.get('/api/v1/me').json['id']}").status_code == 404


def test_open_invitations_are_bounded(owner, post, monkeypatch):
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    answers = [
        owner.post(INVITATIONS, json={"email": f"g{number}@example.test", "role": "viewer"}).status_code
        for number in range(3)
    ]
    assert answers == [201, 201, 409]


def test_rights_end_with_those_who_gave_them(app, owner, post):
    """An owner who goes takes their open invitations along: a second address of theirs stays out."""
    second, alias = joined(app, owner, "owner"), people.sign_up()
    second.post(INVITATIONS, json={"email": alias.email, "role": "owner"})
    token = post()
    assert owner.delete(f"{MEMBERS}/{second.person.id}").status_code == 204
    assert Browser(app, alias).post("/api/v1/teams/accept", json={"token": token}).status_code == 422


def test_invitations_that_have_run_out_do_not_count(app, owner, post, monkeypatch):
    monkeypatch.setattr(invitations, "MOST_OPEN", 1)
    made = owner.post(INVITATIONS, json={"email": "a@example.test", "role": "viewer"}).json
    with transaction("auth") as session:
        session.get(InvitationRow, made["id"]).expires_at = now() - timedelta(seconds=1)
    assert owner.post(INVITATIONS, json={"email": "b@example.test", "role": "viewer"}).status_code == 201


def test_nobody_is_demoted_in_their_own_team(app):
    host, guest = Browser(app, people.sign_up()), people.sign_up()
    me = host.get("/api/v1/me").json["id"]
    own = host.get("/api/v1/teams").json["items"][0]["id"]
    with transaction("auth") as session:
        session.add(MemberRow(team_id=own, user_id=guest.id, role=Role.OWNER))
    other = Browser(app, guest)
    other.team = own
    assert other.patch(f"{MEMBERS}/{me}", json={"role": "viewer"}).status_code == 409
    assert other.delete(f"{MEMBERS}/{me}").status_code == 409


def test_a_claim_that_nobody_confirmed_does_not_keep_the_invited_out(app, owner, post):
    people.sign_up(email="new@example.test", verified=False)
    owner.post(INVITATIONS, json={"email": "new@example.test", "role": "viewer"})
    body = {"token": post(), "password": "the invited one's own words", "name": "Neo"}
    assert Browser(app).post("/api/v1/auth/accept-invitation", json=body).status_code == 201
    assert Browser(app).sign_in(people.Person(id="", email="new@example.test")).status_code == 401


def test_an_invitation_that_is_accepted_many_times_at_once_counts_once(app, owner, post):
    guest = people.sign_up()
    owner.post(INVITATIONS, json={"email": guest.email, "role": "viewer"})
    token, browser = post(), Browser(app, guest)
    with ThreadPoolExecutor(6) as pool:
        accept = lambda _: browser.post("/api/v1/teams/accept", json={"token": token}).status_code  # noqa: E731
        assert sorted(pool.map(accept, range(6))) == [200] + [422] * 5


def test_a_team_with_members_is_erased_and_so_is_a_persons_own_with_them(app, owner):
    member = joined(app, owner, "viewer")
    erase_team(owner.team)
    assert member.get(TEAM).status_code == 404
    own = member.post("/api/v1/me") and members.list_teams(member.person.id)[0].id
    erase_team(own)
    assert Browser(app).sign_in(member.person).status_code == 401
    with transaction("auth") as session:
        assert session.get(UserRow, member.person.id) is None


def test_the_own_team_of_somebodys_last_owner_is_not_erased(app, owner):
    me = owner.get("/api/v1/me").json["id"]
    own = members.list_teams(me)[0].id
    with pytest.raises(Conflict, match="last owner of another team"):
        erase_team(own)


# --- repeats


def test_a_team_that_is_asked_for_again_is_the_first(app, owner):
    key = {"Idempotency-Key": "k1"}
    first = owner.post("/api/v1/teams", json={"name": "New"}, headers=key)
    again = owner.post("/api/v1/teams", json={"name": "New"}, headers=key)
    assert (first.status_code, again.status_code, again.json) == (201, 201, first.json)
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    other_body = owner.post("/api/v1/teams", json={"name": "Newer"}, headers=key)
    assert (other_body.status_code, other_body.json["code"]) == (422, "idempotency-key-reused")
    somebody = joined(app, owner, Role.DEVELOPER)
    assert somebody.post("/api/v1/teams", json={"name": "New"}, headers=key).json["id"] != first.json["id"]
    assert len(owner.get("/api/v1/teams").json["items"]) == 3


def test_of_many_who_ask_at_once_with_one_key_one_team_comes(app, owner):
    def ask(_):
        return owner.post("/api/v1/teams", json={"name": "New"}, headers={"Idempotency-Key": "k1"}).json["id"]

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1


def test_an_invitation_that_is_asked_for_again_sends_no_other_mail(app, owner, post, tmp_path):
    body, key = {"email": "new@example.test", "role": "viewer"}, {"Idempotency-Key": "k1"}
    answers = [owner.post(INVITATIONS, json=body, headers=key) for _ in range(7)]
    assert {(one.status_code, one.json["id"]) for one in answers} == {(201, answers[0].json["id"])}
    post()
    assert len(list((tmp_path / "mail").glob("*.eml"))) == 1
    with transaction("auth") as session:
        session.query(AuthIdempotencyRow).update({"created_at": now() - timedelta(hours=25)})
    assert duties.forget_keys() == 1
    assert owner.post(INVITATIONS, json=body, headers=key).json["id"] != answers[0].json["id"]


@pytest.mark.parametrize("what", ["removed", "demoted"])
def test_who_changes_members_takes_the_team_before_its_invitations(app, owner, what):
    """As those do who invite and accept, and the trigger that keeps an owner: in another order they would deadlock."""
    second = joined(app, owner, "owner")
    invited = second.post(INVITATIONS, json={"email": "guest@example.test", "role": "viewer"}).json["id"]

    def change():
        if what == "removed":
            members.remove_member(owner.team, second.person.id)
        else:
            members.change_role(owner.team, second.person.id, Role.VIEWER)

    with ThreadPoolExecutor(1) as pool:
        with transaction("auth") as session:
            session.get(TeamRow, owner.team, with_for_update={"key_share": True})
            waits = pool.submit(change)
            until_waiting(database="auth")
            row = session.get(InvitationRow, invited, with_for_update={"nowait": True})
            assert row.revoked_at is None
        waits.result(10)
