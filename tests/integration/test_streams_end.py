"""A live stream outlives its request: it ends soon after its caller is no longer let in, and not before.

So does an export of the audit log, which is broken off then: it must not look whole.
"""

import re
import socket
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest

from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.clock import now
from agora.db.session import transaction
from agora.identity import administrators
from agora.identity import service as identity
from agora.identity.models import MemberRow
from agora.identity.roles import SystemRole
from api import capacity
from api.v1 import audit as sheets
from api.v1 import events
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.probe import probe
from tests.support.rig import Rig
from tests.support.web import gunicorn

JOBS = "/api/v1/jobs"
SHEET, PLATFORM_SHEET = "/api/v1/audit.csv", "/api/v1/system/audit.csv"
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


# --- sheets


@pytest.fixture
def slowly(monkeypatch, db):
    """Sheets ask before each entry."""
    monkeypatch.setattr(sheets, "ASK_SECONDS", -1)
    monkeypatch.setattr(audit, "SLICE", 1)


class Sheet:
    """A sheet of six entries, read line by line."""

    def __init__(self, caller, path=SHEET, team_id=PLATFORM):
        with transaction("auth") as session:
            for number in range(6):
                audit.record(session, "limit.set", f"agent{number}", team_id=team_id, after={"max_running": 1})
        self.response = caller.get(f"{path}?action=limit.set", buffered=False)
        assert self.response.status_code == 200
        self._lines = self.response.iter_encoded()
        assert next(self._lines).startswith(b"id,")
        self.goes_on(5)

    def goes_on(self, *numbers):
        for number in numbers:
            assert f"agent{number}".encode() in next(self._lines)

    def breaks_off(self):
        with pytest.raises(ConnectionResetError):
            next(self._lines)
        self.response.close()

    def ends(self):
        assert next(self._lines, None) is None
        self.response.close()


def test_a_sheet_is_broken_off_when_its_key_is_revoked_and_not_before(app, slowly):
    caller, other = Caller(app), Caller(app, team="other")
    sheet, kept = Sheet(caller, team_id=caller.team_id), Sheet(other, team_id=other.team_id)
    sheet.goes_on(4)
    key_id = identity.authenticate(caller.key).actor_id
    assert Caller(app).delete(f"/api/v1/keys/{key_id}").status_code == 204
    sheet.breaks_off()
    kept.goes_on(4, 3, 2, 1, 0)
    kept.ends()


def test_the_platform_s_is_broken_off_when_the_administrator_is_one_no_more(app, slowly):
    boss = people.administrator(app)
    sheet = Sheet(boss, PLATFORM_SHEET)
    sheet.goes_on(4, 3)
    people.administrator(app)  # the last one cannot go
    administrators.revoke_of(boss.get("/api/v1/me").json["email"], SystemRole.SUPER)
    sheet.breaks_off()


def test_a_sheet_counts_as_a_stream_until_it_is_closed(app, slowly, setting, monkeypatch):
    monkeypatch.setattr(capacity, "_held", Counter())  # tests that leave an answer unread leave it open

    def status(caller, path=SHEET):
        return caller.get(path, buffered=True).status_code

    setting("AGORA_MAX_STREAMS_PER_KEY", 1)
    caller, other = Caller(app), Caller(app)
    sheet = Sheet(caller, team_id=caller.team_id)
    assert (status(caller), status(other), status(caller, f"{SHEET}?action=nothing.here")) == (429, 200, 422)
    setting("AGORA_MAX_STREAMS", 1)
    assert status(other) == 503
    sheet.response.close()
    assert [status(other), status(caller), caller.head(SHEET, buffered=True).status_code, status(caller)] == [200] * 4


def test_what_is_broken_off_does_not_look_whole(app, tmp_path):
    """Two clients take a sheet that no buffer holds from the real server, and wait; the key of one is revoked."""
    revoked, kept, entries = Caller(app), Caller(app), 5000
    change = ({}, {"max_running": "9" * 1900})
    with transaction("auth") as session:
        audit.record_all(session, "limit.set", {f"a{n}": change for n in range(entries)}, team_id=kept.team_id)
    with gunicorn(tmp_path / "log") as web, web.wire() as cut, web.wire() as whole:
        for caller, wire in ((revoked, cut), (kept, whole)):
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            head = f"GET {SHEET}?action=limit.set HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            wire.send(f"{head}Authorization: Bearer {caller.key}\r\n\r\n".encode())
            assert wire.socket.recv(13).startswith(b"HTTP/1.1 200")
        identity.revoke_key(revoked.team_id, identity.authenticate(revoked.key).actor_id)
        time.sleep(sheets.ASK_SECONDS + 0.5)  # it asks when so long has passed
        ends = [wire.read() for wire in (cut, whole)]
    assert [taken.endswith(b"\r\n0\r\n\r\n") for taken in ends] == [False, True]
    told = [re.sub(rb"\r\n[0-9A-Fa-f]+\r\n", b"", taken).count(b"limit.set") for taken in ends]
    assert 0 < told[0] < told[1] == entries
    assert "Traceback" not in (tmp_path / "log").read_text()
