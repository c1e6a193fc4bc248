"""Makes each action of the audit log happen that is about who gets in, and who may see what of others."""

from sqlalchemy import text

from agora.cli import run
from agora.db.session import transaction
from agora.identity import administrators
from agora.identity import service as identity
from agora.identity.roles import SystemRole
from tests.support import people
from tests.support.audited import API, TOLD_ONCE, makes
from tests.support.audited_main import MAKERS
from tests.support.people import PASSWORD
from tests.support.projects import a_project
from tests.support.provider import go

__all__ = ["MAKERS"]
IDENTITIES = f"{API}/me/identities"


def with_second_factor(w):
    """The owner's browser, signed in with a recovery code."""
    owner = w.owner
    people.set_second_factor(w.person)
    TOLD_ONCE.extend(w.person.recovery_codes)
    assert owner.sign_in(w.person, code=w.person.recovery_codes[0]).status_code == 200
    return owner


@makes("user.recovery_code_used", by="user")
def _(w):
    with_second_factor(w)
    return w.person.id


@makes("user.recovery_codes_renewed", by="user")
def _(w):
    made = with_second_factor(w).post(f"{API}/me/second-factor/recovery-codes", json={"password": PASSWORD})
    TOLD_ONCE.extend(made.json["recovery_codes"])
    return w.person.id


def link(w):
    w.provider.claims = {"sub": w.person.id}
    assert go(w.owner, w.provider, w.owner.post(IDENTITIES, json={"password": PASSWORD})).status_code == 204
    return w.person.id


@makes("user.identity_linked", by="user")
def _(w):
    return link(w)


@makes("user.identity_unlinked", by="user")
def _(w):
    link(w)
    [made] = w.owner.get(IDENTITIES).json["items"]
    assert w.owner.delete(f"{IDENTITIES}/{made['id']}").status_code == 204
    return w.person.id


@makes("administrator.granted", by="operator", platform=True)
def _(w):
    assert run(["admins", "grant", w.person.email, "billing"]) == 0
    return w.person.id


@makes("administrator.revoked", by="user", platform=True)
def _(w):
    administrators.grant(w.person.email, SystemRole.SUPER, by=None)
    other = people.sign_up()
    administrators.grant(other.email, SystemRole.SUPPORT, by=None)
    assert with_second_factor(w).delete(f"{API}/system/admins/{other.id}/support").status_code == 204
    return other.id


def share(w):
    made = a_project(w.caller.team_id).project_id
    other = identity.ensure_team("partners")
    w.post(f"/projects/{made}/shares", {"team_id": other, "access": "read"})
    return made, other


@makes("project.shared")
def _(w):
    return share(w)[0]


@makes("project.unshared")
def _(w):
    made, other = share(w)
    assert w.caller.delete(f"{API}/projects/{made}/shares/{other}").status_code == 204
    return made


@makes("team.tier_changed", by="operator")
def _(w):
    assert run(["team", "tier", w.caller.team_id, "pro", "--members", "7"]) == 0
    return w.caller.team_id


@makes("tier.set", by="operator", platform=True)
def _(_):
    assert run(["tiers", "set", "audited", "--projects", "4"]) == 0
    with transaction("auth") as session:  # tiers outlive a test
        session.execute(text("DELETE FROM tiers WHERE name = 'audited'"))
    return "audited"
