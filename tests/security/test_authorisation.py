"""Every route of the app, tried by those who must not: nobody, a key that has run out, too low a role, another team.

Whatever status they are answered with, the OpenAPI document says that the operation may answer it.
"""

import itertools
from datetime import timedelta

import pytest

from agora.caching.cache import forget_all
from agora.clock import now
from agora.db.session import transaction
from agora.identity import administrators
from agora.identity.models import ApiKeyRow, MemberRow
from agora.identity.roles import (
    PERMISSIONS,
    SYSTEM_PERMISSIONS,
    Role,
    SystemRole,
    permissions_of,
    system_permissions_of,
)
from api import auth
from api.app import create_app
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser

SPECIAL = {auth.ANY_KEY, auth.SELF}


def routes():
    """Method, path and permission of every route that needs one."""
    app = create_app()
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            own_door = rule.endpoint.partition(".")[0] in auth.OWN_DOORS  # test_portal_doors.py tries these
            if rule.endpoint in auth.OPEN_ENDPOINTS or rule.endpoint == "static" or own_door:
                continue
            path = bare(rule.rule.replace("<path:", "<"), "<>")
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield pytest.param(method.lower(), path, auth.scope_of(rule.endpoint), id=f"{method} {rule.rule}")


def bare(path, brackets):
    """A path in which the names of its arguments stand for themselves."""
    return path.translate(dict.fromkeys(map(ord, brackets)))


ROUTES = list(routes())
SAID = {
    (method, bare(path, "{}")): {int(status) for status in operation["responses"]}
    for path, item in create_app().extensions["agora-api"].spec.to_dict()["paths"].items()
    for method, operation in item.items()
    if isinstance(operation, dict) and "responses" in operation
}
"""The statuses of each operation, as the document says."""


def call(who, method, path):
    """The answer, which is one of those that the document tells of."""
    answered = getattr(who, method)(path)
    assert answered.status_code in SAID[method, path], (method, path, answered.status_code, answered.text)
    return answered


@pytest.fixture
def team(app):
    """Who makes browsers: a user in each role of one team."""
    owner = Browser(app, people.sign_up())
    team_id = owner.post("/api/v1/teams", json={"name": "Acme"}).json["id"]

    def member(role):
        person = people.sign_up()
        with transaction("auth") as session:
            session.add(MemberRow(team_id=team_id, user_id=person.id, role=role))
        browser = Browser(app, person)
        browser.team = team_id
        return browser

    return member


def test_every_route_declares_a_permission_that_there_is():
    for route in ROUTES:
        _, path, permission = route.values
        assert permission in PERMISSIONS.keys() | SYSTEM_PERMISSIONS.keys() | SPECIAL, f"{path}: {permission}"


def test_every_open_endpoint_exists():
    """One that was renamed would be closed; one that is left over would be open to whoever takes its name."""
    assert create_app().view_functions.keys() >= auth.OPEN_ENDPOINTS


@pytest.mark.parametrize(("method", "path", "permission"), ROUTES)
def test_who_must_not_does_not(app, db, method, path, permission):
    nobody = call(app.test_client(), method, path)
    assert (nobody.status_code, nobody.json["code"]) == (401, "unauthenticated")
    caller = Caller(app)
    with transaction("auth") as session:
        session.query(ApiKeyRow).update({"expires_at": now() - timedelta(seconds=1)})
    forget_all()
    assert call(caller, method, path).status_code == 401
    other = Caller(app, team="other", scopes=("jobs:read",) if permission != "jobs:read" else ("files:read",))
    if permission != auth.ANY_KEY:
        refused = call(other, method, path)
        assert (refused.status_code, refused.json["code"], refused.json["needed"]) == (403, "forbidden", permission)


def test_each_role_may_what_the_table_says_on_every_route(team):
    """Whether a request is let through is told by its not being a 403: what it names is not there."""
    for role in Role:
        browser = team(role)
        for route in ROUTES:
            method, path, permission = route.values
            if (method, path) == ("post", "/api/v1/auth/sign-out") or path == "/api/v1/team/leave":
                continue
            answered = call(browser, method, path)
            allowed = permission in SPECIAL or permission in permissions_of(role)
            assert (answered.status_code != 403) is allowed, (role, method, path, answered.status_code)
            assert answered.status_code < 500, (role, method, path)


def test_each_system_role_may_what_the_table_says_and_nothing_in_a_team(app, team):
    """Told as above; it is a viewer of no team but their own."""
    own_team = permissions_of(Role.OWNER) | SPECIAL
    for role in SystemRole:
        browser = people.administrator(app, role)
        allowed = system_permissions_of([role])
        for route in [one for one in ROUTES if one.values[2] not in own_team]:
            method, path, permission = route.values
            answered = call(browser, method, path)
            assert (answered.status_code != 403) is (permission in allowed), (role, method, path, answered.status_code)
            assert answered.status_code < 500, (role, method, path)
        browser.team = team(Role.OWNER).team
        assert browser.get("/api/v1/jobs").status_code == 404


def test_a_system_role_does_nothing_without_a_second_factor(app, db):
    person = people.sign_up()
    administrators.grant(person.email, SystemRole.SUPER, by=None)
    browser = Browser(app, person)
    for route in [one for one in ROUTES if one.values[2] in SYSTEM_PERMISSIONS]:
        method, path, permission = route.values
        refused = call(browser, method, path)
        assert (refused.status_code, refused.json["code"]) == (403, "second-factor-required"), path
        assert refused.json["needed"] == permission


def test_no_role_of_a_team_and_no_scope_is_a_system_permission():
    system = {name for name in SYSTEM_PERMISSIONS if name.startswith("system:")}
    assert not system & PERMISSIONS.keys()
    assert not any(permissions_of(role) & SYSTEM_PERMISSIONS.keys() for role in Role)
    assert system_permissions_of([SystemRole.SUPER]) == SYSTEM_PERMISSIONS.keys()


def test_a_member_of_no_team_gets_nothing(app, team):
    stranger = Browser(app, people.sign_up())
    stranger.team = team(Role.OWNER).team
    for route in ROUTES:
        method, path, _ = route.values
        assert call(stranger, method, path).status_code == 404, path


def test_roles_only_add_up():
    of = [permissions_of(role) for role in reversed(Role)]
    assert all(lower < higher for lower, higher in itertools.pairwise(of))
    assert "queues:write" not in of[-1]
