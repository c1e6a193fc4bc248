"""Sign-in at an OpenID provider: with a real one in a process of its own, and with one that lies."""

import json
from datetime import timedelta
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import select

from agora.clock import now
from agora.db.session import transaction
from agora.identity import duties, oidc, oidc_provider, throttle
from agora.identity.models import ExternalIdentityRow, OidcFlowRow, UserRow
from tests.support.hostile import say
from tests.support.people import Browser
from tests.support.provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    HOME,
    OIDC,
    begin,
    come_back,
    encoded,
    go,
    put_user,
    real_provider,
    sign_in_there,
)

IDENTITIES = "/api/v1/me/identities"


@pytest.fixture(scope="module")
def real():
    with real_provider() as url:
        yield url


def count(kind):
    with transaction("auth") as session:
        return session.query(kind).count()


# --- with a real provider


def test_somebody_signs_in_at_a_real_provider_and_is_the_same_user_the_next_time(app, real, use_provider):
    use_provider(real)
    put_user(real, "ada-7", email="Ada@Elsewhere.test", email_verified=True, name="Ada")
    about = Browser(app).get(OIDC).json
    assert (about["issuer"], about["start"]) == (real, f"{OIDC}/start")
    ids = set()
    for _ in range(2):
        browser = Browser(app)
        back = sign_in_there(begin(browser), "ada-7")
        assert back.startswith(f"{HOME}{OIDC}/callback?")
        assert come_back(browser, urlsplit(back).query).status_code == 200
        me = browser.get("/api/v1/me").json
        assert (me["email"], me["name"], bool(me["verified_at"])) == ("ada@elsewhere.test", "Ada", True)
        assert browser.refresh().status_code == 200
        ids.add(me["id"])
    assert len(ids) == 1
    assert browser.get(IDENTITIES).json["items"][0]["subject"] == "ada-7"


def test_a_real_provider_that_does_not_confirm_the_address_makes_no_account(app, real, use_provider):
    use_provider(real)
    for claims in ({"email": "eve@elsewhere.test"}, {"email": "eve@elsewhere.test", "email_verified": False}):
        put_user(real, "eve", **claims)
        browser = Browser(app)
        refused = come_back(browser, urlsplit(sign_in_there(begin(browser), "eve")).query)
        assert (refused.status_code, refused.json["code"]) == (403, "forbidden")
    assert count(UserRow) == count(ExternalIdentityRow) == 0


# --- what comes back


def test_the_browser_keeps_a_cookie_and_the_address_holds_hashes_of_it_only(app, provider):
    answered = Browser(app).get(f"{OIDC}/start")
    [cookie] = SimpleCookie(answered.headers["Set-Cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", OIDC)
    assert cookie.value not in answered.headers["Location"]
    with transaction("auth") as session:
        row = session.scalars(select(OidcFlowRow)).one()
    assert cookie.value.encode() not in row.browser_hash
    assert answered.headers["Cache-Control"] == "no-store"


def test_an_answer_counts_once(app, provider):
    browser = Browser(app)
    query = provider.authorize(begin(browser))
    assert come_back(browser, query).status_code == 200
    again = come_back(browser, query)
    assert (again.status_code, again.json["code"]) == (401, "unauthenticated")


def test_an_answer_to_another_browser_signs_nobody_in(app, provider):
    """Else whoever begins a sign-in of their own could let others finish it."""
    thief, victim = Browser(app), Browser(app)
    query = provider.authorize(begin(thief))
    assert come_back(victim, query).status_code == 401
    assert query["code"] in provider.codes  # it was not even asked about
    assert come_back(thief, query).status_code == 401  # it was used up
    begin(victim)
    assert come_back(victim, provider.authorize(begin(thief))).status_code == 401


def test_a_code_of_another_sign_in_is_of_no_use(app, provider):
    """PKCE: the provider knows who asked for it."""
    thief, victim = Browser(app), Browser(app)
    stolen = provider.authorize(begin(victim))
    mine = provider.authorize(begin(thief))
    assert come_back(thief, mine | {"code": stolen["code"]}).status_code == 401


def test_a_sign_in_that_took_too_long_is_over_and_is_forgotten(app, provider):
    browser = Browser(app)
    query = provider.authorize(begin(browser))
    begin(browser)
    with transaction("auth") as session:
        session.query(OidcFlowRow).update({"expires_at": now() - timedelta(seconds=1)})
    assert come_back(browser, query).status_code == 401
    assert duties.forget_ended() == 1
    assert count(OidcFlowRow) == 0


def test_nonsense_is_refused(app, provider):
    for query in ({}, {"state": "x"}, {"state": "x" * 600, "code": "c"}, {"code": "c"}):
        assert come_back(Browser(app), query).status_code in {401, 422}


def test_a_state_cannot_be_guessed(app, provider):
    """Nothing tells a near miss from a far one or from one that was used; tries are few, and spoil nobody's sign-in."""
    browser, done = Browser(app), Browser(app)
    query, used = provider.authorize(begin(browser)), provider.authorize(begin(done))
    assert come_back(done, used).status_code == 200
    state = query["state"]
    nearly = [state[:-1], state + "A", state.swapcase(), "x" * len(state), used["state"]]
    guesser = Browser(app, address="203.0.113.5")
    answers = [come_back(guesser, {"state": one, "code": query["code"]}) for one in nearly]
    assert {(one.status_code, one.json["detail"]) for one in answers} == {(401, oidc.VOID)}
    tries = [come_back(guesser, {"state": f"{n}", "code": "c"}).status_code for n in range(throttle.WORK.amount)]
    assert tries == [401] * (throttle.WORK.amount - len(nearly)) + [429] * len(nearly)
    assert come_back(browser, query).status_code == 200


def test_who_says_no_at_the_provider_is_not_signed_in(app, provider):
    browser = Browser(app)
    query = provider.authorize(begin(browser))
    refused = come_back(browser, {"state": query["state"], "error": "access_denied", "error_description": "<b>"})
    assert refused.status_code == 401
    assert "<b>" not in refused.text


def test_the_answer_of_another_provider_is_refused(app, provider):
    assert go(Browser(app), provider, iss="https://evil.test").status_code == 401
    assert go(Browser(app), provider, iss=provider.url).status_code == 200
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    oidc_provider._kept.clear()
    assert go(Browser(app), provider).status_code == 401


# --- what is signed


def other_key():
    return RSAKey.generate_key(2048, parameters={"kid": "one"})


def unsigned(claims):
    return ".".join([*(encoded(json.dumps(part).encode()) for part in ({"alg": "none", "kid": "one"}, claims)), ""])


FORGERIES = {
    "another key": lambda p, claims: p.sign(claims, other_key()),
    "no signature": lambda _, claims: unsigned(claims),
    "the public key as a secret": lambda p, claims: p.sign_by_secret(claims, p.key.as_pem(private=False)),
    "the client's secret": lambda p, claims: p.sign_by_secret(claims, CLIENT_SECRET.encode()),
    "an unknown key": lambda p, claims: p.sign(claims, kid="two"),
    "no token": lambda *_: "",
    "no JWT": lambda *_: "x.y.z",
}


def test_a_forged_id_token_is_refused(app, provider):
    for name, forge in FORGERIES.items():
        provider.signed = lambda claims, forge=forge: forge(provider, claims)
        refused = go(Browser(app), provider)
        assert (refused.status_code, refused.json["code"]) == (401, "unauthenticated"), name
    assert count(UserRow) == 0
    provider.signed = provider.sign
    assert go(Browser(app), provider).status_code == 200


OF_SOMETHING_ELSE = [
    {"iss": "https://evil.test"}, {"iss": None}, {"aud": "another"}, {"aud": ["another"]}, {"aud": None},
    {"aud": [CLIENT_ID, "another"]}, {"azp": "another"}, {"nonce": "another"}, {"nonce": None}, {"nonce": 7},
    {"exp": 1}, {"exp": None}, {"iat": None}, {"iat": 99_999_999_999}, {"sub": None}, {"sub": ""}, {"sub": 7},
    {"sub": "x" * 300},
]  # fmt: skip


def test_an_id_token_that_is_of_something_else_is_refused(app, provider):
    for provider.claims in OF_SOMETHING_ELSE:
        assert go(Browser(app), provider).status_code == 401, provider.claims
    assert count(UserRow) == 0


def test_an_id_token_for_several_names_the_one_that_asked(app, provider):
    provider.claims = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    assert go(Browser(app), provider).status_code == 200


def test_a_new_key_of_the_provider_is_looked_for(app, provider, monkeypatch):
    assert go(Browser(app), provider).status_code == 200
    monkeypatch.setattr(provider, "key", RSAKey.generate_key(2048, parameters={"kid": "two", "use": "sig"}))
    provider.signed = lambda claims: provider.sign(claims, kid="two")
    assert go(Browser(app), provider).status_code == 401  # asked just now
    monkeypatch.setattr(oidc_provider, "AGAIN_SECONDS", 0.0)
    assert go(Browser(app), provider).status_code == 200


def test_an_address_may_come_from_userinfo_of_the_same_subject_only(app, provider):
    provider.claims = {"email": None, "email_verified": None}
    provider.userinfo = {"sub": "eve", "email": "ada@corp.test", "email_verified": True}
    oidc_provider._kept.clear()
    assert go(Browser(app), provider).status_code == 401
    provider.userinfo["sub"] = "ada"
    assert go(Browser(app), provider).status_code == 200


def test_only_a_confirmed_address_makes_an_account(app, provider):
    verified = [{"email_verified": one} for one in ("true", 1, None, False)]
    for provider.claims in [*verified, {"email": None}, {"email": "nothing"}, {"email": 7}]:
        assert go(Browser(app), provider).status_code == 403, provider.claims
    assert count(UserRow) == 0


@pytest.mark.parametrize("broken", ["cut off", "no gzip"])
def test_a_provider_that_breaks_off_is_away_and_left_alone_for_a_moment(app, use_provider, hostile, broken):
    body = {
        "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
        "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    }[broken]
    server = hostile.serve(say(body))
    use_provider(f"http://127.0.0.1:{server.port}")
    for _ in range(2):
        refused = Browser(app).get(f"{OIDC}/start")
        assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    assert server.connections == 1
