"""The audit log over HTTP: filters, pages, CSV, and who may read it; who made a key."""

import csv
import io
from datetime import timedelta

from agora.audit import duties
from agora.audit import service as audit
from agora.clock import now
from agora.db.session import transaction
from agora.identity import service as identity
from agora.identity.models import MemberRow
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser

LOG, SHEET = "/api/v1/audit", "/api/v1/audit.csv"


def note(team_id, action="limit.set", object_id="probe", **after):
    with transaction("auth") as session:
        audit.record(session, action, object_id, team_id=team_id, after=after)


def listed(caller, **query):
    answered = caller.get(LOG, query_string=query)
    assert answered.status_code == 200, answered.text
    return answered.json["items"]


def test_what_a_caller_did_is_told_with_who_and_where(caller):
    made = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}, headers={"X-Request-Id": "r-1"})
    [entry] = listed(caller, object_id=made.json["id"])
    own = next(one["id"] for one in caller.get("/api/v1/keys").json["items"] if one["name"] == "k")
    assert (entry["action"], entry["actor_kind"]) == ("key.created", "key")
    assert (entry["actor_id"], entry["actor_name"]) == (own, "k")
    assert (entry["address"], entry["request_id"], entry["before"]) == ("127.0.0.1", "r-1", {})
    assert entry["after"]["scopes"] == ["jobs:read"]
    assert (entry["seq"], entry["hash"]) == (None, None)
    duties.chain_entries()
    [entry] = listed(caller, object_id=made.json["id"])
    assert (entry["seq"], len(entry["hash"])) == (2, 64)


def test_each_filter_narrows_down(caller):
    made = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}).json["id"]
    caller.delete(f"/api/v1/keys/{made}")
    note(caller.team_id, max_running=3)
    [first] = listed(caller, action="key.revoked")
    assert [one["action"] for one in listed(caller)] == ["limit.set", "key.revoked", "key.created", "key.created"]
    assert len(listed(caller, action="key.*")) == 3
    assert len(listed(caller, action="*")) == 4
    assert [one["action"] for one in listed(caller, object_type="limit")] == ["limit.set"]
    assert len(listed(caller, object_id=made)) == 2
    assert len(listed(caller, actor=first["actor_id"])) == 2
    assert len(listed(caller, address="127.0.0.1")) == 2
    assert listed(caller, address="127.0.0.2") == []
    since = {"since": first["at"]}
    assert [one["action"] for one in listed(caller, **since)] == ["limit.set", "key.revoked"]
    assert [one["action"] for one in listed(caller, until=first["at"])] == ["key.created", "key.created"]
    assert listed(caller, until="0184-12-07T20:31:23Z") == listed(caller, since="9999-12-31T23:59:59Z") == []
    assert listed(caller, since=(now() + timedelta(minutes=1)).isoformat()) == []


def test_the_log_is_read_from_either_end_and_with_chosen_fields_only(caller):
    for number in range(5):
        note(caller.team_id, object_id=f"o{number}")
    newest = [one["object_id"] for one in listed(caller, object_type="limit")]
    assert newest == ["o4", "o3", "o2", "o1", "o0"]
    found, query = [], {"object_type": "limit", "sort": "created_at", "fields": "object_id,at", "limit": 2}
    while query is not None:
        page = caller.get(LOG, query_string=query).json
        found += page["items"]
        query = query | {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert [one["object_id"] for one in found] == newest[::-1]
    assert [one["at"] for one in found] == sorted(one["at"] for one in found)
    assert {frozenset(one) for one in found} == {frozenset({"object_id", "at"})}


def test_a_filter_that_is_none_is_refused_by_name(caller):
    for query in (
        "action=key.gone",
        "action=nothing.*",
        "since=yesterday",
        "who=me",
        "actor=",
        "cursor=aud_x",
        "limit=0",
    ):
        for path in (LOG, SHEET):
            answered = caller.get(f"{path}?{query}")
            pointer = f"/{query.partition('=')[0]}"
            assert (answered.status_code, answered.json["errors"][0]["pointer"]) == (422, pointer)


def test_pages_follow_one_another_whatever_is_written_meanwhile(caller):
    for number in range(7):
        note(caller.team_id, object_id=f"agent{number}")
    seen, cursor = [], None
    while True:
        query = {"limit": 3, "action": "limit.set", **({"cursor": cursor} if cursor else {})}
        page = caller.get(LOG, query_string=query).json
        seen += [one["object_id"] for one in page["items"]]
        note(caller.team_id, object_id="later")
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"agent{number}" for number in reversed(range(7))]


def test_another_team_sees_nothing_and_only_owners_see_anything(app, caller):
    note(caller.team_id)
    other = Caller(app, team="other")
    assert [one["object_type"] for one in listed(other)] == ["key"]
    assert caller.team_id not in other.get(SHEET).text
    narrow = Caller(app, scopes=("jobs:read", "keys:manage"))
    for path in (LOG, SHEET):
        assert (narrow.get(path).status_code, narrow.get(path).json["needed"]) == (403, "audit:read")
    owner = Browser(app, people.sign_up())
    owner.team = owner.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    lead = people.sign_up()
    with transaction("auth") as session:
        session.add(MemberRow(team_id=owner.team, user_id=lead.id, role="lead"))
    browser = Browser(app, lead)
    browser.team = owner.team
    assert (owner.get(LOG).status_code, browser.get(LOG).status_code) == (200, 403)


def sheet(caller, query=""):
    answered = caller.get(f"{SHEET}{query}")
    assert answered.status_code == 200
    return answered, list(csv.DictReader(io.StringIO(answered.get_data(as_text=True), newline="")))


def test_an_export_has_every_entry_in_slices(caller, monkeypatch):
    monkeypatch.setattr(audit, "SLICE", 2)
    for number in range(5):
        note(caller.team_id, object_id=f"agent{number}", max_running=number)
    answered, rows = sheet(caller, "?action=limit.set")
    assert answered.headers["Content-Type"].startswith("text/csv; charset=utf-8")
    assert "attachment" in answered.headers["Content-Disposition"]
    assert [one["object_id"] for one in rows] == [f"agent{number}" for number in reversed(range(5))]
    assert (rows[0]["after"], rows[0]["actor_kind"], rows[0]["actor_id"]) == ('{"max_running": 4}', "system", "")
    assert sheet(caller, "?object_id=nobody")[1] == []


def test_no_cell_is_taken_for_a_formula(caller):
    texts = ["=HYPERLINK()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]
    for text in texts:
        note(caller.team_id, object_id=text)
    rows = sheet(caller, "?action=limit.set")[1]
    assert [one["object_id"] for one in reversed(rows)] == [f"'{text}" for text in texts]


def test_a_cell_with_commas_quotes_and_lines_stays_one(caller):
    note(caller.team_id, object_id='a,"b"\nc')
    [row] = sheet(caller, "?action=limit.set")[1]
    assert row["object_id"] == 'a,"b"\nc'


def test_a_key_says_who_made_it(app, caller):
    first = caller.get("/api/v1/keys").json["items"][0]
    assert first["created_by"] is None, "the operator made it"
    second = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}).json
    assert second["created_by"] == first["id"]
    rotated = caller.post(f"/api/v1/keys/{second['id']}/rotate", json={"overlap_seconds": 0}).json
    assert rotated["created_by"] == first["id"]
    person = people.sign_up()
    made = Browser(app, person).post("/api/v1/keys", json={"name": "mine"}).json
    assert made["created_by"] == person.id
    assert [one.created_by for one in identity.list_keys(caller.team_id)] == [first["id"], first["id"], None]
