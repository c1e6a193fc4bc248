"""The platform's own audit log over HTTP: who may read it, what is in it and what is not, filters, pages, CSV."""

import csv
import io
import json

import pytest

from agora.audit import duties
from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.client import Agora
from agora.db.session import transaction
from agora.identity.roles import SystemRole
from tests.support import people
from tests.support.people import Browser
from tests.support.shell import Shell, serving

LOG, SHEET = "/api/v1/system/audit", "/api/v1/system/audit.csv"


def note(object_id, team_id=PLATFORM, **after):
    with transaction("auth") as session:
        audit.record(session, "limit.set", object_id, team_id=team_id, after=after)


def listed(boss, **query):
    answered = boss.get(LOG, query_string=query)
    assert answered.status_code == 200, answered.text
    return answered.json["items"]


def sheet(boss, **query):
    answered = boss.get(SHEET, query_string=query)
    assert answered.status_code == 200, answered.text
    return list(csv.DictReader(io.StringIO(answered.get_data(as_text=True), newline="")))


def test_what_an_administrator_did_is_told_with_who_and_where(admin):
    boss, ada = admin(), people.sign_up()
    body = {"email": ada.email, "role": "support"}
    boss.post("/api/v1/system/admins", json=body, headers={"X-Request-Id": "r-1"})
    [entry] = listed(boss, object_id=ada.id)
    assert entry["action"] == "administrator.granted"
    assert (entry["actor_kind"], entry["actor_id"]) == ("user", boss.person.id)
    assert (entry["address"], entry["request_id"], entry["after"]) == ("127.0.0.1", "r-1", body)
    assert (entry["seq"], entry["hash"]) == (None, None)
    duties.chain_entries()
    [entry] = listed(boss, object_id=ada.id)
    assert (entry["seq"], len(entry["hash"])) == (2, 64)
    assert [one["hash"] for one in sheet(boss, object_id=ada.id)] == [entry["hash"]]


def test_it_is_read_from_either_end_and_with_chosen_fields_only(admin):
    boss = admin()
    for name in ("first", "second"):
        note(name)
    assert listed(boss, action="limit.set", fields="object_id") == [{"object_id": "second"}, {"object_id": "first"}]
    oldest = listed(boss, action="limit.set", sort="created_at")
    assert [one["object_id"] for one in oldest] == ["first", "second"]


def test_nothing_of_a_team_is_in_it_and_nothing_of_it_in_a_team_s(admin, caller):
    boss = admin()
    note("of the team", team_id=caller.team_id)
    note("of the platform")
    assert [one["object_id"] for one in listed(boss, action="limit.set")] == ["of the platform"]
    assert [one["object_id"] for one in sheet(boss, action="limit.set")] == ["of the platform"]
    theirs = caller.get("/api/v1/audit?action=limit.set").json["items"]
    assert [one["object_id"] for one in theirs] == ["of the team"]
    named = boss.get(LOG, headers={"Agora-Team": caller.team_id})
    assert named.status_code == 404, "they are no member of it"


@pytest.mark.parametrize("path", [LOG, SHEET])
def test_only_super_administrators_with_a_second_factor_read_it(app, admin, caller, path):
    assert admin().get(path).status_code == 200
    for role in set(SystemRole) - {SystemRole.SUPER}:
        refused = admin(role).get(path)
        assert (refused.status_code, refused.json["needed"]) == (403, "system:audit:read")
    assert caller.get(path).status_code == 403
    assert Browser(app, people.sign_up()).get(path).status_code == 403
    assert app.test_client().get(path).status_code == 401
    boss = admin()
    used = {"password": boss.person.password, "code": boss.person.recovery_codes[0]}
    assert boss.post("/api/v1/me/second-factor/remove", json=used).status_code == 204
    assert boss.get(path).json["code"] == "second-factor-required"


def test_it_has_the_filters_of_a_team_s(admin):
    boss = admin()
    note("one", max_running=1)
    first = listed(boss, object_id="one")[0]
    note("other", max_running=2)
    assert [one["object_id"] for one in listed(boss, action="limit.*")] == ["other", "one"]
    assert [one["object_id"] for one in listed(boss, action="limit.*", until=first["at"])] == []
    assert [one["object_id"] for one in sheet(boss, since=first["at"], object_type="limit")] == ["other", "one"]
    assert listed(boss, address="127.0.0.2") == listed(boss, actor="nobody") == []
    for query in ("action=key.gone", "since=yesterday", "who=me", "actor=", "cursor=aud_x", "limit=0"):
        for path in (LOG, SHEET):
            answered = boss.get(f"{path}?{query}")
            assert answered.json["errors"][0]["pointer"] == f"/{query.partition('=')[0]}", path


def test_its_pages_follow_one_another_and_their_cursors_are_of_no_other_list(admin):
    boss = admin()
    for number in range(5):
        note(f"agent{number}")
    seen, query = [], {"limit": 2, "action": "limit.set"}
    while True:
        page = boss.get(LOG, query_string=query).json
        seen += [one["object_id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [f"agent{number}" for number in reversed(range(5))]
    for path in ("/api/v1/audit", f"{LOG}?action=limit.*"):
        sign = "&" if "?" in path else "?"
        refused = boss.get(f"{path}{sign}cursor={query['cursor']}")
        assert refused.json["errors"][0]["rule"] == "cursor", path


def test_client_and_command_line_read_it(application, admin, tmp_path):
    boss = admin()
    for number in range(3):
        note(f"agent{number}", max_running=number)
    token = boss.tokens["access_token"]
    with serving(application) as url:
        with Agora(url, token) as us:
            found = [one["object_id"] for one in us.iter_platform_audit(limit=2, action="limit.set")]
            assert us.list_platform_audit(object_id="agent1")["items"][0]["after"] == {"max_running": 1}
            assert b"agent1" in us.export_platform_audit(object_id="agent1")
        assert found == ["agent2", "agent1", "agent0"]
        shell = Shell(url, token)
        shown = json.loads(shell("audit", "list", "--as-admin", "--object", "agent2", "--json"))
        assert [one["object_id"] for one in shown] == ["agent2"]
        shell("audit", "export", "--as-admin", "--action", "limit.*", "-o", str(tmp_path / "log.csv"))
        assert "give one of them" in shell("audit", "list", "--as-admin", "--platform", code=2)
    assert (tmp_path / "log.csv").read_text().count("agent") == 3
