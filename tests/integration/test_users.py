"""Accounts: sign-up, confirmed addresses, passwords; and that nothing tells a stranger who has an account."""

import email
import email.policy
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import RateLimitItemPerMinute

from agora.db.session import transaction
from agora.identity import duties, mail, passwords, throttle, user_queries, users
from agora.identity.models import MailRow, OneTimeTokenRow, UserRow
from agora.identity.throttle import MAILS
from agora.runtime.ports import free_port
from tests.support import people
from tests.support.people import PASSWORD, Browser

AUTH = "/api/v1/auth"


@pytest.fixture
def post(app, setting, tmp_path):
    """An open platform; gives the mails to an address, oldest first."""
    setting("AGORA_SIGN_UP", "open")
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")

    def mails(address):
        duties.send_mails()
        found = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted((tmp_path / "mail").glob("*.eml"))
        ]
        return [one for one in found if one["To"] == address]

    return mails


def token_in(message):
    return re.search(r"^ {4}(\S+)\s*$", message.get_content(), re.MULTILINE)[1]


def sign_up(app, address="ada@example.test", password=PASSWORD, name="Ada"):
    return Browser(app).post(f"{AUTH}/sign-up", json={"email": address, "password": password, "name": name})


def test_sign_up_confirm_sign_in(app, post):
    assert sign_up(app).status_code == 202
    [message] = post("ada@example.test")
    browser = Browser(app)
    person = people.Person(id="", email="ada@example.test")
    refused = browser.sign_in(person)
    assert (refused.status_code, refused.json["code"]) == (403, "email-unverified")
    confirmed = browser.post(f"{AUTH}/verify-email", json={"token": token_in(message), "password": PASSWORD})
    assert confirmed.json["verified_at"]
    assert browser.sign_in(person).status_code == 200
    me = browser.get("/api/v1/me").json
    assert (me["email"], me["name"], me["second_factor"]) == ("ada@example.test", "Ada", False)
    [own] = browser.get("/api/v1/teams").json["items"]
    assert (own["personal"], own["role"], own["name"]) == (True, "owner", "Ada")
    assert browser.get("/api/v1/jobs").json["items"] == []


def test_addresses_are_the_same_whatever_their_case(app, post):
    sign_up(app, "Ada@Example.Test")
    [message] = post("ada@example.test")
    Browser(app).post(f"{AUTH}/verify-email", json={"token": token_in(message), "password": PASSWORD})
    assert Browser(app).sign_in(people.Person(id="", email="aDa@eXample.test")).status_code == 200


def test_a_second_sign_up_answers_alike_and_changes_nothing(app, post):
    person = people.sign_up(email="ada@example.test")
    answers = [sign_up(app, address, "another fine password of mine") for address in (person.email, "new@example.test")]
    assert {(one.status_code, one.data) for one in answers} == {(202, answers[0].data)}
    [told] = post(person.email)
    assert told["Subject"] == users.KNOWN_SUBJECT
    assert Browser(app).sign_in(person).status_code == 200


def test_a_closed_platform_takes_nobody(app, setting):
    setting("AGORA_SIGN_UP", "closed")
    assert sign_up(app).status_code == 403


@pytest.mark.parametrize("address", ["", "ada", "ada@", "@example.test", "a b@example.test", "ada@exa mple.test",
                                     "ada@example.test\nBcc: x@example.test", "a" * 300 + "@example.test"])  # fmt: skip
def test_what_is_no_address_is_refused(app, post, address):
    refused = sign_up(app, address)
    assert refused.status_code == 422
    assert {one["pointer"] for one in refused.json["errors"]} == {"/email"}


@pytest.mark.parametrize(
    "password",
    ["", "short", "password1234", "a" * 16, "qwertyuiop12", "ada@example.test", "123456789012", "x" * 300],
)
def test_passwords_that_are_easy_to_guess_are_refused_and_not_repeated(app, post, password):
    refused = sign_up(app, password=password)
    assert refused.status_code == 422
    [error] = refused.json["errors"]
    assert (error["pointer"], error["rule"]) in {("/password", "length"), ("/password", "guessable")}
    assert "value" not in error
    assert post("ada@example.test") == []


def test_a_password_is_kept_as_argon2id_only(app, post):
    sign_up(app)
    with transaction("auth") as session:
        [row] = session.query(UserRow).all()
    assert row.password_hash.startswith("$argon2id$")
    assert PASSWORD not in row.password_hash


# --- one-time tokens


def asked(app, post, address="ada@example.test"):
    assert Browser(app).post(f"{AUTH}/password-reset", json={"email": address}).status_code == 202
    return token_in(post(address)[-1])


def reset(app, token, password="a wholly new one for me"):
    return Browser(app).post(f"{AUTH}/password-reset/confirm", json={"token": token, "password": password})


def test_a_forgotten_password_is_set_anew_and_every_session_ends(app, post):
    person = people.sign_up(email="ada@example.test")
    browser = Browser(app, person)
    token = asked(app, post)
    assert reset(app, token).status_code == 204
    assert browser.get("/api/v1/me").status_code == 401
    assert browser.refresh().status_code == 401
    assert Browser(app).sign_in(person).status_code == 401
    person.password = "a wholly new one for me"
    assert Browser(app).sign_in(person).status_code == 200
    assert reset(app, token, "and one more for the thief").status_code == 422


def test_whoever_has_no_account_is_answered_alike_and_gets_no_mail(app, post):
    known = people.sign_up()
    answers = [
        Browser(app).post(f"{AUTH}/password-reset", json={"email": one}) for one in (known.email, "no@example.test")
    ]
    assert {(one.status_code, one.data) for one in answers} == {(202, answers[0].data)}
    assert (len(post(known.email)), len(post("no@example.test"))) == (1, 0)


def test_a_token_is_void_once_the_password_has_changed(app, post):
    person = people.sign_up(email="ada@example.test")
    first = asked(app, post)
    second = asked(app, post)
    assert reset(app, second).status_code == 204
    assert reset(app, first).status_code == 422
    assert person.id


def test_a_token_is_for_its_purpose_only(app, post):
    people.sign_up(email="ada@example.test", verified=False)
    Browser(app).post(f"{AUTH}/verify-email/again", json={"email": "ada@example.test"})
    token = token_in(post("ada@example.test")[-1])
    assert reset(app, token).status_code == 422
    body = {"token": token, "password": PASSWORD}
    assert Browser(app).post(f"{AUTH}/verify-email", json=body).status_code == 200
    assert Browser(app).post(f"{AUTH}/verify-email", json=body).status_code == 422


def test_forged_and_expired_tokens_are_refused(app, post):
    people.sign_up(email="ada@example.test")
    token = asked(app, post)
    name, expiry, mac = token.split(".")
    later = str(int(expiry) + 3600)
    for bad in (
        f"{name}.{later}.{mac}", f"{name}.{expiry}.{'0' * 64}", f"{name}.{expiry}", f"{name}.x.{mac}", "x", "..",
        f"otk_01h455vb4pex5vsknk084sn02q.{expiry}.{mac}", f"{name}.{'9' * 40}.{mac}",
    ):  # fmt: skip
        assert reset(app, bad).status_code == 422, bad
    with transaction("auth") as session:
        session.query(OneTimeTokenRow).update({"expires_at": users.now()})
    assert reset(app, token).status_code == 422


def test_a_weak_new_password_does_not_use_the_token_up(app, post):
    people.sign_up(email="ada@example.test")
    token = asked(app, post)
    assert reset(app, token, "password1234").status_code == 422
    assert reset(app, token).status_code == 204


def test_mails_to_an_address_are_few(app, post):
    people.sign_up(email="ada@example.test")
    answers = [Browser(app).post(f"{AUTH}/password-reset", json={"email": "ada@example.test"}) for _ in range(7)]
    assert [one.status_code for one in answers] == [202] * MAILS.amount + [429] * (7 - MAILS.amount)
    assert int(answers[-1].headers["Retry-After"]) > 60
    assert len(post("ada@example.test")) == MAILS.amount


# --- changes


def test_a_changed_password_ends_every_other_session(app):
    person = people.sign_up()
    here, there = Browser(app, person), Browser(app, person)
    body = {"old_password": PASSWORD, "new_password": "my very own other words"}
    wrong = here.post("/api/v1/me/password", json=body | {"old_password": "not this one at all"})
    assert wrong.json["errors"][0]["pointer"] == "/old_password"
    assert here.post("/api/v1/me/password", json=body).status_code == 204
    assert here.get("/api/v1/me").status_code == 200
    assert there.get("/api/v1/me").status_code == 401


def test_a_name_may_change(app):
    browser = Browser(app, people.sign_up())
    assert browser.patch("/api/v1/me", json={"name": "Grace"}).json["name"] == "Grace"
    assert browser.patch("/api/v1/me", json={"name": "a\nb"}).status_code == 422


def test_a_hash_of_older_parameters_is_made_anew_at_sign_in(app, monkeypatch):
    person = people.sign_up()
    monkeypatch.setattr(passwords, "is_outdated", lambda kept: True)
    with transaction("auth") as session:
        before = session.get(UserRow, person.id).password_hash
    Browser(app, person)
    with transaction("auth") as session:
        assert session.get(UserRow, person.id).password_hash != before


def test_a_mail_waits_for_a_server_that_is_away_and_nobody_else_does(app, post, setting, tmp_path):
    setting("AGORA_MAIL_URL", "smtp+plain://127.0.0.1:1")
    assert sign_up(app).status_code == 202
    assert duties.send_mails() == 0
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")
    assert post("ada@example.test") == []  # not due yet
    with transaction("auth") as session:
        session.query(MailRow).update({"next_at": users.now()})
    assert len(post("ada@example.test")) == 1
    with transaction("auth") as session:
        assert session.query(MailRow).count() == 0


def test_a_mail_is_given_up_after_many_tries_and_two_senders_do_not_send_it_twice(app, post, setting, monkeypatch):
    setting("AGORA_MAIL_URL", "smtp+plain://127.0.0.1:1")
    monkeypatch.setattr(mail, "MOST_TRIES", 2)
    sign_up(app)
    for _ in range(2):
        duties.send_mails()
        with transaction("auth") as session:
            session.query(MailRow).update({"next_at": users.now()})
    with transaction("auth") as session:
        assert session.query(MailRow).count() == 0
        mail.post(session, "ada@example.test", "Hello", "there")
    setting("AGORA_MAIL_URL", "console:")
    with transaction("auth") as one:
        assert user_queries.lock_due_mail(one) is not None
        assert duties.send_mails() == 0
    assert duties.send_mails() == 1


def test_a_mail_that_the_keys_of_now_do_not_open_holds_up_no_other(app, post, setting):
    sign_up(app, "first@example.test")
    setting("AGORA_SECRET_KEY", "another-key-another-key-another-key-another")
    sign_up(app, "second@example.test")
    assert len(post("second@example.test")) == 1
    assert post("first@example.test") == []


def test_what_a_mail_says_is_sealed_at_rest(app, post):
    sign_up(app)
    with transaction("auth") as session:
        [row] = session.query(MailRow).all()
    assert "ada@example.test" not in row.sealed


def test_a_platform_without_mail_says_so_and_does_nothing(app, setting):
    setting("AGORA_SIGN_UP", "open")
    setting("AGORA_MAIL_URL", "")
    refused = sign_up(app)
    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    with transaction("auth") as session:
        assert session.query(UserRow).count() == 0


def test_mails_go_out_over_smtp(app, setting, smtp_server):
    setting("AGORA_SIGN_UP", "open")
    setting("AGORA_MAIL_URL", f"smtp+plain://127.0.0.1:{smtp_server.port}")
    setting("AGORA_MAIL_FROM", "agora@example.test")
    assert sign_up(app).status_code == 202
    assert duties.send_mails() == 1
    [(sender, recipients, data)] = smtp_server.got
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert (sender, recipients) == ("agora@example.test", ["ada@example.test"])
    assert message["Subject"] == users.VERIFY_SUBJECT
    body = {"token": token_in(message), "password": PASSWORD}
    assert Browser(app).post(f"{AUTH}/verify-email", json=body).status_code == 200


@pytest.fixture
def smtp_server():
    from aiosmtpd.controller import Controller  # noqa: PLC0415

    class Handler:
        def __init__(self):
            self.got = []

        async def handle_DATA(self, server, session, envelope):  # noqa: N802  # aiosmtpd's name
            self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
            return "250 OK"

    handler = Handler()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    handler.port = controller.server.sockets[0].getsockname()[1]
    yield handler
    controller.stop()


# --- what an attacker tries


def test_a_stranger_who_claims_an_address_first_gets_nothing_of_it(app, post):
    """They sign up with the victim's address; the victim signs up later, or is led to confirm the stranger's claim."""
    sign_up(app, password="the stranger's very own words")
    [first] = post("ada@example.test")
    mixed = {"token": token_in(first), "password": PASSWORD}
    assert Browser(app).post(f"{AUTH}/verify-email", json=mixed).status_code == 422
    assert sign_up(app).status_code == 202
    second = post("ada@example.test")[-1]
    assert second["Subject"] == users.VERIFY_SUBJECT
    stale = {"token": token_in(first), "password": "the stranger's very own words"}
    assert Browser(app).post(f"{AUTH}/verify-email", json=stale).status_code == 422
    mine = {"token": token_in(second), "password": PASSWORD}
    assert Browser(app).post(f"{AUTH}/verify-email", json=mine).status_code == 200
    assert Browser(app).sign_in(people.Person(id="", email="ada@example.test")).status_code == 200


@pytest.mark.parametrize(
    "address", ["=?utf-8?q?x?=@example.test", "=?utf-8?q??=@example.test", "ädä@example.test", "ada@example.test\x00"]
)
def test_an_address_that_mail_would_read_otherwise_is_refused(app, post, address):
    assert sign_up(app, address).status_code == 422


def test_an_address_of_an_international_domain_is_written_to_in_ascii(app, post):
    assert sign_up(app, "ada@exämple.test").status_code == 202
    assert len(post("ada@xn--exmple-cua.test")) == 1


def test_junk_costs_no_hashing(app, post, monkeypatch):
    monkeypatch.setattr(passwords, "hash_of", lambda _: pytest.fail("hashed"))
    monkeypatch.setattr(passwords, "check", lambda *_, **__: pytest.fail("judged"))
    body = {"token": "x", "password": PASSWORD}
    for path in ("accept-invitation", "password-reset/confirm"):
        assert Browser(app).post(f"{AUTH}/{path}", json=body).status_code == 422


def test_whoever_makes_us_work_does_so_a_few_times_a_minute(app, post, monkeypatch):
    monkeypatch.setattr(throttle, "WORK", RateLimitItemPerMinute(3, 1, namespace="agora-test-work"))
    answers = [reset(app, "x").status_code for _ in range(5)]
    assert answers == [422, 422, 422, 429, 429]


def test_the_judge_of_passwords_takes_no_time_worth_mentioning():
    """Some texts took it seconds; it is shown a beginning only."""
    passwords.check("a4@b8c({[<e3g69i1!|l1|7o0s$5t+7x%z2a4@b8c({[<e3g69i1!|l1|7o0s$5t+7x%z2")
    assert passwords.MOST_JUDGED <= 24


def test_a_token_that_comes_many_times_at_once_is_used_once(app, post):
    people.sign_up(email="ada@example.test")
    token = asked(app, post)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: reset(app, token, f"a wholly new one for me {n}").status_code, range(6)))
    assert sorted(answers) == [204] + [422] * 5
