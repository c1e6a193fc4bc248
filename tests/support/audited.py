"""Makes each action of the audit log happen, as people and programs do it; returns the id of what it was done to."""

import hashlib
from functools import cached_property
from itertools import count

import pyotp

from agora.agents import StepContext, WaitFor
from agora.api_versions import OLDEST
from agora.audit import duties
from agora.audit.models import EntryRow
from agora.cli import run
from agora.db.session import transaction
from agora.identity import duties as identity_duties
from agora.outcomes import Permanent
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import PASSWORD, Browser
from tests.support.probes import Number, agent_with

API = "/api/v1"
HOOKS = f"{API}/webhook-endpoints"
NEW_PASSWORD = "seven grey herons under an iron bridge"
SECRET_HEADER = "Bearer only-the-receiver-may-know"
MAKERS = {}
"""By action: the function that makes it happen, the kind of its actor, and whether it is the platform's."""

TOLD_ONCE = []
"""Secrets that answers showed."""


def makes(action, *, by="key", platform=False):
    def keep(maker):
        MAKERS[action] = maker, by, platform
        return maker

    return keep


def asks(_: StepContext[Number]) -> WaitFor:
    return WaitFor({"type": "integer"}, "How many?")


def pays(ctx: StepContext[Number]) -> int:
    ctx.use(tokens_in=60, cost_usd="0.25", model="m")
    return 1


def fails(_: StepContext[Number]) -> int:
    raise Permanent("broken", code="broken")


def begins(_: StepContext[Number]) -> int:
    return 1


def ends(_: StepContext[Number]) -> Number:
    return Number()


AGENT = agent_with(plain=[begins, ends], ask=[asks, ends], pay=[pays, ends], fail=[fails, ends])
_second = AGENT.action("plain", input=Number, output=Number, version=2)
for _step in (begins, ends):
    _second.step(_step)
NUMBERS = count(1)


class World:
    """A team with a key, and an owner of another who signed in. ``mailed()`` is the token of the newest mail."""

    def __init__(self, app, rig, mailed, folder, provider):
        number = next(NUMBERS)
        self.app, self.rig, self.mailed, self.provider = app, rig, mailed, provider
        self.folder = folder / str(number)
        self.caller = Caller(app, team=f"t{number}", scopes=("*", "queues:write"))
        rig.team_id = self.caller.team_id
        self.address = f"10.0.0.{number % 250 + 1}"  # what is counted by address does not stop these tests

    @cached_property
    def person(self):
        return people.sign_up()

    @cached_property
    def owner(self):
        made = self.browser(self.person)
        made.team = self.made(made.post(f"{API}/teams", json={"name": "Acme"}))
        return made

    @property
    def teams(self):
        """The ids of those that were needed."""
        return {self.caller.team_id, *([self.owner.team] if "owner" in vars(self) else [])}

    def browser(self, person=None):
        """Somebody's browser, here."""
        return Browser(self.app, person, address=self.address)

    @staticmethod
    def made(answer):
        """The id of what an answer shows."""
        assert answer.status_code < 300, answer.text
        return answer.json["id"]

    def post(self, path, body=None, **options):
        answer = self.caller.post(f"{API}{path}", json=body or {}, **options)
        assert answer.status_code < 300, answer.text
        TOLD_ONCE.extend(answer.json[name] for name in ("plain", "secret") if answer.json.get(name))
        return answer.json

    def job(self, action="plain", **more):
        made = self.post("/jobs", {"agent": "probe", "action": action, "input": {}, **more})["id"]
        if action != "plain":
            self.rig.run()
        return made

    def endpoint(self, **more):
        return self.post("/webhook-endpoints", {"url": "https://127.0.0.1/hook", **more})["id"]

    def schedule(self):
        body = {"name": "nightly", "agent": "probe", "action": "plain", "version": 1, "every": 3600, "input": {"n": 1}}
        return self.post("/schedules", body)["id"]

    def delivery(self):
        return self.post(f"/webhook-endpoints/{self.endpoint()}/test")["id"]

    def member(self, role="viewer"):
        """Somebody who has joined the owner's team by an invitation; their browser."""
        person = people.sign_up()
        self.owner.post(f"{API}/team/invitations", json={"email": person.email, "role": role})
        browser = self.browser(person)
        assert browser.post(f"{API}/teams/accept", json={"token": self.mailed()}).status_code == 200
        browser.team, browser.person = self.owner.team, person
        return browser

    def entries(self, action, team_id=None):
        """Entries of an action, once main's have been copied; of any team that is not the platform."""
        while duties.copy_entries() + identity_duties.spread_entries():
            pass
        with transaction("auth") as session:
            found = session.query(EntryRow).filter(EntryRow.action == action).order_by(EntryRow.id).all()
        return [one for one in found if team_id is None or one.team_id == team_id]


@makes("key.created")
def _(w):
    return w.post("/keys", {"name": "ci", "scopes": ["jobs:read"]})["id"]


@makes("key.pinned")
def _(w):
    made = w.post("/keys", {"name": "ci", "scopes": ["jobs:read"]})["id"]
    assert w.caller.patch(f"{API}/keys/{made}", json={"api_version": OLDEST}).status_code == 200
    return made


@makes("key.rotated")
def _(w):
    return w.post(
        f"/keys/{w.post('/keys', {'name': 'ci', 'scopes': ['jobs:read']})['id']}/rotate", {"overlap_seconds": 60}
    )["id"]


@makes("key.revoked")
def _(w):
    made = w.post("/keys", {"name": "ci", "scopes": ["jobs:read"]})["id"]
    assert w.caller.delete(f"{API}/keys/{made}").status_code == 204
    return made


@makes("team.created", by="user")
def _(w):
    return w.owner.team


@makes("team.renamed", by="user")
def _(w):
    w.owner.patch(f"{API}/team", json={"name": "Acme Inc"})
    return w.owner.team


@makes("team.exported", by="operator")
def _(w):
    assert run(["team", "export", w.caller.team_id, str(w.folder / "out")]) == 0
    return w.caller.team_id


@makes("team.erased", by="operator", platform=True)
def _(w):
    assert run(["team", "erase", w.caller.team_id, "--yes"]) == 0
    return hashlib.sha256(w.caller.team_id.encode()).hexdigest()


@makes("member.joined", by="user")
def _(w):
    return w.member().person.id


@makes("member.role_changed", by="user")
def _(w):
    member = w.member().person.id
    assert w.owner.patch(f"{API}/team/members/{member}", json={"role": "lead"}).status_code == 200
    return member


@makes("member.removed", by="user")
def _(w):
    member = w.member().person.id
    assert w.owner.delete(f"{API}/team/members/{member}").status_code == 204
    return member


@makes("member.left", by="user")
def _(w):
    member = w.member()
    assert member.post(f"{API}/team/leave").status_code == 204
    return member.person.id


@makes("invitation.created", by="user")
def _(w):
    return w.made(w.owner.post(f"{API}/team/invitations", json={"email": "x@example.test", "role": "lead"}))


@makes("invitation.revoked", by="user")
def _(w):
    made = w.made(w.owner.post(f"{API}/team/invitations", json={"email": "x@example.test", "role": "lead"}))
    assert w.owner.delete(f"{API}/team/invitations/{made}").status_code == 204
    return made


def signed_up(w):
    body = {"email": f"eve{next(NUMBERS)}@example.test", "password": PASSWORD, "name": "Eve"}
    assert w.browser().post(f"{API}/auth/sign-up", json=body).status_code == 202
    return w.entries("user.created")[-1].object_id


@makes("user.created", by="anonymous")
def _(w):
    return signed_up(w)


@makes("user.email_verified", by="user")
def _(w):
    made = signed_up(w)
    body = {"token": w.mailed(), "password": PASSWORD}
    assert w.browser().post(f"{API}/auth/verify-email", json=body).status_code == 200
    return made


@makes("user.renamed", by="user")
def _(w):
    w.owner.patch(f"{API}/me", json={"name": "Ada L."})
    return w.person.id


@makes("user.signed_in", by="user")
def _(w):
    w.browser(w.person)
    return w.person.id


@makes("user.sign_in_failed", by="anonymous")
def _(w):
    body = {"email": w.person.email, "password": NEW_PASSWORD}
    assert w.browser().post(f"{API}/auth/sign-in", json=body).status_code == 401
    return w.person.id


@makes("user.signed_out", by="user")
def _(w):
    assert w.owner.post(f"{API}/auth/sign-out").status_code == 204
    return w.person.id


@makes("user.session_ended", by="user")
def _(w):
    other = w.browser(w.person).tokens["session_id"]
    assert w.owner.delete(f"{API}/me/sessions/{other}").status_code == 204
    return w.person.id


@makes("user.token_reused", by="anonymous")
def _(w):
    stolen = w.owner.tokens["refresh_token"]
    w.owner.refresh()
    answered = w.browser().post(f"{API}/auth/refresh", json={"refresh_token": stolen})
    assert answered.status_code == 401
    return w.person.id


@makes("user.password_changed", by="user")
def _(w):
    body = {"old_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert w.owner.post(f"{API}/me/password", json=body).status_code == 204
    return w.person.id


@makes("user.password_reset", by="user")
def _(w):
    browser = w.browser()
    browser.post(f"{API}/auth/password-reset", json={"email": w.person.email})
    body = {"token": w.mailed(), "password": NEW_PASSWORD}
    assert browser.post(f"{API}/auth/password-reset/confirm", json=body).status_code == 204
    return w.person.id


@makes("user.second_factor_set", by="user")
def _(w):
    uri = w.owner.post(f"{API}/me/second-factor", json={"password": PASSWORD}).json["uri"]
    TOLD_ONCE.append(pyotp.parse_uri(uri).secret)
    assert w.owner.post(f"{API}/me/second-factor/confirm", json={"code": pyotp.parse_uri(uri).now()}).status_code == 204
    return w.person.id


@makes("user.second_factor_removed", by="user")
def _(w):
    owner = w.owner
    people.set_second_factor(w.person)
    body = {"password": PASSWORD, "code": w.person.code()}
    assert owner.post(f"{API}/me/second-factor/remove", json=body).status_code == 204
    return w.person.id


@makes("user.disabled", by="operator")
def _(w):
    assert run(["users", "disable", w.person.email]) == 0
    return w.person.id


@makes("user.enabled", by="operator")
def _(w):
    assert run(["users", "enable", w.person.email]) == 0
    return w.person.id


@makes("signing_key.rotated", by="operator", platform=True)
def _(w):
    assert run(["users", "rotate-key"]) == 0
    return w.entries("signing_key.rotated")[-1].object_id


@makes("secrets.rekeyed", by="operator", platform=True)
def _(w):
    assert run(["db", "rekey"]) == 0
    return "auth"
