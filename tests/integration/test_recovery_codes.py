"""Recovery codes: what lets somebody in whose device is lost, each once."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from agora.api_versions import NEWEST, OLDEST
from agora.db.session import transaction
from agora.identity import operators, throttle
from agora.identity.models import RecoveryCodeRow
from tests.support import people
from tests.support.people import Browser

ME = "/api/v1/me"
CODES = f"{ME}/second-factor/recovery-codes"


@pytest.fixture
def person(app):
    return people.set_second_factor(people.sign_up())


def left(browser):
    return browser.get(ME).json["recovery_codes"]


def test_ten_codes_come_with_the_second_factor_and_only_hashes_are_kept(app):
    person = people.sign_up()
    browser = Browser(app, person)
    assert left(browser) == 0
    uri = browser.post(f"{ME}/second-factor", json={"password": person.password}).json["uri"]
    code = people.code_of(uri)
    confirmed = browser.post(f"{ME}/second-factor/confirm", json={"code": code}, headers={"Agora-Version": NEWEST})
    codes = confirmed.json["recovery_codes"]
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[a-z2-7]{4}(-[a-z2-7]{4}){3}", one) for one in codes)
    assert left(browser) == 10
    with transaction("auth") as session:
        kept = session.scalars(select(RecoveryCodeRow.hash)).all()
    assert len(kept) == 10
    assert not any(one.replace("-", "").upper().encode() in digest for one in codes for digest in kept)
    assert browser.post(f"{ME}/second-factor/confirm", json={"code": code}).status_code == 422
    assert browser.get(f"{ME}/sessions").json["items"][0]["second_factor"] is True


@pytest.mark.parametrize("written", [str, str.upper, lambda code: code.replace("-", "")])
def test_a_code_lets_in_once_however_it_is_written(app, person, written):
    code = written(person.recovery_codes[3])
    browser = Browser(app)
    assert browser.sign_in(person, code=code).status_code == 200
    assert left(browser) == 9
    assert Browser(app).sign_in(person, code=code).status_code == 401
    assert Browser(app).sign_in(person, code=person.recovery_codes[4]).status_code == 200


def test_a_code_that_is_tried_many_times_at_once_lets_in_once(app, person):
    code = person.recovery_codes[0]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Browser(app).sign_in(person, code=code).status_code, range(8)))
    assert sorted(answers) == [200] + [401] * 7


def test_a_code_of_somebody_else_or_with_a_wrong_password_does_nothing(app, person):
    other = people.set_second_factor(people.sign_up())
    assert Browser(app).sign_in(other, code=person.recovery_codes[0]).status_code == 401
    wrong = people.Person(id="", email=person.email, password="not this one at all")
    assert Browser(app).sign_in(wrong, code=person.recovery_codes[0]).status_code == 401
    assert Browser(app).sign_in(person, code=person.recovery_codes[0]).status_code == 200


def test_guessing_codes_is_throttled_as_other_codes_are(app, person):
    codes = ["aaaa-bbbb-cccc-dddd"] * throttle.PAIR.amount
    assert [Browser(app).sign_in(person, code=code).status_code for code in codes] == [401] * len(codes)
    assert Browser(app).sign_in(person, code=person.recovery_codes[0]).status_code == 429


def test_new_codes_need_the_password_and_a_session_with_the_second_factor(app, person):
    browser = Browser(app)
    browser.sign_in(person, code=person.code())
    assert browser.post(CODES, json={"password": "not this one at all"}).status_code == 422
    renewed = browser.post(CODES, json={"password": person.password}).json["recovery_codes"]
    assert len(renewed) == left(browser) == 10
    assert Browser(app).sign_in(person, code=person.recovery_codes[0]).status_code == 401
    assert Browser(app).sign_in(person, code=renewed[0]).status_code == 200


def test_a_session_from_before_the_second_factor_gets_no_new_codes(app):
    person = people.sign_up()
    browser = Browser(app, person)
    none = browser.post(CODES, json={"password": person.password})
    assert (none.status_code, none.json["code"]) == (409, "conflict")
    people.set_second_factor(person)
    refused = browser.post(CODES, json={"password": person.password})
    assert (refused.status_code, refused.json["code"]) == (403, "second-factor-required")


def test_a_code_takes_the_lost_second_factor_away_and_the_others_go_with_it(app, person):
    browser = Browser(app)
    browser.sign_in(person, code=person.recovery_codes[0])
    body = {"password": person.password, "code": person.recovery_codes[1]}
    assert browser.post(f"{ME}/second-factor/remove", json=body).status_code == 204
    assert left(browser) == 0
    assert Browser(app).sign_in(person).status_code == 200
    people.set_second_factor(person)
    assert len(person.recovery_codes) == 10


def test_an_operator_who_takes_it_away_takes_the_codes_too(app, person):
    operators.remove_second_factor(person.email)
    with transaction("auth") as session:
        assert session.query(RecoveryCodeRow).count() == 0


def test_a_factor_that_was_removed_gives_no_standing_to_sessions_once_another_is_set(app, person):
    """Whoever has an older session has not shown the new one."""
    older, present = Browser(app), Browser(app)
    for browser, code in zip((older, present), person.recovery_codes, strict=False):
        assert browser.sign_in(person, code=code).status_code == 200
    body = {"password": person.password, "code": person.recovery_codes[2]}
    assert present.post(f"{ME}/second-factor/remove", json=body).status_code == 204
    uri = present.post(f"{ME}/second-factor", json={"password": person.password}).json["uri"]
    assert present.post(f"{ME}/second-factor/confirm", json={"code": people.code_of(uri)}).status_code == 204
    shown = {one["id"]: one["second_factor"] for one in present.get(f"{ME}/sessions").json["items"]}
    assert sorted(shown.values()) == [False, True]
    assert shown[present.tokens["session_id"]] is True


def test_clients_of_the_older_version_are_answered_as_ever(app):
    person = people.sign_up()
    browser = Browser(app, person)
    code = people.code_of(browser.post(f"{ME}/second-factor", json={"password": person.password}).json["uri"])
    old = browser.post(f"{ME}/second-factor/confirm", json={"code": code}, headers={"Agora-Version": OLDEST})
    assert (old.status_code, old.data, old.headers.get("Content-Type")) == (204, b"", None)
    assert left(browser) == 10
