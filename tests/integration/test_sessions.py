"""Sessions: tokens that are renewed, taken back, stolen; the second factor; failures that are counted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from limits import RateLimitItemPerHour

from agora.clock import now
from agora.db.session import transaction
from agora.identity import access_tokens, duties, one_time, operators, principals, rekey, throttle
from agora.identity.models import SessionRow, SigningKeyRow, SpentTokenRow, UserRow
from agora.identity.roles import Purpose
from agora.settings import get_settings
from tests.support import people
from tests.support.people import Browser

ME = "/api/v1/me"


@pytest.fixture
def person(app):
    return people.sign_up()


def own(person):
    return {"password": person.password}


def change(kind, row_id, **values):
    with transaction("auth") as session:
        row = session.get(kind, row_id)
        for name, value in values.items():
            setattr(row, name, value)
    principals.forget()


def test_a_refresh_token_works_once_and_gives_the_next(app, person):
    browser = Browser(app, person)
    before = dict(browser.tokens)
    for _ in range(3):
        assert browser.refresh().status_code == 200
        assert browser.tokens["refresh_token"] != before["refresh_token"]
        assert browser.tokens["session_id"] == before["session_id"]
        assert browser.get(ME).status_code == 200


def test_a_refresh_token_that_comes_again_ends_its_session_for_both(app, person):
    owner, other = Browser(app, person), Browser(app, person)
    thief = Browser(app)
    thief.tokens = dict(owner.tokens)
    assert owner.refresh().status_code == 200
    stolen = thief.refresh()
    assert (stolen.status_code, stolen.json["code"]) == (401, "unauthenticated")
    assert owner.get(ME).status_code == 401
    assert owner.refresh().status_code == 401
    assert other.get(ME).status_code == 200  # another session of the same user
    with transaction("auth") as session:
        assert session.get(SessionRow, owner.tokens["session_id"]).revoked_why == "a refresh token came twice"


def test_a_refresh_token_that_comes_twice_at_once_gives_one_answer(app, person):
    browser = Browser(app, person)
    body = {"refresh_token": browser.tokens["refresh_token"]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Browser(app).post("/api/v1/auth/refresh", json=body).status_code, range(8)))
    assert set(answers) == {200, 401}
    assert answers.count(200) == 1


@pytest.mark.parametrize("token", ["x", "agora_refresh_x", "é", "a" * 500])
def test_an_unknown_refresh_token_is_refused(app, token):
    assert Browser(app).post("/api/v1/auth/refresh", json={"refresh_token": token}).status_code == 401


def test_sign_out_counts_at_once_in_every_process(app, person):
    browser, other_process = Browser(app, person), Browser(app)
    other_process.tokens = browser.tokens
    assert other_process.get(ME).status_code == 200  # now it is remembered
    assert browser.post("/api/v1/auth/sign-out").status_code == 204
    assert other_process.get(ME).status_code == 401
    assert browser.refresh().status_code == 401
    assert browser.post("/api/v1/auth/sign-out").status_code == 401


def test_sign_out_counts_at_once_while_redis_is_away_too(app, person, setting):
    browser = Browser(app, person)
    assert browser.get(ME).status_code == 200  # now it is remembered
    setting("REDIS_URL", "redis://127.0.0.1:1/0")
    assert browser.get(ME).status_code == 200
    assert browser.post("/api/v1/auth/sign-out").status_code == 204
    assert browser.get(ME).status_code == 401


def test_a_session_that_has_run_out_or_whose_user_is_disabled_is_over(app, person):
    first, second = Browser(app, person), Browser(app, person)
    past = now() - timedelta(days=1)
    change(SessionRow, first.tokens["session_id"], created_at=past - timedelta(days=1), expires_at=past)
    assert first.get(ME).status_code == 401
    assert first.refresh().status_code == 401
    change(UserRow, person.id, disabled_at=now())
    assert second.get(ME).status_code == 401
    assert second.refresh().status_code == 401
    assert Browser(app).sign_in(person).status_code == 401


def test_no_session_outlives_half_a_year(app, person):
    browser = Browser(app, person)
    long_ago = now() - timedelta(days=179)
    change(SessionRow, browser.tokens["session_id"], created_at=long_ago)
    assert browser.refresh().status_code == 200
    with transaction("auth") as session:
        row = session.get(SessionRow, browser.tokens["session_id"])
        assert row.expires_at == long_ago + timedelta(days=180)


def test_sessions_are_listed_and_ended_by_their_user_only(app, person):
    here, there = Browser(app, person), Browser(app, person, address="127.0.0.9")
    stranger = Browser(app, people.sign_up())
    listed = here.get(f"{ME}/sessions").json["items"]
    assert [one["address"] for one in listed] == ["127.0.0.9", "127.0.0.1"]
    target = f"{ME}/sessions/{there.tokens['session_id']}"
    assert stranger.delete(target).status_code == 404
    assert there.get(ME).status_code == 200
    assert here.delete(target).status_code == 204
    assert there.get(ME).status_code == 401
    assert here.delete(target).status_code == 404
    assert len(here.get(f"{ME}/sessions").json["items"]) == 1


def test_an_api_key_is_nobody(caller):
    for path in (ME, f"{ME}/sessions", "/api/v1/teams"):
        assert caller.get(path).status_code == 403


# --- the second factor


def test_a_second_factor_is_asked_for_once_it_is_confirmed(app, person):
    browser = Browser(app, person)
    uri = browser.post(f"{ME}/second-factor", json=own(person)).json["uri"]
    assert uri.startswith("otpauth://totp/")
    assert Browser(app).sign_in(person).status_code == 200  # not in force yet
    assert browser.post(f"{ME}/second-factor/confirm", json={"code": "000000"}).status_code == 422
    people.set_second_factor(person)
    needed = Browser(app).sign_in(person)
    assert (needed.status_code, needed.json["code"]) == (401, "second-factor-needed")
    assert Browser(app).sign_in(person, code="000000").status_code == 401
    assert Browser(app).sign_in(person, code=person.code()).status_code == 200
    assert browser.post(f"{ME}/second-factor", json=own(person)).status_code == 422


def test_a_code_works_once(app, person):
    people.set_second_factor(person)
    code = person.code()
    assert Browser(app).sign_in(person, code=code).status_code == 200
    assert Browser(app).sign_in(person, code=code).status_code == 401


def test_whoever_removes_it_knows_password_and_code(app, person):
    browser = Browser(app, person)
    people.set_second_factor(person)
    path, body = f"{ME}/second-factor/remove", {"password": person.password, "code": person.code()}
    assert browser.post(path, json=body | {"password": "not this one at all"}).status_code == 422
    assert browser.post(path, json=body | {"code": "000000"}).status_code == 422
    assert browser.post(path, json=body).status_code == 204
    assert Browser(app).sign_in(person).status_code == 200


def test_a_wrong_password_says_nothing_of_a_second_factor(app, person):
    people.set_second_factor(person)
    wrong = people.Person(id="", email=person.email, password="not this one at all")
    assert Browser(app).sign_in(wrong).json["code"] == "unauthenticated"


# --- throttling


def guess(app, email, count, address="127.0.0.1"):
    wrong = people.Person(id="", email=email, password="not this one at all")
    return [Browser(app, address=address).sign_in(wrong).status_code for _ in range(count)]


def test_guessing_from_one_address_is_stopped_and_the_owner_elsewhere_is_not(app, person):
    assert guess(app, person.email, throttle.PAIR.amount + 1) == [401] * throttle.PAIR.amount + [429]
    refused = Browser(app).sign_in(person)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 15 * 60
    assert Browser(app, address="127.0.0.2").sign_in(person).status_code == 200


def test_guessing_from_many_addresses_does_not_lock_the_owner_out(app, person, monkeypatch):
    monkeypatch.setattr(throttle, "ACCOUNT", RateLimitItemPerHour(5, 1, namespace="agora-test-account"))
    Browser(app, person, address="127.0.0.7")
    for number in range(10, 15):
        assert guess(app, person.email, 1, address=f"127.0.0.{number}") == [401]
    assert guess(app, person.email, 1, address="127.0.0.99") == [429]
    assert Browser(app, address="127.0.0.7").sign_in(person).status_code == 200


def test_unknown_accounts_are_throttled_like_known_ones(app, person):
    assert guess(app, "nobody@example.test", throttle.PAIR.amount + 1)[-1] == 429


def test_failures_count_while_redis_is_away(app, person, setting):
    setting("REDIS_URL", "redis://127.0.0.1:1/0")
    assert guess(app, person.email, throttle.PAIR.amount + 1, address="127.0.0.55")[-1] == 429


# --- keys that sign


def test_a_new_key_is_published_before_it_signs_and_the_old_one_verifies_until_its_tokens_have_run_out(
    app, person, monkeypatch
):  # fmt: skip
    browser = Browser(app, person)

    def kids():
        access_tokens._kept.clear()
        return [key["kid"] for key in app.test_client().get("/.well-known/jwks.json").json["keys"]]

    [first] = kids()
    second = access_tokens.rotate()
    assert kids() == [first, second]
    browser.refresh()
    assert kid_of(browser) == first
    at = now() + access_tokens.PUBLISHED_BEFORE + timedelta(seconds=1)
    monkeypatch.setattr(access_tokens, "now", lambda: at)
    access_tokens._kept.clear()
    assert kid_of(Browser(app, person)) == second
    assert kids() == [first, second]
    at += access_tokens.LIVES + access_tokens.REMEMBERED_AT_MOST
    assert kids() == [second]
    access_tokens.rotate()
    assert len(kids()) == 2


def test_an_old_key_is_followed_by_one_new_key_however_many_dispatchers_there_are(app, person, setting):
    assert duties.rotate_keys() == 0  # there is none: the first token makes one
    Browser(app, person)
    assert duties.rotate_keys() == 0
    with transaction("auth") as session:
        long_ago = now() - timedelta(days=89)
        session.query(SigningKeyRow).update({"created_at": long_ago, "signs_from": long_ago})
    assert duties.rotate_keys() == 0
    setting("AGORA_TOKEN_KEY_DAYS", 88)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: duties.rotate_keys(), range(4)))
    assert sorted(made) == [0, 0, 0, 1]
    with transaction("auth") as session:
        assert session.query(SigningKeyRow).count() == 2
    assert Browser(app, person).get(ME).status_code == 200


def kid_of(browser):
    from joserfc import jws  # noqa: PLC0415

    return jws.extract_compact(browser.tokens["access_token"].encode()).headers()["kid"]


def test_the_key_set_holds_no_private_key(app, person):
    Browser(app, person)
    for key in app.test_client().get("/.well-known/jwks.json").json["keys"]:
        assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
        assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "Ed25519")


def test_the_issuer_is_a_setting(app, person, setting):
    browser = Browser(app, person)
    assert browser.get(ME).status_code == 200
    setting("AGORA_TOKEN_ISSUER", "another-platform")
    assert get_settings().token_issuer == "another-platform"
    assert browser.get(ME).status_code == 401


def test_rekey_encrypts_second_factors_and_signing_keys_anew(app, person, setting):
    people.set_second_factor(person)
    Browser(app).sign_in(person, code=person.code())
    old = get_settings().secret_key.get_secret_value()
    setting("AGORA_SECRET_KEY", "another-key-another-key-another-key-another")
    setting("AGORA_SECRET_KEY_OLD", old)
    assert rekey.rekey() == {"second_factors": 1, "signing_keys": 1, "mails": 0}
    assert rekey.rekey() == {"second_factors": 0, "signing_keys": 0, "mails": 0}
    setting("AGORA_SECRET_KEY_OLD", "")
    access_tokens._kept.clear()
    with transaction("auth") as session:
        session.get(UserRow, person.id).totp_used = 0
    browser = Browser(app)
    assert browser.sign_in(person, code=person.code()).status_code == 200
    assert browser.get(ME).status_code == 200


def test_a_key_that_is_made_before_anybody_signed_in_keeps_nobody_out(app, person):
    access_tokens.rotate()
    browser = Browser(app, person)
    assert browser.get(ME).status_code == 200
    assert len(app.test_client().get("/.well-known/jwks.json").json["keys"]) == 2


def test_a_burst_of_guesses_is_counted_before_it_is_judged(app, person):
    wrong = people.Person(id="", email=person.email, password="not this one at all")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Browser(app).sign_in(wrong).status_code, range(24)))
    assert answers.count(401) == throttle.PAIR.amount
    assert answers.count(429) == 24 - throttle.PAIR.amount


def test_whoever_has_a_stolen_token_cannot_guess_the_password_or_set_a_factor(app, person):
    thief = Browser(app, person)
    for _ in range(throttle.PAIR.amount):
        refused = thief.post(f"{ME}/second-factor", json={"password": "not this one at all"})
        assert refused.status_code == 422
    body = {"old_password": person.password, "new_password": "the thief's own words now"}
    assert thief.post(f"{ME}/password", json=body).status_code == 429


def test_a_lost_second_factor_is_removed_by_the_operator(app, person):
    browser = Browser(app, person)
    people.set_second_factor(person)
    operators.remove_second_factor(person.email)
    assert browser.get(ME).status_code == 401
    assert Browser(app).sign_in(person).status_code == 200


def test_a_second_factor_stays_when_the_password_is_forgotten(app, person):
    people.set_second_factor(person)
    with transaction("auth") as session:
        token = one_time.issue(session, session.get(UserRow, person.id), Purpose.RESET)
    body = {"token": token, "password": "a wholly new one for me"}
    assert Browser(app).post("/api/v1/auth/password-reset/confirm", json=body).status_code == 204
    person.password = body["password"]
    assert Browser(app).sign_in(person).json["code"] == "second-factor-needed"


def test_addresses_of_one_network_count_together():
    assert throttle.network_of("2001:db8:1:2:aaaa::1") == throttle.network_of("2001:db8:1:2:bbbb::2")
    assert throttle.network_of("2001:db8:1:3::1") != throttle.network_of("2001:db8:1:2::1")
    assert throttle.network_of("127.0.0.1") == "127.0.0.1"


def test_what_ended_long_ago_is_removed(app, person):
    browser = Browser(app, person)
    browser.refresh()
    assert duties.forget_ended() == 0
    long_ago = now() - timedelta(days=200)
    change(SessionRow, browser.tokens["session_id"], created_at=long_ago, expires_at=long_ago + timedelta(days=1))
    assert duties.forget_ended() == 1
    with transaction("auth") as session:
        assert session.query(SpentTokenRow).count() == 0
