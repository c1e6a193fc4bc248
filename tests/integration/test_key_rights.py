"""Rights end with their giver: keys and invitations of users who leave, are demoted, disabled or erased."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from agora.api_versions import NEWEST
from agora.audit.models import EntryRow
from agora.clock import now
from agora.db.session import transaction
from agora.identity import administrators, member_queries, operators, user_queries
from agora.identity import service as identity
from agora.identity.models import ApiKeyRow, MemberRow
from agora.teams.erase import erase_team
from tests.support import people
from tests.support.locks import until_waiting
from tests.support.people import Browser

JOBS, KEYS, MEMBERS = "/api/v1/jobs", "/api/v1/keys", "/api/v1/team/members"
INVITATIONS = "/api/v1/team/invitations"

SPEAKS = {"Agora-Version": NEWEST}


@pytest.fixture
def owner(app):
    """Somebody with a team of several."""
    browser = Browser(app, people.sign_up())
    browser.team = browser.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    return browser


@pytest.fixture
def lead(app, owner):
    """A lead of that team."""
    return joined(app, owner.team, "lead")


def joined(app, team_id, role):
    person = people.sign_up()
    with transaction("auth") as session:
        session.add(MemberRow(team_id=team_id, user_id=person.id, role=role))
    browser = Browser(app, person)
    browser.team, browser.person = team_id, person
    return browser


class Key:
    """A key, and what is answered to whoever has it."""

    def __init__(self, app, made):
        assert made.status_code == 201, made.json
        self.id, self._client = made.json["id"], app.test_client()
        self._sent = {"Authorization": f"Bearer {made.json['secret']}"} | SPEAKS

    def reads(self):
        """List jobs."""
        return self._client.get(JOBS, headers=self._sent).status_code

    def writes(self):
        """Submit a job that nobody can run: 422 if they may."""
        body = {"agent": "nobody", "action": "x", "input": {}}
        return self._client.post(JOBS, json=body, headers=self._sent).status_code

    def makes(self, *scopes):
        """Make a key; the answer."""
        return self._client.post(KEYS, json={"name": "made", "scopes": list(scopes)}, headers=self._sent)

    def invites(self, email):
        """Invite an owner; the answer."""
        return self._client.post(INVITATIONS, json={"email": email, "role": "owner"}, headers=self._sent)

    def rotates(self, other):
        """Rotate a key; the answer."""
        return self._client.post(f"{KEYS}/{other.id}/rotate", json={}, headers=self._sent)


def make(app, browser, *scopes):
    return Key(app, browser.post(KEYS, json={"name": "made", "scopes": list(scopes)}, headers=SPEAKS))


def erase(person):
    with transaction("auth") as session:
        own = user_queries.find_personal_team(session, person.id)
    erase_team(own)


def invited(browser):
    return {one["email"] for one in browser.get(INVITATIONS).json["items"]}


def revocations(team_id):
    with transaction("auth") as session:
        rows = session.query(EntryRow).filter_by(team_id=team_id, action="key.revoked")
        return {row.object_id: row.after.get("reason") for row in rows}


@pytest.mark.parametrize("how", ["removed", "left"])
def test_whoever_leaves_takes_their_keys_along_and_those_that_these_made(app, owner, lead, how):
    first = make(app, lead, "keys:manage", "jobs:read")
    second = Key(app, first.makes("keys:manage", "jobs:read"))
    third = Key(app, second.rotates(first))
    theirs = [first, second, third]
    kept = make(app, owner, "jobs:read", "keys:manage")
    handed_over = Key(app, kept.rotates(second))  # whoever rotates it knows the new text, and nobody else
    operators = identity.create_key(owner.team, "by the operator", ["jobs:read"]).plain
    elsewhere = Browser(app)
    elsewhere.tokens = lead.tokens
    own = make(app, elsewhere, "jobs:read")  # in their own team
    assert [one.reads() for one in theirs] == [200] * 3
    if how == "removed":
        assert owner.delete(f"{MEMBERS}/{lead.person.id}").status_code == 204
    else:
        assert lead.post("/api/v1/team/leave").status_code == 204
    assert [one.reads() for one in theirs] == [401] * 3
    assert [one.reads() for one in (kept, handed_over, own)] == [200] * 3
    assert app.test_client().get(JOBS, headers={"Authorization": f"Bearer {operators}"}).status_code == 200
    assert revocations(owner.team) == dict.fromkeys([one.id for one in theirs], "the user behind it left the team")
    listed = {one["id"] for one in owner.get(KEYS).json["items"] if one["revoked_at"]}
    assert listed == {one.id for one in theirs}


def test_the_chain_goes_through_keys_that_are_revoked_already(app, owner, lead):
    first = make(app, lead, "keys:manage", "jobs:read")
    second = Key(app, first.makes("jobs:read"))
    assert owner.delete(f"{KEYS}/{first.id}").status_code == 204
    assert second.reads() == 200
    assert owner.delete(f"{MEMBERS}/{lead.person.id}").status_code == 204
    assert second.reads() == 401
    assert revocations(owner.team) == {first.id: None, second.id: "the user behind it left the team"}


def test_a_removal_that_is_refused_revokes_nothing(app, owner):
    """The last owner stays, and so do their keys."""
    key = make(app, owner, "jobs:read")
    assert owner.delete(f"{MEMBERS}/{owner.get('/api/v1/me').json['id']}").status_code == 409
    assert (key.reads(), revocations(owner.team)) == (200, {})


def test_a_key_may_no_more_than_the_present_role_of_whoever_made_it(app, owner, lead):
    broad = make(app, lead, "keys:manage", "jobs:read", "jobs:write")
    of_it = Key(app, broad.makes("jobs:read", "jobs:write"))
    path = f"{MEMBERS}/{lead.person.id}"

    def seen():
        return [(one.reads(), one.writes()) for one in (broad, of_it)], broad.makes("jobs:read").status_code

    assert seen() == ([(200, 422)] * 2, 201)
    for role, expected in (("developer", ([(200, 422)] * 2, 403)), ("viewer", ([(200, 403)] * 2, 403)),
                           ("owner", ([(200, 422)] * 2, 201))):  # fmt: skip
        assert owner.patch(path, json={"role": role}).status_code == 200
        assert seen() == expected, role
    assert revocations(owner.team) == {}


def test_a_key_that_is_bounded_gives_no_more_than_that(app, owner, lead):
    second = joined(app, owner.team, "owner")
    broad = make(app, second, "keys:manage", "jobs:read", "team:manage")
    assert broad.makes("team:manage").status_code == 201
    assert owner.patch(f"{MEMBERS}/{second.person.id}", json={"role": "lead"}).status_code == 200
    assert broad.makes("team:manage").status_code == 403
    assert broad.rotates(broad).status_code == 403
    assert broad.makes("jobs:read").status_code == 201


@pytest.mark.parametrize("by", ["an administrator", "the operator"])
def test_a_disabled_account_has_no_keys_that_work_until_it_is_let_in_again(app, owner, lead, admin, by):
    key, other = make(app, lead, "jobs:read"), make(app, owner, "jobs:read")
    support = admin()

    def disable(*, disabled):
        if by == "the operator":
            operators.set_disabled(lead.person.email, disabled=disabled)
        else:
            what = "disable" if disabled else "enable"
            assert support.post(f"/api/v1/system/users/{lead.person.id}/{what}").status_code == 200

    assert key.reads() == 200
    disable(disabled=True)
    assert (key.reads(), other.reads()) == (401, 200)
    disable(disabled=False)
    assert key.reads() == 200
    assert revocations(owner.team) == {}


def test_the_keys_of_a_user_who_is_erased_are_revoked_in_every_team(app, owner, lead):
    key, other = make(app, lead, "jobs:read"), make(app, owner, "jobs:read")
    erase(lead.person)
    assert (key.reads(), other.reads()) == (401, 200)
    assert revocations(owner.team) == {key.id: "the user behind it left the team"}


@pytest.mark.parametrize("how", ["makes", "rotates"])
def test_no_key_is_made_while_its_maker_is_taken_out(app, owner, lead, how):
    """Whoever comes at the same time waits for the removal, and is refused then."""
    first = make(app, lead, "keys:manage", "jobs:read")
    other = make(app, owner, "jobs:read")
    assert first.reads() == 200  # now it is remembered
    with ThreadPoolExecutor(2) as pool:
        with transaction("auth") as session:
            member_queries.lock_team(session, team_id=owner.team)
            removed = pool.submit(owner.delete, f"{MEMBERS}/{lead.person.id}")
            until_waiting(1, database="auth")
            late = pool.submit(first.makes, "jobs:read") if how == "makes" else pool.submit(first.rotates, other)
            until_waiting(2, database="auth")
        assert removed.result().status_code == 204
        assert late.result().status_code == 403
    assert {one["id"] for one in owner.get(KEYS).json["items"] if not one["revoked_at"]} == {other.id}


def test_a_key_of_whoever_left_before_there_was_this_rule_goes_on(app, owner, lead):
    key = make(app, lead, "jobs:read")
    with transaction("auth") as session:
        session.delete(session.get(MemberRow, (owner.team, lead.person.id)))
    identity._remembered.clear()
    assert key.reads() == 200
    with transaction("auth") as session:
        administrators.disable(session, administrators.lock_user(session, lead.person.id))
    identity._remembered.clear()
    assert key.reads() == 401


# --- invitations


@pytest.mark.parametrize("how", ["removed", "left", "demoted", "erased"])
def test_open_invitations_end_with_their_giver_those_that_keys_gave_too(app, owner, how):
    """Else an owner who is taken out comes back by one: as an owner."""
    second = joined(app, owner.team, "owner")
    key = make(app, second, "*")
    of_it = Key(app, key.makes("keys:manage", "team:manage"))
    answers = [
        second.post(INVITATIONS, json={"email": "a@example.test", "role": "owner"}),
        key.invites("b@example.test"),
        of_it.invites("c@example.test"),
        make(app, owner, "*").invites("kept@example.test"),
    ]
    assert [one.status_code for one in answers] == [201] * 4
    with transaction("auth") as session:  # what a key gave outlives it, but not whoever stands behind it
        session.get(ApiKeyRow, of_it.id).expires_at = now() - timedelta(seconds=1)
    assert invited(owner) == {f"{name}@example.test" for name in ("a", "b", "c", "kept")}
    path = f"{MEMBERS}/{second.person.id}"
    if how == "removed":
        assert owner.delete(path).status_code == 204
    elif how == "left":
        assert second.post("/api/v1/team/leave").status_code == 204
    elif how == "demoted":
        assert owner.patch(path, json={"role": "lead"}).status_code == 200
    else:
        erase(second.person)
    assert invited(owner) == {"kept@example.test"}


def test_open_invitations_that_a_key_gave_end_when_it_is_revoked(app, owner):
    key = make(app, owner, "*")
    of_it = Key(app, key.makes("*"))
    for one, email in ((key, "a@example.test"), (of_it, "b@example.test")):
        assert one.invites(email).status_code == 201
    assert owner.delete(f"{KEYS}/{key.id}").status_code == 204
    assert (invited(owner), of_it.reads()) == ({"b@example.test"}, 200)


@pytest.mark.parametrize("by", ["a user", "a key"])
@pytest.mark.parametrize("how", ["removed", "demoted"])
def test_nobody_invites_while_they_are_taken_out_or_demoted(app, owner, how, by):
    """Whoever comes at the same time, and was let in, waits for that, and is refused then."""
    second = joined(app, owner.team, "owner")
    key, path = make(app, second, "*"), f"{MEMBERS}/{second.person.id}"
    body = {"email": "late@example.test", "role": "owner"}
    with ThreadPoolExecutor(2) as pool:
        with transaction("auth") as session:
            member_queries.lock_team(session, team_id=owner.team)
            if how == "removed":
                changed = pool.submit(owner.delete, path)
            else:
                changed = pool.submit(owner.patch, path, json={"role": "lead"})
            until_waiting(1, database="auth")
            if by == "a user":
                late = pool.submit(second.post, INVITATIONS, json=body)
            else:
                late = pool.submit(key.invites, body["email"])
            until_waiting(2, database="auth")
        assert changed.result().status_code in {200, 204}
        refused = late.result()
    assert (refused.status_code, refused.json["needed"]) == (403, "team:manage")
    assert invited(owner) == set()
