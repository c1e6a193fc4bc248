"""Dated versions: what a request speaks, what an old one is answered, what is told of its end, and who uses it."""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError

from agora.agents import Agent, ItemContext, StepContext
from agora.api_versions import NEWEST, OLDEST
from agora.client import Agora
from agora.db.session import transaction
from agora.errors import Invalid
from agora.identity import service as identity
from agora.identity import use_queries, uses
from agora.identity.models import ApiKeyRow
from api.versions import negotiate
from api.versions.registry import V1
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.rig import Rig
from tests.support.server import served
from tests.support.shell import Shell
from tests.support.webhooks import eventually

KEYS, JOBS, VERSION = "/api/v1/keys", "/api/v1/jobs", "Agora-Version"
OLD = {VERSION: OLDEST}


def pin(caller, version):
    with transaction("auth") as session:
        session.query(ApiKeyRow).update({"api_version": version})
    identity._remembered.clear()
    return caller


@pytest.fixture
def old(caller):
    """A caller whose key was made before there was a newer version."""
    return pin(caller, OLDEST)


# --- which version a request speaks


def test_a_key_speaks_what_it_is_pinned_to_and_the_header_comes_first(caller):
    assert caller.get(JOBS).headers[VERSION] == NEWEST
    assert caller.get(JOBS, headers=OLD).headers[VERSION] == OLDEST
    pin(caller, OLDEST)
    assert caller.get(JOBS).headers[VERSION] == OLDEST
    assert caller.get(JOBS, headers={VERSION: NEWEST}).headers[VERSION] == NEWEST
    for path in (JOBS, "/api/v1/nothing", f"{JOBS}/job_x"):
        assert VERSION in caller.get(path).headers["Vary"]


def test_whoever_has_no_key_and_says_nothing_speaks_the_oldest(app):
    browser = Browser(app, people.sign_up())
    assert browser.get("/api/v1/me").headers[VERSION] == OLDEST
    assert browser.get("/api/v1/me", headers={VERSION: NEWEST}).headers[VERSION] == NEWEST
    refused = app.test_client().get(JOBS)
    assert (refused.status_code, refused.headers[VERSION]) == (401, OLDEST)
    assert app.test_client().get("/api/v1/openapi.json").headers[VERSION] == NEWEST
    assert VERSION not in app.test_client().get("/healthz").headers


def test_what_is_refused_before_its_version_is_looked_at_speaks_it_all_the_same(app, caller):
    """The lack of a right is found by who asks, and a condition that is none before anything is read."""
    refused = ((Caller(app, scopes=("files:read",)), {}), (caller, {"If-Match": "x"}))
    for one, more in refused:
        assert one.get(JOBS, headers=more).headers[VERSION] == NEWEST
        assert one.get(JOBS, headers=more | {VERSION: "x"}).headers[VERSION] == NEWEST
        old = one.get(JOBS, headers=more | OLD)
        assert old.status_code in {403, 422}
        assert (old.headers[VERSION], "Deprecation" in old.headers, "Sunset" in old.headers) == (OLDEST, True, True)
    for one, more in refused:
        assert pin(one, OLDEST).get(JOBS, headers=more).headers[VERSION] == OLDEST


@pytest.mark.parametrize("given", ["2026-11-24", "newest", "", "2026-11-30, 2026-11-23", "x" * 500])
def test_a_version_that_there_is_not_is_refused_by_name(caller, given):
    refused = caller.get(JOBS, headers={VERSION: given})
    assert refused.status_code == 422
    [error] = refused.json["errors"]
    assert (error["pointer"], error["rule"]) == ("/headers/Agora-Version", "api-version")
    assert f"{OLDEST}, {NEWEST}" in refused.json["detail"]
    assert "x" * 100 not in refused.text


def test_a_key_that_is_newer_than_the_process_is_asked_to_come_back(caller):
    """While hosts are upgraded one by one: an older shape would be wrong, and the newer is not known here."""
    refused = pin(caller, "2999-01-01").get(JOBS)
    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    assert caller.get(JOBS, headers={VERSION: NEWEST}).status_code == 200


def test_a_new_key_speaks_what_made_it_and_is_pinned_to_another_version(app, caller):
    body = {"name": "k", "scopes": ["jobs:read"]}
    made = caller.post(KEYS, json=body).json
    assert made["api_version"] == NEWEST
    old = caller.post(KEYS, json=body, headers=OLD).json
    assert old["api_version"] == OLDEST
    assert caller.post(KEYS, json=body | {"api_version": OLDEST}).json["api_version"] == OLDEST
    user = Browser(app, people.sign_up())
    assert user.post(KEYS, json=body).json["api_version"] == NEWEST
    pinned = caller.patch(f"{KEYS}/{made['id']}", json={"api_version": OLDEST})
    assert (pinned.status_code, pinned.json["api_version"]) == (200, OLDEST)
    assert caller.get(f"{KEYS}/{made['id']}").json["api_version"] == OLDEST
    spoken = app.test_client().get(JOBS, headers={"Authorization": f"Bearer {made['secret']}"})
    assert spoken.headers[VERSION] == OLDEST
    assert caller.post(f"{KEYS}/{made['id']}/rotate", json={}).json["api_version"] == OLDEST
    refused = caller.patch(f"{KEYS}/{made['id']}", json={"api_version": "2026-01-01"})
    assert [one["pointer"] for one in refused.json["errors"]] == ["/api_version"]
    assert Caller(app, team="other").patch(f"{KEYS}/{made['id']}", json={"api_version": OLDEST}).status_code == 404
    assert Caller(app, team="other").get(f"{KEYS}/{made['id']}").status_code == 404
    with pytest.raises(Invalid):
        identity.create_key(caller.team_id, "k", api_version="2026-01-01")


# --- the changes of 2026-11-30, in the newer version and in the older


def test_a_new_key_must_say_what_it_may_do(caller):
    refused = caller.post(KEYS, json={"name": "k"})
    assert refused.status_code == 422
    assert [(one["pointer"], one["rule"]) for one in refused.json["errors"]] == [("/scopes", "required")]
    made = caller.post(KEYS, json={"name": "k", "scopes": ["jobs:read"]}).json
    assert made["secret"].startswith("agora_")
    assert "plain" not in made


def test_an_old_program_makes_keys_as_ever(old):
    made = old.post(KEYS, json={"name": "k"})
    assert (made.status_code, made.json["scopes"]) == (201, ["*"])
    assert made.json["plain"].startswith("agora_")
    assert "secret" not in made.json
    assert old.post(KEYS, json={"name": "k", "scopes": None}).status_code == 422


@pytest.mark.parametrize("body", [{"overlap": -1}, {"overlap": "long"}, {"overlap": None}, {"overlap_seconds": 1}])
def test_errors_of_an_old_request_are_told_in_its_words(old, body):
    """Each is that of the newer version with the other name: the same rule, value and class."""
    key = old.post(KEYS, json={"name": "k"}).json["id"]
    refused = old.post(f"{KEYS}/{key}/rotate", json=body)
    other = {"overlap": "overlap_seconds", "overlap_seconds": "overlap"}
    newer = old.post(
        f"{KEYS}/{key}/rotate", json={other[name]: one for name, one in body.items()}, headers={VERSION: NEWEST}
    )
    [name] = body
    [error], [of_newer] = refused.json["errors"], newer.json["errors"]
    assert (error["pointer"], of_newer["pointer"]) == (f"/{name}", f"/{other[name]}")
    words = {"pointer", "message"}
    assert {k: v for k, v in error.items() if k not in words} == {k: v for k, v in of_newer.items() if k not in words}
    for told in (refused.json["detail"], error["message"]):
        assert name in told
        assert other["overlap"] not in told or name == other["overlap"]


def test_what_is_refused_before_the_schema_sees_it_is_told_in_the_words_of_the_request(old, caller):
    key = old.post(KEYS, json={"name": "k"}).json["id"]
    for version, name in ((OLDEST, "overlap"), (NEWEST, "overlap_seconds")):
        refused = old.post(
            f"{KEYS}/{key}/rotate", data=b'{"%s": "\\u0000"}' % name.encode(), content_type="application/json",
            headers={VERSION: version},
        )  # fmt: skip
        assert [one["pointer"] for one in refused.json["errors"]] == [f"/{name}"]


def test_cursors_of_items_are_numbers_in_an_old_program(app, caller, monkeypatch):
    rig = Rig(monkeypatch, listing())
    rig.team_id = caller.team_id
    job = rig.submit("crunch")
    rig.run()
    path, seen, cursor = f"{JOBS}/{job.id}/items?step=read&limit=1", [], "-1"
    while cursor is not None:
        page = caller.get(f"{path}&cursor={cursor}", headers=OLD).json
        seen += [(one["index"], page["next_cursor"]) for one in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [(0, "0"), (1, "1"), (2, None)]
    newer = caller.get(path, headers={VERSION: NEWEST}).json["next_cursor"]
    assert not newer.isdecimal()
    assert caller.get(f"{path}&cursor={newer}").json["items"][0]["index"] == 1
    assert caller.get(f"{path}&cursor=0", headers={VERSION: NEWEST}).status_code == 422
    for wrong, rule in (
        ("x", "integer"),
        (newer, "integer"),
        ("1.0", "integer"),
        ("-2", "range"),
        ("3000000000", "range"),
    ):
        refused = caller.get(f"{path}&cursor={wrong}", headers=OLD)
        assert refused.status_code == 422
        assert [(one["pointer"], one["rule"]) for one in refused.json["errors"]] == [("/cursor", rule)], wrong
    assert caller.get(f"{path}&cursor={2**31 - 2}", headers=OLD).json["items"] == []


def listing():
    """An agent that does something for each of three numbers."""
    agent = Agent("listing")
    action = agent.action("crunch", input=Nothing, output=Nothing)

    @action.step
    def numbers(ctx: StepContext[Nothing]) -> list[int]:
        return [1, 2, 3]

    @action.map(over=numbers)
    def read(ctx: ItemContext[Nothing, int]) -> int:
        return ctx.value

    @action.step
    def join(ctx: StepContext[Nothing]) -> Nothing:
        return Nothing()

    return agent


class Nothing(BaseModel):
    """No input."""


def test_webhook_keys_rotate_in_both_versions(caller):
    made = caller.post("/api/v1/webhook-endpoints", json={"url": "http://127.0.0.1:1/"}).json
    path = f"/api/v1/webhook-endpoints/{made['id']}/key-rotations"
    assert caller.post(path, json={"overlap_seconds": 60}).status_code == 201
    assert caller.post(path, json={"overlap": 60}).status_code == 422
    assert caller.post(path, json={"overlap": 60}, headers=OLD).status_code == 201


def test_a_repeat_is_a_repeat_in_each_version(caller):
    """The fingerprint is of what was sent, not of what it was made into."""
    made = caller.post("/api/v1/webhook-endpoints", json={"url": "http://127.0.0.1:1/"}).json
    path, headers = f"/api/v1/webhook-endpoints/{made['id']}/key-rotations", OLD | {"Idempotency-Key": "k"}
    first, again = (caller.post(path, json={"overlap": 60}, headers=headers) for _ in range(2))
    assert first.json["id"] == again.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"


def test_the_client_speaks_the_newest_whatever_its_key_is_pinned_to(app, old):
    with served(app) as url, Agora(url, old.key) as api:
        made = api.create_key("k", ["jobs:read"])
        assert made["secret"].startswith("agora_")
        assert api.rotate_key(made["id"], overlap=5)["secret"] != made["secret"]
        assert api.pin_key(made["id"], OLDEST)["api_version"] == OLDEST
        assert {one["feature"] for one in api.deprecations()} >= {"version.2026-11-23", "keys.secret"}


def test_the_command_line_pins_keys_and_tells_who_uses_what_is_deprecated(app, old):
    with served(app) as url:
        agora = Shell(url, old.key)
        assert agora("deprecations").strip() == "nobody of the team uses what is deprecated"
        old.post(KEYS, json={"name": "k"})
        uses.write()
        key = identity.authenticate(old.key).actor_id
        assert f"keys.scopes-required  2027-12-01  {key}  1" in re.sub(" +", "  ", agora("deprecations"))
        assert json.loads(agora("deprecations", "--json"))[0]["feature"] == "version.2026-11-23"
        assert agora("keys", "pin", key, NEWEST).split() == [key, NEWEST]
        assert NEWEST in agora("keys", "list")
        assert "2026-11-23, 2026-11-30" in agora("keys", "pin", key, "newest", code=1)
        made = agora("keys", "create", "new", "--scope", "jobs:read").strip()
        assert made.startswith("agora_")
    assert old.get(JOBS).headers[VERSION] == NEWEST


# --- what is told of the end


def test_an_old_version_tells_since_when_it_is_deprecated_and_until_when_it_is_answered(app, old):
    answered = old.get(JOBS)
    deprecated = V1.deprecated(OLDEST)
    assert answered.headers["Deprecation"] == f"@{int(datetime(2026, 11, 30, tzinfo=UTC).timestamp())}"
    assert parsedate_to_datetime(answered.headers["Sunset"]) == deprecated.sunset
    assert answered.headers["Sunset"].endswith(" GMT")
    links = dict(reversed(link.split("; ")[:2]) for link in answered.headers.getlist("Link"))
    assert links == {
        'rel="successor-version"': "</versions/2026-11-30>", 'rel="deprecation"': "</versions/2026-11-23>",
    }  # fmt: skip
    for link in links.values():
        page = app.test_client().get(link.strip("<>"), headers={"Accept": "text/html"})
        assert (page.status_code, page.mimetype) == (200, "text/html")
    newest = old.get(JOBS, headers={VERSION: NEWEST}).headers
    assert not {"Deprecation", "Sunset", "Link"} & set(newest.keys())
    assert "Deprecation" in old.get(f"{JOBS}/job_x").headers


def test_a_sunset_is_heeded_only_where_the_operator_says_so(old, monkeypatch, setting):
    monkeypatch.setattr(negotiate, "now", lambda: V1.deprecated(OLDEST).sunset)
    assert old.get(JOBS).status_code == 200
    setting("AGORA_SUNSET", "refuse")
    refused = old.get(JOBS)
    assert (refused.status_code, refused.json["newest"]) == (410, NEWEST)
    [key] = old.get(KEYS, headers={VERSION: NEWEST}).json["items"]
    assert old.patch(f"{KEYS}/{key['id']}", json={"api_version": NEWEST}).status_code == 410
    way_out = old.patch(f"{KEYS}/{key['id']}", json={"api_version": NEWEST}, headers={VERSION: NEWEST})
    assert way_out.status_code == 200
    assert old.get(JOBS).status_code == 200


def test_a_version_is_answered_until_its_sunset(old, monkeypatch, setting):
    setting("AGORA_SUNSET", "refuse")
    assert old.get(JOBS).status_code == 200


def test_versions_are_open_to_programs_and_to_people(app):
    client = app.test_client()
    listed = client.get("/versions").json["items"]
    assert [one["version"] for one in listed] == [NEWEST, OLDEST]
    assert listed[0]["changes"][0]["name"] == "keys.scopes-required"
    assert client.get(f"/versions/{OLDEST}").json["successor"] == NEWEST
    assert client.get("/versions/2020-01-01").json["code"] == "not-found"
    page = client.get("/versions", headers={"Accept": "text/html"})
    assert "<code>overlap_seconds</code>" in page.text
    assert "script" not in page.headers["Content-Security-Policy"]


# --- who uses it


def used(caller):
    uses.write()
    items = caller.get("/api/v1/deprecations", headers={VERSION: NEWEST}).json["items"]
    return {one["feature"]: one["uses"] for one in items if one["uses"]}


def test_uses_are_counted_for_the_key_that_made_them(app, old):
    old.get(JOBS)
    old.post(KEYS, json={"name": "k"})
    old.post(KEYS, json={"name": "k", "scopes": ["jobs:read"]})
    old.get(JOBS, headers={VERSION: NEWEST})
    assert used(old) == {"version.2026-11-23": 3, "keys.scopes-required": 1, "keys.secret": 2}
    old.get(JOBS)
    assert used(old)["version.2026-11-23"] == 4
    [feature] = [
        one
        for one in old.get("/api/v1/deprecations", headers={VERSION: NEWEST}).json["items"]
        if one["feature"] == "keys.scopes-required"
    ]
    assert (feature["successor"], feature["sunset_at"]) == (NEWEST, "2027-12-01T00:00:00Z")
    [use] = feature["used_by"]
    assert use["actor_id"] == identity.authenticate(old.key).actor_id
    assert use["first_used_at"] <= use["last_used_at"] == feature["last_used_at"]
    assert used(Caller(app, team="other")) == {}
    metrics = app.test_client().get("/metrics").text
    assert 'agora_deprecated_uses{feature="keys.scopes-required"} 1.0' in metrics
    assert f'agora_api_keys{{version="{OLDEST}"}}' in metrics


def test_users_are_counted_too_and_strangers_are_not(app):
    browser = Browser(app, people.sign_up())
    browser.get("/api/v1/me")
    app.test_client().get(JOBS, headers=OLD)
    user, team = (browser.get(f"/api/v1/{name}", headers={VERSION: NEWEST}).json["id"] for name in ("me", "team"))
    assert list(uses._sums) == [(team, user, "version.2026-11-23")]


def test_what_cannot_be_written_is_kept_and_a_team_that_is_gone_stops_nobody(old, monkeypatch):
    old.get(JOBS)
    uses.note("team_gone", "key_gone", ["version.2026-11-23"])

    def away(*_, **__):
        raise OperationalError("", {}, Exception("away"))

    with monkeypatch.context() as patch:
        patch.setattr(use_queries, "add_uses", away)
        assert uses.write() == 0
    old.get(JOBS)
    assert used(old) == {"version.2026-11-23": 2}
    assert not uses._sums


def test_each_process_writes_by_itself(old, monkeypatch):
    monkeypatch.setattr(uses, "SECONDS", 0.01)
    monkeypatch.setattr(uses, "_writer_of", [-1])  # as in a child that was made by a fork
    old.get(JOBS)
    team_id = identity.authenticate(old.key).team_id
    [use] = eventually(lambda: uses.list_uses(team_id))
    assert (use.feature, use.uses) == ("version.2026-11-23", 1)


def test_a_process_keeps_no_more_sums_than_it_may(db, monkeypatch):
    monkeypatch.setattr(uses, "MOST", 2)
    for number in range(5):
        uses.note("team", f"key{number % 3}", ["f"])
    assert {key[1]: count for key, (count, _) in uses._sums.items()} == {"key0": 2, "key1": 2}
