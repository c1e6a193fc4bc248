"""Endpoints in bulk: out without secrets, in all or none, found again by uid or id."""

import json
import threading

import pytest
from standardwebhooks import Webhook

from agora.errors import Conflict, Invalid
from agora.ids import new_id
from agora.webhooks import exchange, keys, service, signing, vault
from tests.support.caller import Caller
from tests.support.replays import URL
from tests.support.webhooks import Team, run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")

EVERYTHING = {
    "uid": "billing", "url": f"{URL}/billing", "description": "to billing", "event_types": ["job.*"],
    "agents": ["probe"], "projects": ["prj_1"], "metadata_filter": {"customer": 7},
    "headers": {"X-Region": "eu"}, "schedule": [0.0, 5.0], "max_in_flight": 7, "rate_limit": 2.5,
    "fifo": "job", "payload": "full", "metadata": {"customer": 7},
}  # fmt: skip


def exported(team, **options):
    return exchange.export_endpoints(team_id=team.id, **options)


def put(team, *items, **options):
    return exchange.import_endpoints(items, team_id=team.id, **options)


def as_items(page):
    return [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in page.items]


def actions(done):
    return [one.action for one in done]


def refused(team, *items):
    with pytest.raises(Invalid) as caught:
        put(team, *items)
    return [(one.pointer, one.rule) for one in caught.value.errors]


def count():
    return sql("SELECT count(*) AS n FROM webhook_endpoints")[0]["n"]


def test_what_is_exported_is_what_an_owner_may_set(team):
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in EVERYTHING.items()}
    made = team.endpoint(**options).endpoint
    [item] = as_items(exported(team))
    assert item == {**EVERYTHING, "id": made.id, "algorithm": "v1", "status": "active"}


def test_secrets_never_leave(team):
    made = team.endpoint(URL, headers={"Authorization": "Bearer topsecret", "X-Api-Key": "k3y", "X-Region": "eu"})
    text = json.dumps(as_items(exported(team)), default=str)
    for secret in (made.secret, made.secret.removeprefix("whsec_"), "topsecret", "k3y"):
        assert secret not in text
    [item] = as_items(exported(team))
    assert item["headers"] == {"Authorization": "[redacted]", "X-Api-Key": "[redacted]", "X-Region": "eu"}


def test_an_export_is_read_page_by_page_oldest_first(team):
    made = [team.endpoint(f"{URL}/{n}").endpoint.id for n in range(5)]
    sql("INSERT INTO webhook_endpoints (id, team_id, kind, job_id, url, event_types) VALUES"
        " ('whe_inline', :team, 'inline', 'job_1', 'https://127.0.0.1/', '{*}')", team=team.id)  # fmt: skip
    Team().endpoint(URL)
    first = exported(team, limit=3)
    rest = exported(team, limit=3, cursor=first.next_cursor)
    assert [one.id for one in (*first.items, *rest.items)] == made
    assert rest.next_cursor is None
    with pytest.raises(Invalid):
        exported(team, cursor="whd_1")


def test_a_round_trip_to_another_team_makes_the_same_endpoints_with_secrets_of_their_own(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"), uid="one", algorithm="v1a", event_types=("job.failed",))
    team.endpoint(f"{URL}/two", uid="two", metadata={"a": [1]}, rate_limit=3, event_types=("step.*",))
    other = Team()
    done = put(other, *as_items(exported(team)))
    assert actions(done) == ["created", "created"]
    assert [one.uid for one in done] == ["one", "two"]
    keys_of = [signing.parse_key(one.secret).algorithm for one in done]
    assert keys_of == ["v1a", "v1"]
    assert done[0].secret != made.secret
    ours, theirs = as_items(exported(team)), as_items(exported(other))
    for one in (*ours, *theirs):
        del one["id"]
    assert ours == theirs
    other.happen("job.failed")
    run_until_ended(engines(), other)
    [(headers, body, *_)] = receiver.got["/hook"]
    [key] = keys.list_keys("one", team_id=other.id)
    signing.verify(headers, body, key.public_key)


def test_a_new_endpoint_signs_with_the_secret_that_was_told(team, receiver, engines):
    [told] = put(team, {"url": receiver.url("/hook"), "uid": "a"})
    team.happen()
    run_until_ended(engines(), team)
    [(headers, body, *_)] = receiver.got["/hook"]
    Webhook(told.secret).verify(body, headers)


def test_a_repeat_changes_nothing_and_tells_no_secret_again(team):
    first = put(team, EVERYTHING, {"url": URL, "uid": "b"})
    assert all(one.secret for one in first)
    before = sql("SELECT id, updated_at FROM webhook_endpoints ORDER BY id")
    again = put(team, EVERYTHING, {"url": URL, "uid": "b"})
    assert actions(again) == ["unchanged"] * 2
    assert [(one.id, one.secret) for one in again] == [(one.id, None) for one in first]
    assert sql("SELECT id, updated_at FROM webhook_endpoints ORDER BY id") == before


def test_an_update_changes_what_it_names_and_keeps_keys_state_and_the_rest(team):
    made = team.endpoint(URL, uid="mine", description="old", event_types=("job.*",), headers={"X-A": "1"})
    service.pause_endpoint("mine", team_id=team.id)
    [told] = put(team, {"uid": "mine", "description": "new", "status": "active", "algorithm": "v1a"})
    assert (told.action, told.id, told.secret) == ("updated", made.endpoint.id, None)
    found = service.get_endpoint("mine", team_id=team.id)
    assert (found.description, found.event_types, found.headers) == ("new", ("job.*",), {"x-a": "1"})
    assert (found.status, found.url) == ("paused", URL)
    assert [one.algorithm for one in keys.list_keys("mine", team_id=team.id)] == ["v1"]


def test_without_a_uid_it_is_found_by_its_id_and_elsewhere_made_anew(team):
    made = team.endpoint(URL).endpoint
    items = as_items(exported(team))
    assert actions(put(team, *items)) == ["unchanged"]
    items[0]["url"] = f"{URL}/new"
    assert actions(put(team, *items)) == ["updated"]
    assert service.get_endpoint(made.id, team_id=team.id).url == f"{URL}/new"
    other = Team()
    [told] = put(other, *items)
    assert (told.action, told.id != made.id) == ("created", True)
    assert service.get_endpoint(made.id, team_id=team.id).url == f"{URL}/new"


def test_a_uid_leads_whatever_id_comes_with_it(team):
    made = team.endpoint(URL, uid="mine").endpoint
    [told] = put(team, {"id": made.id, "uid": "another", "url": URL})
    assert told.action == "created"
    [told] = put(team, {"id": new_id("whe"), "uid": "mine", "description": "x"})
    assert (told.action, told.id) == ("updated", made.id)


def test_an_endpoint_without_a_uid_keeps_the_one_that_it_got_meanwhile(team):
    made = team.endpoint(URL).endpoint
    items = as_items(exported(team))
    service.update_endpoint(made.id, {"uid": "meanwhile"}, team_id=team.id)
    put(team, {**items[0], "description": "x"})
    assert service.get_endpoint("meanwhile", team_id=team.id).description == "x"


def test_redacted_headers_keep_their_values_and_new_ones_need_them(team):
    made = team.endpoint(URL, uid="mine", headers={"Authorization": "Bearer topsecret", "X-A": "1"}).endpoint
    items = as_items(exported(team))
    items[0]["headers"] |= {"X-A": "2"}
    assert actions(put(team, *items)) == ["updated"]
    [row] = sql("SELECT headers FROM webhook_endpoints WHERE id = :id", id=made.id)
    assert vault.unseal_headers(row["headers"]) == {"Authorization": "Bearer topsecret", "X-A": "2"}
    assert refused(Team(), *items) == [("/endpoints/0/headers/Authorization", "redacted")]
    assert refused(team, {"uid": "mine", "headers": {"X-Token": "[redacted]"}}) == [
        ("/endpoints/0/headers/X-Token", "redacted")
    ]


@pytest.mark.parametrize(("status", "becomes"), [("active", "active"), ("paused", "paused"), ("disabled", "paused")])
def test_a_new_one_that_was_not_active_is_made_paused(team, status, becomes):
    put(team, {"url": URL, "uid": "a", "status": status})
    found = service.get_endpoint("a", team_id=team.id)
    assert (found.status, found.status_reason) == (becomes, "imported as paused" if becomes == "paused" else None)


def test_every_fault_is_named_and_nothing_is_done(team):
    team.endpoint(URL, uid="there")
    items = [
        {"url": f"{URL}/fine", "uid": "fine"},
        {"uid": "nowhere"},
        {"url": "ftp://127.0.0.1/", "uid": "a", "event_types": ["job.nothing"]},
        {"url": URL, "uid": "fine"},
        {"uid": "there", "max_in_flight": 0, "surprise": 1},
        {"url": URL, "uid": "b", "algorithm": "v9"},
        {"url": URL, "uid": "c", "status": "odd"},
        {"url": URL, "uid": "whe_x"},
    ]
    assert refused(team, *items) == [
        ("/endpoints/1/url", "required"),
        ("/endpoints/2/url", "egress"),
        ("/endpoints/2/event_types", "event-type"),
        ("/endpoints/3/uid", "unique"),
        ("/endpoints/4/max_in_flight", "range"),
        ("/endpoints/4/surprise", "unknown-field"),
        ("/endpoints/5/algorithm", "enum"),
        ("/endpoints/6/status", "enum"),
        ("/endpoints/7/uid", "uid"),
    ]
    assert count() == 1


def test_the_same_id_twice_is_refused(team):
    made = team.endpoint(URL).endpoint
    assert refused(team, {"id": made.id}, {"id": made.id}) == [("/endpoints/1/id", "unique")]


def test_a_dry_run_says_what_would_become_of_each(team):
    team.endpoint(URL, uid="there")
    items = [{"url": URL, "uid": "new"}, {"uid": "there", "description": "x"}, {"uid": "there2", "url": URL}]
    told = put(team, *items, dry_run=True)
    assert [(one.action, one.secret) for one in told] == [("created", None), ("updated", None), ("created", None)]
    assert count() == 1
    assert service.get_endpoint("there", team_id=team.id).description == ""
    assert refused(team, {"url": "nonsense", "uid": "x"}) == [("/endpoints/0/url", "egress")]


def test_of_two_imports_at_once_one_makes_them_and_the_other_is_told(team):
    items = [{"url": URL, "uid": f"u{n}"} for n in range(50)]
    start, ends = threading.Barrier(4), []

    def bring():
        start.wait(10)
        try:
            ends.append(set(actions(put(team, *items))))
        except Conflict as error:
            ends.append(str(error))

    threads = [threading.Thread(target=bring) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ends.count({"created"}) == 1
    assert all(one in ({"created"}, {"unchanged"}) or "import again" in one for one in ends)
    assert count() == 50


def test_a_thousand_are_one_import_and_one_more_is_refused(team):
    items = [{"url": f"{URL}/{n}", "uid": f"u{n}"} for n in range(1_001)]
    assert refused(team, *items) == [("/endpoints", "length")]
    assert refused(team) == [("/endpoints", "length")]
    assert actions(put(team, *items[:1_000])) == ["created"] * 1_000
    assert len(exported(team).items) == 1_000
    assert actions(put(team, *as_items(exported(team)))) == ["unchanged"] * 1_000


def test_another_team_is_not_touched(team):
    made = team.endpoint(URL, uid="mine", description="old").endpoint
    other = Team()
    assert exported(other).items == []
    [told] = put(other, {"id": made.id, "uid": "mine", "url": f"{URL}/x", "description": "theirs"})
    assert (told.action, told.id != made.id) == ("created", True)
    assert service.get_endpoint("mine", team_id=team.id) == made


def test_a_body_may_be_as_large_as_that_of_a_batch(app):
    items = [{"url": f"{URL}/{n}", "uid": f"u{n}", "metadata": {"text": "x" * 2_000}} for n in range(1_000)]
    done = Caller(app).post("/api/v1/webhook-endpoint-import", json={"endpoints": items})
    assert (done.status_code, done.json["created"]) == (200, 1_000)


def test_over_http(app, team):
    caller = Caller(app)
    team.id = caller.team_id
    team.endpoint(URL, uid="mine", headers={"X-Token": "t0ken"})
    page = caller.get("/api/v1/webhook-endpoint-export").json
    assert (page["next_cursor"], page["items"][0]["uid"]) == (None, "mine")
    assert page["items"][0]["headers"] == {"X-Token": "[redacted]"}
    items = [*page["items"], {"url": f"{URL}/two", "uid": "two"}]
    path = "/api/v1/webhook-endpoint-import"
    dry = caller.post(path, json={"endpoints": items, "dry_run": True}).json
    assert (dry["dry_run"], dry["created"], dry["updated"], dry["unchanged"]) == (True, 1, 0, 1)
    assert dry["endpoints"][1]["id"] is None
    done = caller.post(path, json={"endpoints": items})
    assert (done.status_code, done.json["created"], done.json["unchanged"]) == (200, 1, 1)
    assert [bool(one["secret"]) for one in done.json["endpoints"]] == [False, True]
    assert caller.get("/api/v1/webhook-endpoints/two").json["url"] == f"{URL}/two"
    for given, pointer in (
        ({"endpoints": [*items, {"url": "x", "uid": "z"}]}, "/endpoints/2/url"),
        ({"endpoints": [{"url": URL, "max_in_flight": "many"}]}, "/endpoints/0/max_in_flight"),
        ({"endpoints": [{"url": URL, "secret": "whsec_x"}]}, "/endpoints/0/secret"),
        ({"endpoints": []}, "/endpoints"),
        ({}, "/endpoints"),
    ):
        answer = caller.post(path, json=given)
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, pointer), given
    assert Caller(app, team="other").get("/api/v1/webhook-endpoint-export").json["items"] == []
