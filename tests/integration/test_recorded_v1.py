"""What clients of the oldest version of v1 were answered, they are answered still: recorded exchanges, replayed.

The answers of tests/golden/v1 were recorded before there was a newer version. They are compared whole. A field that is
new in an answer is no break, and must be recorded (`make golden`), which refuses to drop or to change anything.
"""

import json
import os

import pytest

from agora.jobs import catalogue
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.probe import probe
from tests.support.recorded import FOLDER, lost, replay, text_of
from tests.support.rig import Rig

OLDEST = "2026-11-23"
RECORD = os.environ.get("RECORD") == "1"


@pytest.fixture
def callers(app, db):
    ada = Browser(app, people.sign_up(email="ada@example.test"))
    return {
        "key": Caller(app, scopes=("*", "queues:write")), "reader": Caller(app, scopes=("jobs:read",)),
        "other": Caller(app, team="other"), "nobody": app.test_client(), "user": ada,
    }  # fmt: skip


@pytest.fixture
def rig(db, monkeypatch, callers):
    made = Rig(monkeypatch, probe)
    made.sql("DELETE FROM agent_versions WHERE agent <> 'probe'")  # of other tests, which lists would show
    catalogue.forget()
    return made


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_the_oldest_version_is_answered_as_ever(path, callers, rig):
    recorded = json.loads(path.read_text())
    found = replay(recorded, callers, run=rig.run, version=OLDEST)
    broken = lost(recorded, found)
    assert not broken, "\n".join(broken)
    if RECORD:
        path.write_text(text_of(found))
    assert found == json.loads(path.read_text()), "answers have more than was recorded: make golden"
