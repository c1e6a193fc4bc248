"""Who has an account, and with which password or code: nothing tells, and guessing ends soon.

That answers take as long for unknown addresses as for known ones is shown by counting the work and not by a clock: the
same hashing, and as many statements. In tests/integration: states of a sign-in at a provider (test_oidc.py), codes with
its tickets (test_oidc_accounts.py), recovery codes (test_recovery_codes.py). Refresh tokens: test_refresh.py.
"""

import json
import re
from collections import Counter
from contextlib import contextmanager

import pytest
from limits import RateLimitItemPerMinute
from sqlalchemy import event

from agora.clock import now
from agora.db import engines
from agora.db.session import transaction
from agora.identity import invitations, one_time, passwords, throttle, user_queries
from agora.identity.models import InvitationRow, UserRow
from agora.identity.roles import Purpose
from agora.ids import new_id
from tests.conftest import forget_failures
from tests.support import people
from tests.support.people import PASSWORD, Browser
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, HOME

AUTH = "/api/v1/auth"
UNKNOWN = "nobody@example.test"


@pytest.fixture
def kinds(app, setting):
    """Addresses of accounts in every state, and one that has none."""
    setting("AGORA_SIGN_UP", "open")
    disabled = people.sign_up()
    with transaction("auth") as session:
        session.get(UserRow, disabled.id).disabled_at = now()
    busy = people.sign_up()
    for name in ("Acme", "Globex"):
        assert Browser(app, busy).post("/api/v1/teams", json={"name": name}).status_code == 201
    return {
        "known": people.sign_up().email, "unconfirmed": people.sign_up(verified=False).email,
        "with a second factor": people.set_second_factor(people.sign_up()).email, "disabled": disabled.email,
        "in several teams": busy.email, "unknown": UNKNOWN,
    }  # fmt: skip


@pytest.fixture
def with_provider(setting, db):
    """A provider is set, which nobody asks: passwords and tickets come first."""
    setting("AGORA_PUBLIC_URL", HOME)
    setting("AGORA_OIDC_CLIENT_ID", CLIENT_ID)
    setting("AGORA_OIDC_CLIENT_SECRET", CLIENT_SECRET)
    setting("AGORA_OIDC_ISSUER", "http://127.0.0.1:1")


@contextmanager
def work(monkeypatch):
    """Counts what is hashed, judged and asked of the auth database meanwhile."""
    done = Counter()

    def counted(what, arguments):
        done[what.__name__] += 1
        return what(*arguments)

    def stated(_connection, cursor, statement, *_):
        verb = statement.split()[0]
        done[verb] += 1
        if verb in {"INSERT", "UPDATE", "DELETE"}:
            done["rows"] += cursor.rowcount  # of all that one statement was sent with

    engine = engines.engine("auth")
    event.listen(engine, "after_cursor_execute", stated)
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "_run", counted)
        yield done
    event.remove(engine, "after_cursor_execute", stated)


def told(answer):
    """All of an answer but the request's own id."""
    body = answer.get_json(silent=True) or {}
    headers = {name: value for name, value in answer.headers if name not in {"X-Request-Id", "Content-Length", "Date"}}
    return json.dumps([answer.status_code, {**body, "request_id": ""}, answer.text if not body else "", headers])


HASHING = {"_verified", "hash", "zxcvbn"}
MAKES_ROWS = {"sign-up"}
"""A new account is some statements more, beside hashing that takes many times as long; tries are as few as mails."""
MORE_ROWS = {"sign-in": 0, "sign-up": 6, "password-reset": 1, "verify-email/again": 1}
"""So many rows may tell of an account: of mails, the token. However many teams it has."""
ASKED = {
    "sign-in": {"password": "not the password at all"},
    "sign-up": {"password": "seven green herons by the weir", "name": "N"},
    "password-reset": {},
    "verify-email/again": {},
}


@pytest.mark.parametrize("path", ASKED)
def test_every_address_is_answered_alike_after_like_work(app, kinds, monkeypatch, path):
    answers, works, rows = {}, {}, {}
    Browser(app).post(f"{AUTH}/{path}", json=ASKED[path] | {"email": "first@example.test"})  # makes what is made once
    for kind, address in kinds.items():
        forget_failures()
        with work(monkeypatch) as done:
            answers[kind] = told(Browser(app).post(f"{AUTH}/{path}", json=ASKED[path] | {"email": address}))
        rows[kind] = done.pop("rows")
        works[kind] = {name: count for name, count in done.items() if path not in MAKES_ROWS or name in HASHING}
    assert len(set(answers.values())) == 1, answers
    assert len({json.dumps(one, sort_keys=True) for one in works.values()}) == 1, works
    assert max(rows.values()) - min(rows.values()) <= MORE_ROWS[path], rows
    hashed = sum(count for name, count in works["unknown"].items() if name in HASHING)
    assert hashed == {"sign-in": 1, "sign-up": 2}.get(path, 0)


@pytest.mark.parametrize("path", ASKED)
def test_every_address_is_refused_alike_and_after_as_many_tries(app, kinds, path):
    refused = {}
    for kind, address in kinds.items():
        forget_failures()
        tries = [Browser(app).post(f"{AUTH}/{path}", json=ASKED[path] | {"email": address}) for _ in range(12)]
        assert 300 < int(tries[-1].headers["Retry-After"]) <= 3600
        refused[kind] = [one.status_code for one in tries], sorted(tries[-1].headers.keys()), tries[-1].json["detail"]
    assert len({json.dumps(one) for one in refused.values()}) == 1, refused
    assert refused["unknown"][0][-1] == 429


def test_an_invitation_tells_nothing_of_whom_it_is_for(app, kinds):
    owner = Browser(app, people.sign_up())
    owner.team = owner.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    answers = set()
    for address in kinds.values():
        made = owner.post("/api/v1/team/invitations", json={"email": address, "role": "viewer"})
        own = {"id", "email", "created_at", "expires_at"}
        answers.add(
            json.dumps([made.status_code, {k: v for k, v in made.json.items() if k not in own}, sorted(made.json)])
        )
    assert len(answers) == 1


# --- guessing


def test_codes_of_a_second_factor_cannot_be_tried_through(app, db):
    """Whoever has the password has ten tries, and then even the right code does not help them."""
    person = people.set_second_factor(people.sign_up())
    guesser = Browser(app, address="203.0.113.7")
    statuses = [guesser.sign_in(person, code=f"{n:06}").status_code for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    late = guesser.sign_in(person, code=person.code())
    assert late.status_code == 429
    assert int(late.headers["Retry-After"]) > 0
    assert Browser(app, address="198.51.100.9").sign_in(person, code=person.code()).status_code == 200


def test_nor_from_many_addresses(app, db):
    person = people.set_second_factor(people.sign_up())
    statuses = Counter(
        Browser(app, address=f"203.0.{n // 9}.{n % 9 + 1}").sign_in(person, code=f"{n:06}").status_code
        for n in range(60)
    )
    assert statuses == {401: throttle.ACCOUNT.amount, 429: 60 - throttle.ACCOUNT.amount}


def test_nor_one_password_at_many_accounts(app, db, monkeypatch):
    """From one address, be they accounts or not. The bound on hashing would stop it in between: here it does not."""
    monkeypatch.setattr(throttle, "WORK", RateLimitItemPerMinute(1_000, 1, namespace="agora-test-work"))
    most, known = throttle.ADDRESS.amount, people.sign_up()
    addresses = [known.email, *(f"nobody{n}@example.test" for n in range(most + 4))]
    wrong = {"password": "not the password at all"}
    statuses = [
        Browser(app, address="203.0.113.7").post(f"{AUTH}/sign-in", json=wrong | {"email": address}).status_code
        for address in addresses
    ]
    assert statuses == [401] * most + [429] * 5
    assert Browser(app, address="203.0.113.7").sign_in(known).status_code == 429
    assert Browser(app, address="203.0.113.8").sign_in(known).status_code == 200


def test_nor_can_who_has_session_and_password_try_codes_through(app, db):
    """Neither of the app nor of recovery: the right one does not help after ten wrong ones."""
    person = people.sign_up()
    browser = Browser(app, person)
    people.set_second_factor(person)

    def remove(code):
        body = {"password": PASSWORD, "code": code}
        return browser.post("/api/v1/me/second-factor/remove", json=body).status_code

    assert [remove("000000" if n % 2 else "aaaa-bbbb-cccc-dddd") for n in range(10)] == [422] * 10
    assert [remove(code) for code in (person.code(), person.recovery_codes[0])] == [429] * 2


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("post", "second-factor/confirm", {"code": "000000"}),
     ("post", "second-factor", {"password": "wrong wrong wrong"}),
     ("post", "second-factor/remove", {"password": "wrong wrong wrong", "code": "000000"}),
     ("post", "second-factor/recovery-codes", {"password": "wrong wrong wrong"}),
     ("post", "identities", {"password": "wrong wrong wrong"}),
     ("post", "password", {"old_password": "wrong wrong wrong", "new_password": PASSWORD})],
)  # fmt: skip
def test_who_is_signed_in_cannot_guess_on(app, with_provider, method, path, body):
    browser = Browser(app, people.sign_up())
    if path == "second-factor/confirm":
        browser.post("/api/v1/me/second-factor", json={"password": PASSWORD})
    statuses = [getattr(browser, method)(f"/api/v1/me/{path}", json=body).status_code for _ in range(12)]
    assert statuses == [422] * 10 + [429] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [("password-reset/confirm", {"password": PASSWORD}), ("verify-email", {"password": PASSWORD}),
     ("accept-invitation", {"password": PASSWORD, "name": "N"})],
)  # fmt: skip
def test_one_time_tokens_cannot_be_guessed(app, db, path, body):
    """They are signed, so there is nothing to try through; and tries are few."""
    statuses = [
        Browser(app, address="203.0.113.8").post(f"{AUTH}/{path}", json=body | {"token": f"ott_x.{n}"}).status_code
        for n in range(throttle.WORK.amount + 2)
    ]
    assert statuses == [422] * throttle.WORK.amount + [429] * 2


def in_place_of(token):
    """Tokens like it that are signed by nobody: of another id, another time, another mark; and no token at all."""
    name, expiry, mark = token.split(".")
    kind, _, tail = name.partition("_")
    other = f"{kind}_{tail[:-1]}{'0' if tail[-1] != '0' else '1'}"
    return [
        f"{other}.{expiry}.{mark}", f"{name}.{int(expiry) + 1}.{mark}", f"{name}.{expiry}.{'0' * len(mark)}",
        f"{name}.{expiry}.{mark[:-1]}", f"{name}.{expiry}.é", f"{name}.{expiry}", f"{kind}_x.1.y", "x", "..",
    ]  # fmt: skip


def tokens_of(purpose):
    """A token of a mail that works, and one that was good before."""
    person = people.sign_up(verified=False)
    if purpose == "invitation":
        with transaction("auth") as session:
            team_id = user_queries.find_personal_team(session, person.id)
        made = [
            invitations.invite(team_id, f"new{n}@example.test", "viewer", by=person.id, address="127.0.0.1")[0]
            for n in range(2)
        ]
        invitations.revoke_invitation(team_id, made[1].id)
        with transaction("auth") as session:
            return [invitations._token(session.get_one(InvitationRow, one.id)) for one in made]
    with transaction("auth") as session:
        row = session.get(UserRow, person.id)
        good, used = (one_time.issue(session, row, purpose) for _ in range(2))
        session.flush()
        one_time.redeem(session, used, purpose)
    return good, used


@pytest.mark.parametrize(
    ("purpose", "path", "body", "done"),
    [(Purpose.RESET, f"{AUTH}/password-reset/confirm", {"password": "seven green herons by the weir"}, 204),
     (Purpose.VERIFY, f"{AUTH}/verify-email", {"password": PASSWORD}, 200),
     ("invitation", f"{AUTH}/accept-invitation", {"password": PASSWORD, "name": "N"}, 201),
     ("invitation", "/api/v1/teams/accept", {}, 200)],
)  # fmt: skip
def test_a_token_that_is_nearly_right_is_told_as_one_that_is_nothing(app, db, purpose, path, body, done):
    good, void = tokens_of(purpose)
    visitor = Browser(app)
    if path.startswith("/api/v1/teams"):
        visitor.sign_in(people.sign_up(email="new0@example.test"))
    answers = []
    for token in [void, *in_place_of(good)]:
        forget_failures()
        answers.append(visitor.post(path, json=body | {"token": token}))
    assert {told(one) for one in answers} == {told(answers[-1])}
    assert answers[0].status_code == 422
    assert visitor.post(path, json=body | {"token": good}).status_code == done


def test_a_forged_ticket_tells_nothing_of_its_user(app, kinds, with_provider):
    """What leads from a provider to the second factor: nobody learns by it which users there are, and in what state."""
    with transaction("auth") as session:
        ids = [user_queries.find_by_email(session, email).id for email in kinds.values() if email != UNKNOWN]
    answers = []
    for one in [*ids, new_id("usr"), "usr_x"]:
        forget_failures()
        sent = {"ticket": f"{one}.9999999999.{'0' * 64}", "code": "000000"}
        answers.append(Browser(app).post(f"{AUTH}/oidc/finish", json=sent))
    assert {told(one) for one in answers} == {told(answers[0])}
    assert answers[0].status_code == 401


def test_portal_links_cannot_be_guessed(app, caller, setting):
    """Of 256 bits: nothing tells a near miss from a far one, and tries are as few as those of any stranger."""
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 8)
    url = caller.post("/api/v1/webhook-portal-links", json={"scope": {"customer": "acme"}}).json["url"]
    right = url.rpartition("/")[2]
    assert len(right) == 43
    nearly = [right[:-1], right[:-1] + ("A" if right[-1] != "A" else "B"), right + "A", "x", right.swapcase()]

    def tried(token, address="203.0.113.9"):
        return app.test_client().get(f"/webhook-portal/l/{token}", environ_base={"REMOTE_ADDR": address})

    answers = [tried(token) for token in nearly]
    assert len({re.sub("<time.*</time>", "", one.text) for one in answers}) == 1
    assert [one.status_code for one in answers] == [404] * 5
    assert [tried("x" * 43).status_code for _ in range(5)] == [404] * 3 + [429] * 2
    assert tried(right).status_code == 429
    assert tried(right, "203.0.113.10").status_code == 200


def test_keys_and_refresh_tokens_are_too_long_to_be_guessed(app, db):
    """So their look-ups need no throttle: 256 bits, and nothing tells a near miss from a far one."""
    browser = Browser(app, people.sign_up())
    right = browser.tokens["refresh_token"]
    assert len(right) >= 43
    details = {
        browser.post(f"{AUTH}/refresh", json={"refresh_token": token}).json["detail"]
        for token in (right[:-1], right[:-1] + ("A" if right[-1] != "A" else "B"), right + "A", "x", right.swapcase())
    }
    assert len(details) == 1
