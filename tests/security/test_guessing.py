"""Who has an account, and with which password or code: nothing tells, and guessing ends soon.

That answers take as long for unknown addresses as for known ones is shown by counting the work and not by a clock: the
same hashing, and as many statements. Refresh tokens that are used twice: tests/integration/test_sessions.py.
"""

import json
from collections import Counter
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from agora.clock import now
from agora.db import engines
from agora.db.session import transaction
from agora.identity import passwords, throttle
from agora.identity.models import UserRow
from tests.conftest import forget_failures
from tests.support import people
from tests.support.people import PASSWORD, Browser

AUTH = "/api/v1/auth"
UNKNOWN = "nobody@example.test"


@pytest.fixture
def kinds(app, setting):
    """Addresses of accounts in every state, and one that has none."""
    setting("AGORA_SIGN_UP", "open")
    disabled = people.sign_up()
    with transaction("auth") as session:
        session.get(UserRow, disabled.id).disabled_at = now()
    return {
        "known": people.sign_up().email, "unconfirmed": people.sign_up(verified=False).email,
        "with a second factor": people.set_second_factor(people.sign_up()).email, "disabled": disabled.email,
        "unknown": UNKNOWN,
    }  # fmt: skip


@contextmanager
def work(monkeypatch):
    """Counts what is hashed, judged and asked of the auth database meanwhile."""
    done = Counter()

    def counted(what, arguments):
        done[what.__name__] += 1
        return what(*arguments)

    def stated(_connection, _cursor, statement, *_):
        done[statement.split()[0]] += 1

    engine = engines.engine("auth")
    event.listen(engine, "before_cursor_execute", stated)
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "_run", counted)
        yield done
    event.remove(engine, "before_cursor_execute", stated)


def told(answer):
    """All of an answer but the request's own id."""
    body = answer.get_json(silent=True) or {}
    headers = {name: value for name, value in answer.headers if name not in {"X-Request-Id", "Content-Length", "Date"}}
    return json.dumps([answer.status_code, {**body, "request_id": ""}, answer.text if not body else "", headers])


ASKED = {
    "sign-in": {"password": "not the password at all"},
    "sign-up": {"password": "seven green herons by the weir", "name": "N"},
    "password-reset": {},
    "verify-email/again": {},
}


@pytest.mark.parametrize("path", ASKED)
def test_every_address_is_answered_alike_after_like_work(app, kinds, monkeypatch, path):
    answers, works = {}, {}
    for kind, address in kinds.items():
        forget_failures()
        with work(monkeypatch) as done:
            answers[kind] = told(Browser(app).post(f"{AUTH}/{path}", json=ASKED[path] | {"email": address}))
        works[kind] = {name: count for name, count in done.items() if name in {"_verified", "hash", "zxcvbn"}}
    assert len(set(answers.values())) == 1, answers
    assert len({json.dumps(one, sort_keys=True) for one in works.values()}) == 1, works
    assert sum(works["unknown"].values()) == {"sign-in": 1, "sign-up": 2}.get(path, 0)


def test_an_account_without_a_password_that_fits_costs_as_much_as_none(app, kinds, monkeypatch):
    """Wrong passwords ask the database alike for known and unknown addresses."""
    asked = {}
    for kind in ("known", "with a second factor", "disabled", "unconfirmed", "unknown"):
        Browser(app).post(f"{AUTH}/sign-in", json=ASKED["sign-in"] | {"email": kinds[kind]})
        with work(monkeypatch) as done:
            Browser(app).post(f"{AUTH}/sign-in", json=ASKED["sign-in"] | {"email": kinds[kind]})
        asked[kind] = dict(done)
    assert len({json.dumps(one, sort_keys=True) for one in asked.values()}) == 1, asked


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


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("post", "second-factor/confirm", {"code": "000000"}),
     ("post", "second-factor", {"password": "wrong wrong wrong"}),
     ("post", "second-factor/remove", {"password": "wrong wrong wrong", "code": "000000"}),
     ("post", "password", {"old_password": "wrong wrong wrong", "new_password": PASSWORD})],
)  # fmt: skip
def test_who_is_signed_in_cannot_guess_on(app, db, method, path, body):
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
