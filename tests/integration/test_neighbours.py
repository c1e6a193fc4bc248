"""Who is kept out by a neighbour behind the same address who guesses, and who is not."""

import json
from datetime import timedelta

import pytest

from agora.db.session import transaction
from agora.identity import access_tokens, principals
from agora.identity import service as identity
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.portal import ROOT, Visitor

pytestmark = pytest.mark.usefixtures("as_many_processes")
JOBS = "/api/v1/jobs"
AWAY = "redis://127.0.0.1:1/0"


def statuses(call, count):
    return [call().status_code for _ in range(count)]


@pytest.mark.parametrize("how", ["too old", "Redis away"])
def test_whoever_was_right_before_is_not_kept_out_by_a_neighbour_who_guesses(app, caller, setting, monkeypatch, how):
    """Also when what this process remembers of them is not to be trusted just now."""
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 4)
    newcomer, revoked, user = Caller(app, team="new"), Caller(app, team="revoked"), Browser(app, people.sign_up())
    late, reader = with_run_out_token(app, monkeypatch), visitor(app, caller)
    assert [one.get(JOBS).status_code for one in (caller, revoked, user)] == [200] * 3
    if how == "too old":
        monkeypatch.setattr(identity._remembered, "seconds", 0.0)
        monkeypatch.setattr(principals._remembered, "seconds", 0.0)
    else:
        setting("REDIS_URL", AWAY)
    client = app.test_client()
    guess = {"Authorization": "Bearer agora_no"}
    assert 429 in statuses(lambda: client.get(JOBS, headers=guess), 5)
    for known in (caller, user, caller, user):
        assert known.get(JOBS).status_code == 200
    assert statuses(lambda: late.get(JOBS), 6) == [401] * 6  # so that they learn that they should refresh
    assert [late.refresh().status_code for _ in range(2)] == [200] * 2
    assert statuses(lambda: late.get(JOBS), 6) == [200] * 6
    assert [reader.get(f"{ROOT}/").status for _ in range(2)] == [200] * 2
    assert newcomer.get(JOBS).status_code == 429
    assert Browser(app).sign_in(people.sign_up()).status_code == 429
    [key] = identity.list_keys(revoked.team_id)
    identity.revoke_key(revoked.team_id, key.id)
    assert statuses(lambda: revoked.get(JOBS), 2) == [429, 429]


def with_run_out_token(app, monkeypatch):
    """A user whom this process knows, a quarter of an hour later."""
    browser = Browser(app, people.sign_up())
    assert browser.get(JOBS).status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(access_tokens, "LIVES", timedelta(seconds=-1))
        assert browser.refresh().status_code == 200
    return browser


def visitor(app, caller):
    """Somebody who has followed a link to the webhook portal."""
    made = caller.post("/api/v1/webhook-portal-links", json={"scope": {"customer": "acme"}})
    found = Visitor(app, made.json["url"].rpartition("/")[2])
    assert found.open().status == 200
    return found


def test_what_was_issued_here_costs_its_address_nothing(app, caller, setting, monkeypatch):
    late, reader = with_run_out_token(app, monkeypatch), visitor(app, caller)
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 4)
    assert statuses(lambda: late.get(JOBS), 4) == [401] * 4
    assert [late.refresh().status_code for _ in range(3)] == [200] * 3
    assert [reader.get(f"{ROOT}/").status for _ in range(3)] == [200] * 3  # both have been here before
    client, guess = app.test_client(), {"Authorization": "Bearer agora_no"}
    assert statuses(lambda: client.get(JOBS, headers=guess), 5)[:3] == [401] * 3  # what came before counts a little


def test_whoever_holds_what_was_issued_here_may_as_much_as_an_address(app, caller, setting):
    """Refreshes write, and what is held may be void: each is looked up."""
    browser, reader, other = Browser(app, people.sign_up()), visitor(app, caller), visitor(app, caller)
    void = Browser(app, people.sign_up())
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 3)
    answers = [browser.refresh() for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert answers[-1].json["violated-policies"] == ["session"]
    seen = [reader.get(f"{ROOT}/").status for _ in range(6)]  # its page at the beginning counts a little
    assert (seen[:2], 429 in seen) == ([200, 200], True)
    assert other.get(f"{ROOT}/").status == 200
    used = {"refresh_token": void.tokens["refresh_token"]}
    tries = [void.post("/api/v1/auth/refresh", json=used).status_code for _ in range(5)]
    assert tries == [200, 401, 401, 429, 429]


def test_a_body_that_is_no_refresh_costs_its_address(app, setting):
    good = Browser(app, people.sign_up()).tokens["refresh_token"]
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 6)
    told = [[good], {"refresh_token": 7}, {"refresh_token": good, "x": "y" * 2000}, {"refresh_token": good + "0"}]
    bodies = ["[" * 900, *map(json.dumps, told)]

    def send(body):
        answered = app.test_client().post("/api/v1/auth/refresh", data=body, content_type="application/json")
        return answered.status_code

    assert [send(body) for body in bodies] == [400, 422, 422, 422, 401]
    assert 429 in [send("{}") for _ in range(2)]


def test_an_address_gets_its_room_back_when_the_limits_of_a_team_cannot_be_read(app, caller, setting):
    """Nobody can say then whether there is room: that is not the caller's fault."""
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 2)

    def rename(old, new):
        with transaction("auth") as session:
            session.connection().exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    rename("tiers", "tiers_away")
    try:
        answers = [Caller(app, team=f"team{number}").get(JOBS) for number in range(4)]
    finally:
        rename("tiers_away", "tiers")
    assert {one.status_code for one in answers} == {500}
    client, guess = app.test_client(), {"Authorization": "Bearer agora_no"}
    assert statuses(lambda: client.get(JOBS, headers=guess), 3) == [401, 401, 429]


def test_credentials_that_are_right_cost_their_address_nothing(app, caller, setting):
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 2)
    keys = [Caller(app, team=f"team{n}") for n in range(5)]
    assert [one.get(JOBS).status_code for one in keys] == [200] * 5
