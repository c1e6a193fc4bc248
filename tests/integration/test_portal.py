"""The webhook portal as a customer's developer uses it, in a browser without JavaScript."""

import json
import time

import pytest
from aiohttp import web

from agora.clock import now
from agora.dispatcher import deliveries as duties
from agora.webhooks import portal, portal_links, replay_duties, service, signing
from agora.webhooks.portal_links import NewLink
from agora.webhooks.states import DeliveryState, EndpointState
from agora.webhooks.types import DeliveryAttempt, DeliveryFilter
from api.portal import show
from tests.support.portal import ROOT, Visitor
from tests.support.webhooks import run_until_ended, sql

ACME = {"customer": "acme"}
URL = "https://127.0.0.1/hook"


@pytest.fixture
def visit(app, team, quiet):
    """Makes visitors: their link has a scope, unless they may see all."""

    def make(**options):
        new = NewLink(**({"scope": ACME} | options))
        visitor = Visitor(app, portal_links.create_link(new, team_id=team.id).token)
        visitor.first = visitor.open()
        return visitor

    return make


def make_endpoint(visitor, **fields):
    return visitor.send(visitor.get(f"{ROOT}/endpoints/new"), "/endpoints", **({"url": URL} | fields))


def endpoints_of(team):
    return service.list_endpoints(team_id=team.id, limit=200).items


def secret_on(page):
    return next((word for word in page.text.split() if word.startswith("whsec_")), None)


def test_create_test_rotate_delete(visit, team, receiver, engines):
    visitor = visit()
    assert "There is no endpoint here yet." in visitor.first.text
    made = make_endpoint(visitor, url=receiver.url("/hook"), description="orders", event_types=["job.succeeded"])
    secret = secret_on(made)
    [endpoint] = endpoints_of(team)
    assert (endpoint.url, endpoint.description, endpoint.event_types) == (
        receiver.url("/hook"), "orders", ("job.succeeded",),
    )  # fmt: skip
    assert endpoint.metadata == ACME

    sent = visitor.send(visitor.get(f"{ROOT}/endpoints/{endpoint.id}"), "/test")
    assert "A test event is on its way." in sent.text
    run_until_ended(engines(), team)
    [(headers, body, *_)] = receiver.got["/hook"]
    signing.verify(headers, body, secret)
    shown = visitor.get(visitor.at)
    assert "delivered" in shown.text
    assert '"type": "webhook.test"' in shown.text
    assert "user-agent Agora-Webhooks/" in shown.text

    rotated = visitor.send(visitor.get(f"{ROOT}/endpoints/{endpoint.id}/keys"), "/rotate", overlap="3600")
    assert secret_on(rotated) not in {None, secret}
    team.happen("job.succeeded", data={"metadata": ACME})
    run_until_ended(engines(), team)
    headers, body, *_ = receiver.got["/hook"][1]
    for known in (secret, secret_on(rotated)):
        signing.verify(headers, body, known)

    asked = visitor.get(f"{ROOT}/endpoints/{endpoint.id}/delete")
    assert receiver.url("/hook") in asked.text
    gone = visitor.send(asked, "/delete")
    assert "The endpoint is deleted." in gone.text
    assert endpoints_of(team) == []


def test_a_secret_is_shown_once(visit, team):
    visitor = visit()
    made = make_endpoint(visitor)
    assert secret_on(made)
    assert secret_on(visitor.get(visitor.at)) is None
    [endpoint] = endpoints_of(team)
    for page in ("", "/keys", "/edit"):
        assert "whsec_" not in visitor.get(f"{ROOT}/endpoints/{endpoint.id}{page}").html


def test_a_secret_that_waits_is_shown_in_its_place_only_and_not_for_long(visit, team, monkeypatch):
    visitor = visit()
    made = make_endpoint(visitor)
    [first] = endpoints_of(team)
    page = visitor.get(f"{ROOT}/endpoints/{first.id}/keys")
    answer = visitor.client.post(page.form("/rotate")["action"], data=dict(page.form("/rotate")["fields"]))
    [cookie] = [one for one in answer.headers.getlist("Set-Cookie") if one.startswith("agora_portal_once=")]
    assert secret_on(made) not in cookie
    assert f"Path={ROOT}/endpoints/{first.id}/keys" in cookie
    for flag in ("HttpOnly", "SameSite=Strict", "Max-Age=300"):
        assert flag in cookie
    assert "whsec_" not in cookie
    waited = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: waited)
    assert secret_on(visitor.get(f"{ROOT}/endpoints/{first.id}/keys")) is None


def test_an_asymmetric_key_shows_what_verifies_and_never_what_signs(visit, team, receiver, engines):
    visitor = visit()
    made = make_endpoint(visitor, url=receiver.url("/hook"), algorithm="v1a", event_types=["job.failed"])
    public = next(word for word in made.text.split() if word.startswith("whpk_"))
    assert "whsk_" not in made.html
    assert secret_on(made) is None
    team.happen("job.failed", data={"metadata": ACME})
    run_until_ended(engines(), team)
    [(headers, body, *_)] = receiver.got["/hook"]
    signing.verify(headers, body, public)
    [endpoint] = endpoints_of(team)
    added = visitor.send(visitor.get(f"{ROOT}/endpoints/{endpoint.id}/keys"), "/keys", algorithm="v1")
    assert secret_on(added)
    rotated = visitor.send(added, "/rotate", algorithm="v1a", overlap="0")
    assert public not in rotated.text
    assert "whsk_" not in rotated.html


def test_a_key_is_revoked_after_a_question(visit, team):
    visitor = visit()
    make_endpoint(visitor)
    [endpoint] = endpoints_of(team)
    keys = visitor.send(visitor.get(f"{ROOT}/endpoints/{endpoint.id}/keys"), "/keys", algorithm="v1")
    old = [link for link in keys.links if link.endswith("/revoke")][1]
    assert "signs no more" in visitor.send(visitor.get(old), "/revoke").text
    assert sql("SELECT count(*) AS n FROM webhook_keys") == [{"n": 1}]
    [last] = [link for link in visitor.get(visitor.at).links if link.endswith("/revoke")]
    kept = visitor.send(visitor.get(last), "/revoke")
    assert kept.status == 409
    assert "is the only key that signs for good" in kept.text


def test_an_endpoint_is_changed_paused_and_resumed(visit, team):
    visitor = visit()
    make_endpoint(visitor)
    [endpoint] = endpoints_of(team)
    at = f"{ROOT}/endpoints/{endpoint.id}"
    form = visitor.get(f"{at}/edit")
    assert ("event_types", "job.failed") in form.form("/edit")["fields"]
    changed = visitor.send(form, "/edit", description="changed", event_types=["job.failed", "agent.*"])
    assert "The endpoint is changed." in changed.text
    [endpoint] = endpoints_of(team)
    assert (endpoint.description, endpoint.event_types) == ("changed", ("job.failed", "agent.*"))
    paused = visitor.send(visitor.get(f"{at}/edit"), "/pause")
    assert "The endpoint is paused" in paused.text
    assert endpoints_of(team)[0].status == EndpointState.PAUSED
    assert "Send a test event" not in paused.text
    assert visitor.send(paused, "/resume").status == 200
    assert endpoints_of(team)[0].status == EndpointState.ACTIVE


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"url": "ftp://127.0.0.1/"}, "the URL must start with https://"),
        ({"url": ""}, "url must be a text of 1 to 2048 characters"),
        ({"url": "https://10.0.0.1/"}, "10.0.0.1 is in"),
        ({"event_types": []}, "event_types must name at least one event type"),
        ({"event_types": ["*"]}, "* is not offered by this link"),
        ({"event_types": ["webhook.test"]}, "webhook.test is not offered by this link"),
        ({"description": "a" * 1001}, "description must be a text of at most 1000"),
        ({"description": "a\x00"}, "contains a NUL character"),
        ({"algorithm": "v2"}, "algorithm must be one of v1, v1a"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_the_rest_is_kept(visit, team, fields, named):
    page = make_endpoint(visit(), **({"description": "kept"} | fields))
    assert page.status == 422
    assert named in page.text
    assert "AGORA_" not in page.text
    assert endpoints_of(team) == []
    if "NUL" not in named:
        assert ("description", fields.get("description", "kept")) in page.form("/endpoints")["fields"]
        assert [tag for tag, given in page.tags if given.get("aria-invalid") == "true"] != []


def test_only_some_types_are_offered_to_a_scope_and_all_to_a_link_without(visit):
    offered = {
        given["value"] for _, given in visit().get(f"{ROOT}/endpoints/new").tags if given.get("name") == "event_types"
    }
    assert {"job.failed", "agent.*"} <= offered
    assert not {one for one in offered if one == "*" or one.startswith("webhook.")}
    whole = visit(scope={}, all_endpoints=True).get(f"{ROOT}/endpoints/new")
    assert {given["value"] for _, given in whole.tags if given.get("name") == "event_types"} >= offered | {"*"}


def test_types_that_the_team_gave_an_endpoint_may_stay(visit, team):
    endpoint = team.endpoint(URL, metadata=ACME, event_types=("*", "job.*")).endpoint
    visitor = visit()
    form = visitor.get(f"{ROOT}/endpoints/{endpoint.id}/edit")
    visitor.send(form, "/edit", description="changed")
    assert set(endpoints_of(team)[0].event_types) == {"*", "job.*"}
    visitor.send(form, "/edit", event_types=["job.*"])
    assert visitor.send(form, "/edit", event_types=["*"]).status == 422


def test_what_is_made_hears_of_the_project_of_its_scope_only(visit, team):
    make_endpoint(visit(scope={"project_id": "prj_1"}), event_types=["job.failed"])
    team.happen("job.failed", data={"metadata": {"project_id": "prj_2"}})
    team.happen("job.failed")
    assert team.statuses() == []
    team.happen("job.failed", data={"metadata": {"project_id": "prj_1"}})
    assert team.statuses() == ["pending"]


def test_what_is_made_hears_of_the_jobs_of_its_scope_only(visit, team):
    make_endpoint(visit(scope={"customer": "acme", "seats": 5}), event_types=["job.failed"])
    team.happen("job.failed", data={"metadata": {"customer": "other", "seats": 5}})
    team.happen("job.failed", data={"metadata": {"customer": "acme"}})
    team.happen("job.failed")
    assert team.statuses() == []
    team.happen("job.failed", data={"metadata": {"customer": "acme", "seats": 5, "order": 7}})
    assert team.statuses() == ["pending"]


def test_an_endpoint_with_headers_of_the_team_leads_nowhere_else(visit, team):
    endpoint = team.endpoint(URL, metadata=ACME, headers={"Authorization": "Bearer t0psecret"}).endpoint
    visitor = visit()
    form = visitor.get(f"{ROOT}/endpoints/{endpoint.id}/edit")
    refused = visitor.send(form, "/edit", url="https://127.0.0.1/elsewhere")
    assert refused.status == 422
    assert "headers that the team set" in refused.text
    assert visitor.send(form, "/edit", description="fine").status == 200
    assert endpoints_of(team)[0].url == URL


def test_a_link_makes_so_many_endpoints_and_no_more(visit, team, monkeypatch):
    monkeypatch.setattr(portal, "MAX_ENDPOINTS", 2)
    visitor = visit()
    for _ in range(2):
        make_endpoint(visitor)
    team.endpoint(URL, metadata={"customer": "other"})
    refused = make_endpoint(visitor)
    assert refused.status == 422
    assert "there are 2 endpoints already" in refused.text
    assert len(endpoints_of(team)) == 3


def test_deliveries_are_filtered_and_paged(visit, team):
    endpoint = team.endpoint(URL, metadata=ACME).endpoint
    team.happen("job.failed", count=30)
    sql(
        "UPDATE webhook_deliveries SET status = 'succeeded', ended_at = now()"
        " WHERE id = (SELECT min(id) FROM webhook_deliveries)"
    )
    visitor = visit()
    first = visitor.get(f"{ROOT}/endpoints/{endpoint.id}?status=pending")
    [older] = [link for link in first.links if "cursor=" in link]
    rest = visitor.get(older)
    shown = [link for page in (first, rest) for link in page.links if "/deliveries/" in link]
    assert len(shown) == len(set(shown)) == 29
    assert [link for link in rest.links if "cursor=" in link] == []
    only = visitor.get(f"{ROOT}/endpoints/{endpoint.id}?status=succeeded")
    assert len([link for link in only.links if "/deliveries/" in link]) == 1
    assert ("status", "succeeded") in next(one for one in only.forms if one["method"] == "get")["fields"]


@pytest.mark.parametrize("query", ["status=odd", "cursor=whd_x", "cursor=%00", "status=%00"])
def test_a_query_that_is_none_is_refused(visit, team, query):
    endpoint = team.endpoint(URL, metadata=ACME).endpoint
    assert visit().get(f"{ROOT}/endpoints/{endpoint.id}?{query}").status == 422


def test_endpoints_are_paged(visit, team):
    for _ in range(26):
        team.endpoint(URL, metadata=ACME)
    visitor = visit()
    [older] = [link for link in visitor.first.links if "cursor=" in link]
    found = [link for page in (visitor.first, visitor.get(older)) for link in page.links if "/endpoints/whe_" in link]
    assert len(set(found)) == 26
    assert visitor.get(f"{ROOT}/?cursor=whd_x").status == 422


def test_every_try_is_shown(visit, team, receiver, engines):
    async def answer(request):
        return web.Response(status=500, text="z" * 5000, headers={"X-Trace": "abc"})

    url = receiver.behave("/hook", answer, 204)
    endpoint = team.endpoint(url, metadata=ACME, schedule=(0.0, 0.0), event_types=("job.failed",)).endpoint
    team.happen("job.failed", data={"text": "grüße"})
    run_until_ended(engines(), team)
    visitor = visit()
    assert "1 of 1" in visitor.first.text
    [link] = [one for one in visitor.get(f"{ROOT}/endpoints/{endpoint.id}").links if "/deliveries/" in one][:1]
    page = visitor.get(link)
    assert page.text.index("Try 2") < page.text.index("Try 1")
    assert "status: the receiver answered 500" in page.text
    assert "x-trace abc" in page.text
    assert "z" * 4000 in page.text
    assert "z" * 4001 not in page.text
    assert "1000 more characters are not shown" in page.text
    assert '"text": "grüße"' in page.text
    bars = [given for tag, given in page.tags if tag == "rect"]
    assert {one["class"] for one in bars} >= {"first_byte", "rest"}
    assert [given for tag, given in page.tags if tag == "details" and "open" in given] != []


def given_up(team, receiver, engines, path="/hook", kind="job.failed"):
    url = receiver.behave(path, 500, 204)
    made = team.endpoint(url, metadata=ACME, schedule=(0.0,), event_types=(kind,)).endpoint
    team.happen(kind)
    run_until_ended(engines(), team)
    [delivery] = service.list_deliveries(DeliveryFilter(endpoint=made.id), team_id=team.id).items
    assert delivery.status == DeliveryState.EXHAUSTED
    return made, delivery


def test_one_is_sent_again(visit, team, receiver, engines):
    _, delivery = given_up(team, receiver, engines)
    visitor = visit()
    again = visitor.send(visitor.get(f"{ROOT}/deliveries/{delivery.id}"), "/resend")
    assert "The delivery is sent again" in again.text
    run_until_ended(engines(), team)
    first, second = receiver.got["/hook"]
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert "delivered" in visitor.get(f"{ROOT}/deliveries/{delivery.id}").text


def test_all_that_failed_are_recovered(visit, team, receiver, engines):
    endpoint, _ = given_up(team, receiver, engines)
    other, kept = given_up(team, receiver, engines, "/other", "job.cancelled")
    visitor = visit()
    asked = visitor.get(f"{ROOT}/endpoints/{endpoint.id}/recover")
    assert "1 given up since" in asked.text
    begun = visitor.send(asked, "/recover")
    assert "0 of 1 are in line" in begun.text
    for _ in range(50):
        replay_duties.work_off()
        duties.drain_held()
        if "1 of 1" in visitor.get(visitor.at).text:
            break
        time.sleep(0.05)
    assert "completed" in visitor.get(visitor.at).text
    engine = engines()
    for _ in range(100):
        duties.drain_held()
        engine.run_once()
        if len(receiver.got["/hook"]) == 2:
            break
        time.sleep(0.05)
    assert [one[0]["webhook-id"] for one in receiver.got["/hook"]] == [receiver.got["/hook"][0][0]["webhook-id"]] * 2
    assert service.get_delivery(kept.id, team_id=team.id).status == DeliveryState.EXHAUSTED
    assert other.id != endpoint.id


@pytest.mark.parametrize(
    "since", ["yesterday", "2030-13-01T00:00", "2030-01-01", "99999-01-01T00:00", "2030-01-01T00:00Z"]
)
def test_a_time_that_is_none_is_refused(visit, team, since):
    endpoint = team.endpoint(URL, metadata=ACME).endpoint
    assert visit().get(f"{ROOT}/endpoints/{endpoint.id}/recover", query_string={"since": since}).status == 422


def test_every_state_has_a_name():
    assert set(show.STATES) == set(DeliveryState) | set(EndpointState)
    assert set(show.DELIVERY_STATES) == set(DeliveryState)


def test_a_payload_that_is_no_json_is_shown_as_it_is():
    assert show.pretty("no json") == "no json"
    assert show.pretty("[" * 100_000).startswith("[[[")
    assert json.loads(show.pretty('{"a":[1,"ü"]}')) == {"a": [1, "ü"]}


def tried(**timed):
    return DeliveryAttempt(
        id="wha_x", number=1, delivered=True, started_at=now(), status_code=200, error_class=None, error=None,
        request_headers={}, response_headers=None, response_body=None, peer_address=None, **timed,
    )  # fmt: skip


def test_the_parts_of_a_try_follow_one_another():
    timings = {"dns": 10.0, "connect": 30.0, "tls": 60.0, "first_byte": 90.0}
    parts = show.segments(tried(duration_ms=100, timings=timings))
    assert [(one.name, one.milliseconds, one.start) for one in parts] == [
        ("dns", 10, 0), ("connect", 20, 10), ("tls", 30, 30), ("first_byte", 30, 60), ("rest", 10, 90),
    ]  # fmt: skip
    assert sum(one.width for one in parts) == pytest.approx(100)
    [alone] = show.segments(tried(duration_ms=0, timings={}))
    assert (alone.label, alone.width) == ("until it failed", 100)
    late = show.segments(tried(duration_ms=1, timings={"first_byte": 1.4}))
    assert [round(one.width) for one in late] == [100, 0]
