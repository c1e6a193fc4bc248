"""Links to the webhook portal as the team's own programs make, list and revoke them."""

import threading

import pytest
from click.testing import CliRunner
from werkzeug.serving import make_server

from agora import crypto
from agora.cli import portal as cli
from agora.client import Agora, ApiError
from agora.errors import Invalid, SettingsError
from agora.settings import get_settings, override_environment
from agora.webhooks import portal_duties, portal_links
from agora.webhooks.portal_links import NewLink
from tests.support.caller import Caller
from tests.support.portal import Visitor
from tests.support.webhooks import sql

LINKS = "/api/v1/webhook-portal-links"
ACME = {"customer": "acme"}


def created(caller, **fields):
    answer = caller.post(LINKS, json={"scope": ACME} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json


def test_a_link_is_made_with_its_url_once(caller):
    made = created(caller, label="Acme Inc.", expires_in=7200)
    assert made["url"].startswith("http://localhost/webhook-portal/l/")
    assert made["id"].startswith("wpl_")
    assert made["scope"] == ACME
    assert (made["all_endpoints"], made["read_only"], made["status"]) == (False, False, "open")
    one = caller.get(f"{LINKS}/{made['id']}").json
    assert one == {name: value for name, value in made.items() if name != "url"}
    assert caller.get(LINKS).json["items"] == [one]
    [seconds] = [
        row["s"] for row in sql("SELECT extract(epoch FROM expires_at - created_at) s FROM webhook_portal_links")
    ]
    assert seconds == 7200


def test_an_hour_is_the_default(caller):
    created(caller)
    assert sql("SELECT FROM webhook_portal_links WHERE expires_at = created_at + interval '1 hour'") == [{}]


def test_the_token_is_not_stored(caller):
    token = created(caller)["url"].rpartition("/")[2]
    [row] = sql("SELECT l::text AS told, hash FROM webhook_portal_links l")
    assert token not in row["told"]
    assert len(row["hash"]) == 64
    assert portal_links.find_by_token(token).scope == ACME
    assert portal_links.find_by_token(row["hash"]) is None
    assert portal_links.find_by_token(token[:-1] + ("A" if token[-1] != "A" else "B")) is None


@pytest.mark.parametrize(
    ("fields", "pointer", "rule"),
    [
        ({}, "/scope", "min-properties"),
        ({"scope": {}}, "/scope", "min-properties"),
        ({"scope": {}, "all_endpoints": False}, "/scope", "min-properties"),
        ({"scope": ACME, "all_endpoints": True}, "/all_endpoints", "exclusive"),
        ({"scope": {"customer": {}}}, "/scope/customer", "plain-value"),
        ({"scope": {"customer": []}}, "/scope/customer", "plain-value"),
        ({"scope": {"customer": None}}, "/scope/customer", "plain-value"),
        ({"scope": {"customer": ""}}, "/scope/customer", "plain-value"),
        ({"scope": {"": "acme"}}, "/scope/", "plain-value"),
        ({"scope": {"customer": "a" * 201}}, "/scope/customer", "plain-value"),
        ({"scope": {str(n): n for n in range(11)}}, "/scope", "max-properties"),
        ({"scope": {"project_id": "a/b"}}, "/scope/project_id", "pattern"),
        ({"scope": {"project_id": 7}}, "/scope/project_id", "pattern"),
        ({"scope": ACME, "expires_in": 59}, "/expires_in", "range"),
        ({"scope": ACME, "expires_in": 7 * 86400 + 1}, "/expires_in", "range"),
        ({"scope": ACME, "expires_in": "3600"}, "/expires_in", "type"),
        ({"scope": ACME, "read_only": 0}, "/read_only", "type"),
        ({"all_endpoints": "yes"}, "/all_endpoints", "type"),
        ({"all_endpoints": None}, "/all_endpoints", "not-null"),
        ({"scope": ACME, "label": "a" * 201}, "/label", "length"),
        ({"scope": ACME, "event_types": ["*"]}, "/event_types", "unknown-field"),
    ],
)
def test_what_is_wrong_is_named(caller, fields, pointer, rule):
    refused = caller.post(LINKS, json=fields)
    assert refused.status_code == 422
    assert (refused.json["errors"][0]["pointer"], refused.json["errors"][0]["rule"]) == (pointer, rule)
    assert sql("SELECT FROM webhook_portal_links") == []


def test_all_endpoints_are_opened_when_that_is_said(caller):
    assert caller.post(LINKS, json={"all_endpoints": True}).json["all_endpoints"] is True


def test_the_service_checks_the_bounds_itself(team, db):
    for life in (59, 7 * 86400 + 1):
        with pytest.raises(Invalid, match="expires_in must be 60 to 604800"):
            portal_links.create_link(NewLink(scope=ACME, expires_in=life), team_id=team.id)


def test_a_repeat_makes_no_second_link_and_shows_no_url(caller):
    headers = {"Idempotency-Key": "k1"}
    first = caller.post(LINKS, json={"scope": ACME}, headers=headers)
    again = caller.post(LINKS, json={"scope": ACME}, headers=headers)
    assert (first.json["id"], first.status_code) == (again.json["id"], again.status_code)
    assert again.json["url"] is None
    assert again.headers["Idempotent-Replayed"] == "true"
    assert caller.post(LINKS, json={"scope": {"customer": "b"}}, headers=headers).status_code == 422
    assert len(caller.get(LINKS).json["items"]) == 1


def test_revoking_ends_it_at_once(caller, app):
    made = created(caller)
    visitor = Visitor(app, made["url"].rpartition("/")[2])
    assert visitor.open().status == 200
    assert caller.delete(f"{LINKS}/{made['id']}").status_code == 204
    assert visitor.get("/webhook-portal/").status == 403
    assert caller.get(f"{LINKS}/{made['id']}").json["status"] == "revoked"
    moment = caller.get(f"{LINKS}/{made['id']}").json["revoked_at"]
    assert caller.delete(f"{LINKS}/{made['id']}").status_code == 204
    assert caller.get(f"{LINKS}/{made['id']}").json["revoked_at"] == moment


def test_another_team_has_nothing_to_do_with_it(caller, app):
    made = created(caller)
    stranger = Caller(app, team="other")
    assert stranger.get(f"{LINKS}/{made['id']}").status_code == 404
    assert stranger.delete(f"{LINKS}/{made['id']}").status_code == 404
    assert stranger.get(LINKS).json["items"] == []
    assert caller.get(f"{LINKS}/{made['id']}").json["status"] == "open"


def test_a_key_needs_the_scope_of_webhooks(app, db):
    caller = Caller(app, scopes=("jobs:read", "jobs:write"))
    for answer in (caller.post(LINKS, json={"scope": ACME}), caller.get(LINKS), caller.delete(f"{LINKS}/wpl_x")):
        assert answer.status_code == 403
        assert "webhooks:manage" in answer.json["detail"]


def test_pages_of_links(caller):
    ids = [created(caller)["id"] for _ in range(3)]
    first = caller.get(f"{LINKS}?limit=2").json
    rest = caller.get(f"{LINKS}?limit=2&cursor={first['next_cursor']}").json
    assert [one["id"] for one in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert caller.get(f"{LINKS}?cursor=whe_x").status_code == 422


def test_the_url_is_where_people_reach_the_platform(caller):
    with override_environment({"AGORA_PUBLIC_URL": "https://hooks.example/"}):
        assert created(caller)["url"].startswith("https://hooks.example/webhook-portal/l/")


@pytest.mark.parametrize("value", ["hooks.example", "ftp://hooks.example", "https://hooks.example/path", "https://"])
def test_a_public_url_that_is_none_is_refused(value):
    with override_environment({"AGORA_PUBLIC_URL": value}), pytest.raises(SettingsError, match="AGORA_PUBLIC_URL"):
        get_settings()


def test_old_links_are_forgotten_and_young_ones_kept(caller, team):
    young = created(caller)["id"]
    old = portal_links.create_link(NewLink(scope=ACME), team_id=team.id).link.id
    sql("UPDATE webhook_portal_links SET id = 'wpl_01h455vb4pex5vsknk084sn02q' WHERE id = :old", old=old)
    portal_duties.forget_links()
    assert [row["id"] for row in sql("SELECT id FROM webhook_portal_links")] == [young]


def test_macs_are_of_one_purpose_and_outlive_a_change_of_key(db):
    made = crypto.mac("forms", b"session")
    assert crypto.is_mac("forms", b"session", made)
    for purpose, message, given in (
        ("forms", b"other", made), ("others", b"session", made), ("forms", b"session", ""), ("forms", b"session", "ü"),
    ):  # fmt: skip
        assert not crypto.is_mac(purpose, message, given)
    with override_environment({"AGORA_SECRET_KEY": "n" * 32}):
        assert not crypto.is_mac("forms", b"session", made)
    with override_environment({"AGORA_SECRET_KEY": "n" * 32, "AGORA_SECRET_KEY_OLD": db["AGORA_SECRET_KEY"]}):
        assert crypto.is_mac("forms", b"session", made)


@pytest.fixture
def served(app, caller):
    """The API on a socket; yields a client's arguments."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", caller.key
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_the_client_makes_lists_and_revokes(served):
    with Agora(*served) as api:
        made = api.create_portal_link(ACME, label="Acme", read_only=True, expires_in=600)
        assert made["url"].startswith(served[0])
        assert api.list_portal_links()["items"][0]["read_only"] is True
        api.revoke_portal_link(made["id"])
        assert api.list_portal_links()["items"][0]["status"] == "revoked"
        assert api.create_portal_link(all_endpoints=True)["all_endpoints"] is True
        with pytest.raises(ApiError, match="scope must name"):
            api.create_portal_link({})


def run(served, command, *arguments):
    found = CliRunner().invoke(command, arguments, obj={"url": served[0], "key": served[1], "data_dir": None})
    return found.exit_code, found.output


def test_the_command_line_makes_lists_and_revokes(served):
    code, url = run(served, cli.portal_link_command, "--scope", "customer=acme", "--expires", "1h", "--label", "Acme")
    assert code == 0
    assert portal_links.find_by_token(url.strip().rpartition("/")[2]).scope == ACME
    assert run(served, cli.portal_link_command, "--scope", '{"plan": 3}', "--scope", "a=b=c", "--read-only")[0] == 0
    code, told = run(served, cli.portal_links_command)
    assert '{"a": "b=c", "plan": 3}' in told
    assert "read" in told.splitlines()[1]
    link = told.splitlines()[2].split()[0]
    assert run(served, cli.portal_revoke_command, link) == (0, f"{link}  revoked\n")
    assert "revoked" in run(served, cli.portal_links_command)[1].splitlines()[2]
    assert sql("SELECT FROM webhook_portal_links WHERE expires_at = created_at + interval '1 hour'") == [{}, {}]


@pytest.mark.parametrize("wrong", ["1", "h", "1w", "-1h", "1.5h", ""])
def test_a_length_that_is_none_is_refused(wrong):
    found = CliRunner().invoke(cli.portal_link_command, ["--scope", "a=b", "--expires", wrong])
    assert found.exit_code == 2
    assert "no length of time" in found.output


def test_a_scope_that_is_none_is_refused(db):
    for wrong in ("acme", "=acme", "customer="):
        found = CliRunner().invoke(cli.portal_link_command, ["--scope", wrong], obj={"url": "http://a", "key": "k"})
        assert found.exit_code == 2
        assert "KEY=VALUE" in found.output
