"""What clients of the oldest version of v1 were answered, they are answered still: recorded exchanges, replayed.

The answers of tests/golden/v1 were recorded before there was a newer version; those of accounts, members and versions,
and what is added since, by a newer one that spoke the oldest. They are compared whole. A field that is
new in an answer is no break, and must be recorded (`make golden`), which refuses to drop or to change anything.
"""

import email
import email.policy
import json
import os
import re

import pytest

from agora.identity import duties as identity_duties
from agora.jobs import catalogue
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.probe import probe, released
from tests.support.recorded import FOLDER, lost, operations_in, replay, text_of
from tests.support.rig import Rig

OLDEST = "2026-11-23"
RECORD = os.environ.get("RECORD") == "1"
FILES = sorted(FOLDER.glob("*.json"))
CONTRACTS = FOLDER.parent / "openapi"
METHODS = {"get", "post", "put", "patch", "delete"}
UNRECORDED = {
    "GET /api/v1/event-types": "it lists the whole catalogue, which grows; event-types.json has two of its items, and "
    "tests/golden/event_types every one",
}
"""Operations of the oldest version that no recording has a success of, each with the reason."""


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


@pytest.fixture
def deeds(rig, setting, tmp_path):
    """What happens between requests."""
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")

    def mail(asked):
        """The token of the newest mail to somebody."""
        identity_duties.send_mails()
        paths = sorted((tmp_path / "mail").glob("*.eml"))
        sent = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]
        newest = [one for one in sent if one["To"] == asked["to"]][-1]
        return {"token": re.search(r"^ {4}(\S+)\s*$", newest.get_content(), re.MULTILINE)[1]}

    def release(_):
        rig.agent = released()
        rig.engine = rig.worker()

    def code(asked):
        """What an authenticator app shows."""
        return {"digits": people.code_of(asked["of"], later=asked.get("later", 0))}

    return {
        "run": lambda _: rig.run() and None, "release": release, "mail": mail, "code": code,
        "open": lambda _: setting("AGORA_SIGN_UP", "open"),
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_oldest_version_is_answered_as_ever(path, callers, deeds):
    recorded = json.loads(path.read_text())
    found = replay(recorded, callers, deeds=deeds, version=OLDEST)
    broken = lost(recorded, found)
    assert not broken, "\n".join(broken)
    if RECORD:
        path.write_text(text_of(found))
    assert found == json.loads(path.read_text()), "answers have more than was recorded: make golden"


def test_a_success_of_every_operation_of_the_oldest_version_is_recorded():
    paths = json.loads((CONTRACTS / f"{OLDEST}.json").read_text())["paths"]
    promised = {f"{method.upper()} {path}" for path, item in paths.items() for method in METHODS & item.keys()}
    exchanges = [one for path in FILES for one in json.loads(path.read_text()) if "response" in one]
    recorded = operations_in(exchanges, promised)
    assert len(promised) > 100
    assert promised - recorded == UNRECORDED.keys()
