"""Sign-in at an OpenID provider: whose account it is, the second factor, and what the operator sets."""

import email
import email.policy
from concurrent.futures import ThreadPoolExecutor

import pytest

from agora.clock import now
from agora.db.session import transaction
from agora.errors import SettingsError
from agora.identity import duties, external_queries, oidc, one_time, sessions, throttle, users
from agora.identity.models import ExternalIdentityRow, UserRow
from agora.identity.roles import Purpose
from agora.settings import load_settings
from tests.support import people
from tests.support.locks import until_waiting
from tests.support.people import PASSWORD, Browser
from tests.support.provider import (
    OIDC,
    begin,
    come_back,
    go,
)

IDENTITIES = "/api/v1/me/identities"
NEW_PASSWORD = "a wholly new one for me"


def reset_password(app, address, folder):
    """Set a new one, by the mail that comes."""
    Browser(app).post("/api/v1/auth/password-reset", json={"email": address})
    duties.send_mails()
    [path] = (folder / "mail").glob("*.eml")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default).get_content()
    token = next(line.strip() for line in mail.splitlines() if line.strip().startswith("otk_"))
    body = {"token": token, "password": NEW_PASSWORD}
    assert Browser(app).post("/api/v1/auth/password-reset/confirm", json=body).status_code == 204


def count(kind):
    with transaction("auth") as session:
        return session.query(kind).count()


# --- whose account it is


def test_an_account_is_not_taken_over_by_an_address(app, provider):
    person = people.sign_up(email="ada@private.test")
    provider.claims = {"email": person.email}
    refused = go(Browser(app), provider)
    assert (refused.status_code, refused.json["code"]) == (409, "conflict")
    assert count(ExternalIdentityRow) == 0


def test_a_provider_that_is_trusted_for_the_domain_lets_into_the_account(app, provider):
    person = people.sign_up(email="ada@corp.test")
    browser = Browser(app)
    assert go(browser, provider).status_code == 200
    assert browser.get("/api/v1/me").json["id"] == person.id
    provider.claims = {"email": "eve@sub.corp.test", "sub": "eve"}
    people.sign_up(email="eve@sub.corp.test")
    assert go(Browser(app), provider).status_code == 409


def test_a_user_links_their_account_while_signed_in(app, provider):
    person = people.sign_up(email="ada@private.test")
    browser = Browser(app, person)
    assert browser.post(IDENTITIES, json={"password": "not this one at all"}).status_code == 422
    linked = go(browser, provider, browser.post(IDENTITIES, json={"password": person.password}))
    assert linked.status_code == 204
    other = Browser(app)
    assert go(other, provider).status_code == 200
    assert other.get("/api/v1/me").json["id"] == person.id
    [link] = other.get(IDENTITIES).json["items"]
    assert Browser(app, people.sign_up()).delete(f"{IDENTITIES}/{link['id']}").status_code == 404
    assert other.delete(f"{IDENTITIES}/{link['id']}").status_code == 204
    assert other.delete(f"{IDENTITIES}/{link['id']}").status_code == 404
    assert other.get(IDENTITIES).json["items"] == []


@pytest.mark.parametrize("how", ["reset", "changed"])
def test_a_link_that_was_begun_with_an_older_password_is_void(app, provider, setting, tmp_path, how):
    """Whoever had the password could else come back, once its owner has set another, and stay for good."""
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")
    person = people.sign_up(email="ada@private.test")
    thief, owner = Browser(app, person), Browser(app, person)
    url = begin(thief, thief.post(IDENTITIES, json={"password": person.password}))
    if how == "reset":
        reset_password(app, person.email, tmp_path)
    else:
        body = {"old_password": person.password, "new_password": NEW_PASSWORD}
        assert owner.post("/api/v1/me/password", json=body).status_code == 204
    assert come_back(thief, provider.authorize(url)).status_code == 401
    assert count(ExternalIdentityRow) == 0


def test_an_identity_is_one_users_only_and_nobody_links_another_browser(app, provider):
    first, second = Browser(app, people.sign_up()), Browser(app, people.sign_up())
    assert go(first, provider, first.post(IDENTITIES, json={"password": PASSWORD})).status_code == 204
    assert go(second, provider, second.post(IDENTITIES, json={"password": PASSWORD})).status_code == 409
    url = begin(first, first.post(IDENTITIES, json={"password": PASSWORD}))
    provider.claims = {"sub": "victim"}
    assert come_back(second, provider.authorize(url)).status_code == 401
    assert count(ExternalIdentityRow) == 1


def test_a_closed_platform_makes_no_account_and_lets_its_users_in(app, provider, setting):
    setting("AGORA_SIGN_UP", "closed")
    assert go(Browser(app), provider).status_code == 403
    people.sign_up(email="ada@corp.test")
    assert go(Browser(app), provider).status_code == 200


def test_what_a_stranger_claimed_and_nobody_confirmed_is_void(app, provider):
    claimed = people.sign_up(email="ada@corp.test", verified=False)
    assert go(Browser(app), provider).status_code == 200
    assert Browser(app).sign_in(claimed).status_code == 401


def test_a_disabled_account_stays_out(app, provider):
    assert go(Browser(app), provider).status_code == 200
    with transaction("auth") as session:
        session.query(UserRow).update({"disabled_at": now()})
    assert go(Browser(app), provider).status_code == 401
    provider.claims = {"sub": "again"}
    assert go(Browser(app), provider).status_code == 401


def test_a_password_that_a_mail_set_ends_sign_in_by_the_provider(app, provider, setting, tmp_path):
    """Whoever made the account by the provider may not have been who reads the mail."""
    provider.claims = {"email": "ada@private.test"}
    assert go(Browser(app), provider).status_code == 200
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")
    reset_password(app, "ada@private.test", tmp_path)
    assert count(ExternalIdentityRow) == 0
    assert go(Browser(app), provider).status_code == 409


# --- at the same time


class Linked:
    """A user by the provider, as whom another browser is about to come back."""

    def __init__(self, app, provider):
        browser, self._coming = Browser(app), Browser(app)
        assert go(browser, provider).status_code == 200
        self.id = browser.get("/api/v1/me").json["id"]
        self._query = provider.authorize(begin(self._coming))

    def comes(self):
        """Come back; the answer."""
        return come_back(self._coming, self._query)

    def reset(self):
        """Set a new password, as by a mail."""
        with transaction("auth") as session:
            token = one_time.issue(session, session.get_one(UserRow, self.id), Purpose.RESET)
        users.reset_password(token, NEW_PASSWORD, address="127.0.0.1")

    def unlink(self):
        """Sign in by the provider no more."""
        [link] = oidc.list_links(self.id)
        oidc.unlink(self.id, link.id)


@pytest.fixture
def linked(app, provider):
    return Linked(app, provider)


def after_find(monkeypatch, times, do):
    """Once a link was looked for so many times, somebody else does something."""
    real, calls = external_queries.find, []

    def hooked(*args, **options):
        found = real(*args, **options)
        calls.append(found)
        if len(calls) == times:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(do).result(20)
        return found

    monkeypatch.setattr(external_queries, "find", hooked)


def test_a_sign_in_that_is_under_way_does_not_outlive_a_new_password(linked, monkeypatch):
    """Whoever had linked the account before its owner came would else keep a session that nothing ends."""
    after_find(monkeypatch, 2, linked.reset)
    assert linked.comes().status_code == 401
    assert (count(ExternalIdentityRow), sessions.list_sessions(linked.id)) == (0, [])


def test_a_sign_in_and_a_new_password_do_not_wait_for_each_other(linked, monkeypatch):
    real, came = external_queries.unlink_all, []

    def unlink_all(*args):
        came.append(pool.submit(linked.comes))
        until_waiting(database="auth")
        real(*args)

    monkeypatch.setattr(external_queries, "unlink_all", unlink_all)
    with ThreadPoolExecutor(1) as pool:
        linked.reset()
        assert came[0].result(20).status_code == 401
    assert (count(ExternalIdentityRow), sessions.list_sessions(linked.id)) == (0, [])


def test_a_sign_in_whose_link_goes_meanwhile_begins_again(provider, linked, monkeypatch):
    """No password was hashed, as the account was there: none is made without one."""
    provider.claims = {"email": "another@corp.test"}
    after_find(monkeypatch, 1, linked.unlink)
    refused = linked.comes()
    assert (refused.status_code, "begin it again" in refused.json["detail"]) == (401, True)


# --- the second factor


def test_a_second_factor_is_asked_for_here_too(app, provider):
    person = people.set_second_factor(people.sign_up(email="ada@corp.test"))
    provider.claims = {"amr": ["mfa"], "acr": "high"}
    browser = Browser(app)
    needed = go(browser, provider)
    assert (needed.status_code, needed.json["code"]) == (401, "second-factor-needed")
    assert count(ExternalIdentityRow) == 1
    body = {"ticket": needed.json["ticket"], "code": person.code()}
    forged = body | {"ticket": body["ticket"][:-1] + ("0" if body["ticket"][-1] != "0" else "1")}
    for wrong in (body | {"code": "000000"}, forged, body | {"ticket": "x"}, body | {"ticket": "usr_x.1.2"}):
        assert browser.post(f"{OIDC}/finish", json=wrong).status_code == 401
    browser.tokens = browser.post(f"{OIDC}/finish", json=body).json
    assert browser.get("/api/v1/me/sessions").json["items"][0]["second_factor"] is True
    assert Browser(app).post(f"{OIDC}/finish", json=body).status_code == 401  # the code is used up


def test_guessing_codes_with_a_ticket_is_throttled_and_a_forged_ticket_locks_nobody_out(app, provider):
    person = people.set_second_factor(people.sign_up(email="ada@corp.test"))
    browser = Browser(app)
    ticket = go(browser, provider).json["ticket"]
    forged = f"{person.id}.9999999999.{'0' * 64}"
    for _ in range(throttle.PAIR.amount + 1):
        assert browser.post(f"{OIDC}/finish", json={"ticket": forged, "code": "000000"}).status_code == 401
    codes = [browser.post(f"{OIDC}/finish", json={"ticket": ticket, "code": "000000"}) for _ in range(11)]
    assert [one.status_code for one in codes] == [401] * throttle.PAIR.amount + [429]


# --- the operator


def test_without_a_provider_there_is_none(app, db):
    browser = Browser(app, people.sign_up())
    for answered in (
        browser.get(OIDC), browser.get(f"{OIDC}/start"), browser.get(f"{OIDC}/callback?state=x&code=y"),
        browser.post(f"{OIDC}/finish", json={"ticket": "x", "code": "000000"}),
        browser.post(IDENTITIES, json={"password": PASSWORD}),
    ):  # fmt: skip
        assert (answered.status_code, "AGORA_OIDC_ISSUER" in answered.json["detail"]) == (404, True)


def test_a_provider_that_is_away_or_is_another_is_unavailable(app, provider, setting):
    setting("AGORA_OIDC_ISSUER", "http://127.0.0.1:1")
    assert Browser(app).get(f"{OIDC}/start").status_code == 503
    assert Browser(app).get(f"{OIDC}/start").status_code == 503  # it is not asked again at once
    setting("AGORA_OIDC_ISSUER", provider.url + "/")
    assert Browser(app).get(f"{OIDC}/start").status_code == 503
    setting("AGORA_OIDC_ISSUER", provider.url)
    setting("AGORA_OIDC_CLIENT_SECRET", "another")
    assert go(Browser(app), provider).status_code == 503


DO_NOT_FIT = [
    ({"AGORA_OIDC_ISSUER": "http://corp.test"}, "AGORA_OIDC_ISSUER"), ({"AGORA_OIDC_CLIENT_ID": ""}, "CLIENT_ID"),
    ({"AGORA_OIDC_CLIENT_SECRET": ""}, "CLIENT_SECRET"), ({"AGORA_PUBLIC_URL": ""}, "AGORA_PUBLIC_URL"),
    ({"AGORA_OIDC_ISSUER": "https://corp.test?x"}, "AGORA_OIDC_ISSUER"),
]  # fmt: skip


def test_settings_that_do_not_fit_stop_the_start():
    whole = {
        "AGORA_OIDC_ISSUER": "https://corp.test/realm", "AGORA_OIDC_CLIENT_ID": "c", "AGORA_OIDC_CLIENT_SECRET": "s",
        "AGORA_PUBLIC_URL": "https://agora.test",
    }  # fmt: skip
    assert load_settings(whole).oidc_issuer == "https://corp.test/realm"
    for changed, named in DO_NOT_FIT:
        with pytest.raises(SettingsError, match=named):
            load_settings(whole | changed)
