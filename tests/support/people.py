"""Users of tests: made by the services, as sign-up would, without its mail."""

import time
from dataclasses import dataclass
from itertools import count
from urllib.parse import parse_qs, urlsplit

import pyotp

from agora.clock import now
from agora.db.session import transaction
from agora.identity import administrators, passwords, sign_in, users
from agora.identity.models import UserRow
from agora.identity.roles import SystemRole

PASSWORD = "four brown owls on a slate roof"
NUMBERS = count(1)
_hash = []


@dataclass
class Person:
    """A user, with what only they know."""

    id: str
    email: str
    password: str = PASSWORD
    totp: object = None
    recovery_codes: tuple = ()

    def code(self):
        """The code of now."""
        return self.totp.at(time.time())


def sign_up(*, verified=True, email=None, name="Ada"):
    """A user with a personal team."""
    email = email or f"ada{next(NUMBERS)}@example.test"
    if not _hash:
        _hash.append(passwords.hash_of(PASSWORD))
    with transaction("auth") as session:
        row = users.insert_user(session, email, name, _hash[0])
        row.verified_at = now() if verified else None
        return Person(id=row.id, email=email)


def code_of(uri, *, later=0):
    """The code that an app shows now for what its QR code says; or that many codes later."""
    totp = pyotp.TOTP(parse_qs(urlsplit(uri).query)["secret"][0])
    return totp.at(time.time() + later * totp.interval)


def set_second_factor(person):
    """Enrol and confirm; the code of now is then used up, so the step is taken back."""
    uri = sign_in.enrol_second_factor(person.id, person.password)
    person.totp = pyotp.TOTP(parse_qs(urlsplit(uri).query)["secret"][0])
    person.recovery_codes = sign_in.confirm_second_factor(person.id, person.code())
    with transaction("auth") as session:
        session.get(UserRow, person.id).totp_used = 0
    return person


class Browser:
    """A client of the API that signs in as a person."""

    def __init__(self, app, person=None, *, address="127.0.0.1"):
        self._client, self.address = app.test_client(), address
        self.tokens, self.team = {}, None
        if person is not None:
            self.sign_in(person)

    def sign_in(self, person, **more):
        """Sign in; the answer."""
        body = {"email": person.email, "password": person.password, **more}
        answered = self.post("/api/v1/auth/sign-in", json=body)
        if answered.status_code == 200:
            self.tokens = answered.json
        return answered

    def refresh(self):
        """Take new tokens; the answer."""
        answered = self.post("/api/v1/auth/refresh", json={"refresh_token": self.tokens["refresh_token"]})
        if answered.status_code == 200:
            self.tokens = answered.json
        return answered

    def __getattr__(self, method):
        def call(path, headers=None, **options):
            sent = {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}
            sent |= {"Agora-Team": self.team} if self.team else {}
            options.setdefault("environ_base", {"REMOTE_ADDR": self.address})
            return getattr(self._client, method)(path, headers=sent | (headers or {}), **options)

        return call


def administrator(app, role=SystemRole.SUPER):
    """Somebody with a system role, signed in with a second factor. The super one may all that concerns the platform."""
    person = set_second_factor(sign_up())
    administrators.grant(person.email, role, by=None)
    browser = Browser(app)
    answered = browser.sign_in(person, code=person.code())
    assert answered.status_code == 200, answered.json
    return browser
