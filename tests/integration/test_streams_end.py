"""A live stream outlives its request: it ends soon after its caller is no longer let in, and not before."""

import threading
import time
from datetime import timedelta

import pytest

from agora.clock import now
from agora.db.session import transaction
from agora.identity import service as identity
from agora.identity.models import MemberRow
from api.v1 import events
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.probe import probe
from tests.support.rig import Rig

JOBS = "/api/v1/jobs"
SOON = 10


@pytest.fixture
def quick(monkeypatch, db):
    Rig(monkeypatch, probe)
    monkeypatch.setattr(events, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(events, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.05)


class Stream:
    """The stream of a new job, read as it comes."""

    def __init__(self, caller):
        job = caller.post(JOBS, json={"agent": "probe", "action": "double", "input": {"n": 1}}).json
        self.path, self.text = f"{JOBS}/{job['id']}", ""
        self._response = caller.get(f"{self.path}/events", headers={"Accept": "text/event-stream"}, buffered=False)
        assert self._response.status_code == 200
        self.ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self.goes_on()

    def _read(self):
        for part in self._response.iter_encoded():
            self.text += part.decode()
        self._response.close()
        self.ended.set()

    def goes_on(self):
        """It says something more, several times."""
        before, deadline = self.text.count(":"), time.monotonic() + SOON
        while self.text.count(":") < before + 5:
            assert time.monotonic() < deadline
            assert not self.ended.is_set()
            time.sleep(0.01)

    def end(self):
        assert self.ended.wait(SOON), "it goes on"


def test_a_stream_of_a_user_goes_on_until_they_sign_out(app, quick):
    browser = Browser(app, people.sign_up())
    stream = Stream(browser)
    stream.goes_on()
    assert browser.post("/api/v1/auth/sign-out").status_code == 204
    stream.end()
    assert "job.created" in stream.text
    assert "job.cancelled" not in stream.text


def test_it_ends_when_the_user_is_no_member_any_more(app, quick):
    owner, person = Browser(app, people.sign_up()), people.sign_up()
    team_id = owner.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    with transaction("auth") as session:
        session.add(MemberRow(team_id=team_id, user_id=person.id, role="developer"))
    browser = Browser(app, person)
    browser.team = owner.team = team_id
    stream = Stream(browser)
    assert owner.delete(f"/api/v1/team/members/{person.id}").status_code == 204
    stream.end()


def test_an_access_token_that_runs_out_ends_no_stream(app, quick, monkeypatch):
    from agora.identity import access_tokens  # noqa: PLC0415

    browser = Browser(app, people.sign_up())
    stream = Stream(browser)
    with monkeypatch.context() as later:
        later.setattr(access_tokens, "now", lambda: now() + timedelta(hours=1))
        assert browser.get("/api/v1/me").status_code == 401
        stream.goes_on()
    browser.post("/api/v1/auth/sign-out")
    stream.end()


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_stream_of_a_key_ends_with_the_key(app, quick, how):
    caller, other = Caller(app), Caller(app)
    if how == "expired":
        soon = now() + timedelta(seconds=2)
        caller.key = identity.create_key(caller.team_id, "short", expires_at=soon).plain
    kept, stream = Stream(other), Stream(caller)
    if how == "revoked":
        key_id = identity.authenticate(caller.key).actor_id
        assert other.delete(f"/api/v1/keys/{key_id}").status_code == 204
    stream.end()
    kept.goes_on()
    other.post(f"{kept.path}/cancel", json={})
    kept.end()
    assert "job.cancelled" in kept.text
