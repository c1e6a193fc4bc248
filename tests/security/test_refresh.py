"""Refresh tokens that come late, at once, forged, or of whoever may no more: what ends with them, and what does not.

One that comes again at once, and sign-out: tests/integration/test_sessions.py.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from agora import crypto
from agora.audit.models import EntryRow
from agora.clock import now
from agora.db import engines
from agora.db.session import transaction
from agora.identity import access_tokens, administrators, refresh_tokens, sessions
from agora.identity.models import SessionRow, UserRow
from agora.ids import new_id
from agora.settings import get_settings
from tests.support import people
from tests.support.locks import until_waiting
from tests.support.people import Browser

REFRESH, ME = "/api/v1/auth/refresh", "/api/v1/me"
ROTATIONS = 5
VOID = (401, "unauthenticated", "the refresh token is not valid; sign in again")


def replay(app, token):
    """What somebody elsewhere is told who has the token."""
    answer = Browser(app, address="203.0.113.9").post(REFRESH, json={"refresh_token": token})
    return answer.status_code, answer.json.get("code"), answer.json.get("detail")


def generations(browser):
    """Refresh some times; all tokens that the session has had, the oldest first."""
    had = [dict(browser.tokens)]
    for _ in range(ROTATIONS):
        assert browser.refresh().status_code == 200
        had.append(dict(browser.tokens))
    return had


def reads(app, tokens):
    """What the access token of these says."""
    browser = Browser(app)
    browser.tokens = tokens
    return browser.get(ME).status_code


def how_it_ended(session_id):
    with transaction("auth") as session:
        told = session.query(EntryRow).filter(EntryRow.action == "user.token_reused")
        return session.get(SessionRow, session_id).revoked_why, [row.after["session_id"] for row in told]


@contextmanager
def untouched(app, *browsers):
    """These go on as if nothing were: what they had works, and gives the next."""
    before = [browser.get(ME).json for browser in browsers]
    yield
    for browser, me in zip(browsers, before, strict=True):
        assert browser.get(ME).json == me
        assert browser.refresh().status_code == 200
        assert browser.get(ME).json == me


@pytest.mark.parametrize("generation", [0, 2, ROTATIONS - 1])
def test_an_ancestor_ends_the_whole_family_and_nobody_else(app, generation):
    """However old it is, and whichever token of the family is the newest."""
    ada = people.sign_up()
    browser, elsewhere, other = Browser(app, ada), Browser(app, ada), Browser(app, people.sign_up())
    had = generations(browser)
    assert [reads(app, tokens) for tokens in had] == [200] * len(had)  # remembered now, as each says who and no more
    with untouched(app, elsewhere, other):
        assert replay(app, had[generation]["refresh_token"]) == VOID
        assert [reads(app, tokens) for tokens in had] == [401] * len(had)
        assert [replay(app, tokens["refresh_token"]) for tokens in reversed(had)] == [VOID] * len(had)
    ended = had[0]["session_id"]
    assert how_it_ended(ended) == (sessions.REUSED, [ended])  # told once, however often they come


def test_of_two_that_come_at_once_one_wins_and_what_it_wins_is_void(app):
    """Nobody can tell the owner from the thief, so the second ends what the first has begun."""
    ada = people.sign_up()
    browser, elsewhere = Browser(app, ada), Browser(app, ada)
    [*_, last] = generations(browser)

    def refresh(_):
        return Browser(app).post(REFRESH, json={"refresh_token": last["refresh_token"]})

    with untouched(app, elsewhere), ThreadPoolExecutor(2) as pool:
        with transaction("auth") as session:
            session.get(SessionRow, last["session_id"], with_for_update=True)
            sent = [pool.submit(refresh, number) for number in range(2)]
            until_waiting(2, database="auth")  # both have come before either is answered
        answers = [one.result() for one in sent]
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    [won] = [answer.json for answer in answers if answer.status_code == 200]
    assert won["session_id"] == last["session_id"]
    assert reads(app, won) == 401
    assert replay(app, won["refresh_token"]) == VOID
    assert how_it_ended(last["session_id"]) == (sessions.REUSED, [last["session_id"]])


def test_after_sign_out_no_token_of_the_family_says_more_than_that_it_is_void(app):
    ada = people.sign_up()
    browser, elsewhere = Browser(app, ada), Browser(app, ada)
    had = generations(browser)
    with untouched(app, elsewhere):
        assert browser.post("/api/v1/auth/sign-out").status_code == 204
        assert [replay(app, tokens["refresh_token"]) for tokens in had] == [VOID] * len(had)
    assert how_it_ended(had[0]["session_id"]) == (sessions.SIGNED_OUT, [])


@pytest.mark.parametrize("mark_only", [True, False], ids=["in the database alone", "by an administrator"])
def test_a_disabled_account_gets_no_tokens_and_uses_none_up(app, mark_only):
    """Disabled by an administrator, its sessions have ended, and do not come back with the account."""
    ada = people.sign_up()
    browser, other = Browser(app, ada), Browser(app, people.sign_up())
    token = browser.tokens["refresh_token"]
    with untouched(app, other):
        with transaction("auth") as session:
            row = session.get(UserRow, ada.id)
            if mark_only:
                row.disabled_at = now()
            else:
                administrators.disable(session, row)
        assert [replay(app, token) for _ in range(2)] == [VOID] * 2
    with transaction("auth") as session:
        administrators.enable(session, session.get(UserRow, ada.id))
    assert browser.refresh().status_code == (200 if mark_only else 401)
    assert how_it_ended(browser.tokens["session_id"])[1] == []


# --- the MAC


@contextmanager
def statements():
    """What is asked of the auth database meanwhile."""
    asked = []

    def note(_connection, _cursor, statement, *_):
        asked.append(statement)

    engine = engines.engine("auth")
    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


def forgeries(token):
    text, _, mark = token.rpartition(".")
    random, _, session_id = text.partition(".")
    other = new_id("sgn")
    yield "no mark", text
    yield "an empty mark", f"{text}."
    yield "a mark of zeros", f"{text}.{'0' * 64}"
    yield "a mark that is cut", token[:-1]
    yield "a mark in capitals", f"{text}.{mark.upper()}"
    yield "a mark in letters of elsewhere", f"{text}.{'é' * 64}"
    yield "another session", f"{random}.{other}.{mark}"
    yield "other random text", f"agora_refresh_{'A' * 43}.{session_id}.{mark}"
    yield "the mark of another purpose", f"{text}.{crypto.mac('forms of the webhook portal', text.encode())}"
    yield "more behind it", f"{token}.x"


def test_a_forged_token_is_refused_without_a_look_and_ends_nothing(app):
    browser = Browser(app, people.sign_up())
    token = browser.tokens["refresh_token"]
    access_tokens.signer()
    for what, forged in forgeries(token):
        with statements() as asked:
            assert replay(app, forged) == VOID, what
        assert asked == [], what
    assert replay(app, "agora_refresh_" + "A" * 43) == VOID
    assert browser.refresh().status_code == 200
    assert how_it_ended(browser.tokens["session_id"]) == (None, [])


def test_a_token_with_a_right_mac_that_was_never_issued_opens_nothing(app):
    """Whoever has the secret key makes the mark; what counts is the hash that the session's row has."""
    browser = Browser(app, people.sign_up())
    assert replay(app, refresh_tokens.issue(browser.tokens["session_id"])) == VOID
    assert browser.refresh().status_code == 200


def test_a_token_of_before_there_were_macs_works_once_and_gives_one_with_a_mac(app):
    browser = Browser(app, people.sign_up())
    old = "agora_refresh_" + "Ab-_" * 10 + "xyz"
    with transaction("auth") as session:
        session.get(SessionRow, browser.tokens["session_id"]).refresh_hash = refresh_tokens.digest(old)
    browser.tokens["refresh_token"] = old
    assert browser.refresh().status_code == 200
    assert refresh_tokens.session_of(browser.tokens["refresh_token"]) == browser.tokens["session_id"]
    assert replay(app, old) == VOID
    assert how_it_ended(browser.tokens["session_id"])[0] == sessions.REUSED


def test_a_mac_by_an_older_secret_key_counts_until_that_is_taken_away(app, setting):
    kept, lost = Browser(app, people.sign_up()), Browser(app, people.sign_up())
    before = get_settings().secret_key.get_secret_value()
    setting("AGORA_SECRET_KEY", "another-secret-key-of-tests-" + "x" * 32)
    setting("AGORA_SECRET_KEY_OLD", before)
    assert kept.refresh().status_code == 200
    setting("AGORA_SECRET_KEY_OLD", "")
    assert refresh_tokens.session_of(kept.tokens["refresh_token"]) == kept.tokens["session_id"]
    assert replay(app, lost.tokens["refresh_token"]) == VOID
