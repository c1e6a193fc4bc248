"""What the webhook portal keeps out: other sites, other customers, other teams, old links, hostile texts."""

import re

import pytest
from aiohttp import web

from agora.db.session import transaction
from agora.errors import Forbidden
from agora.settings import override_environment
from agora.webhooks import keys, portal, portal_deliveries, portal_keys, portal_links, replays, service
from agora.webhooks.portal_links import NewLink
from agora.webhooks.types import InlineWebhook
from api.auth import OWN_DOORS
from tests.support.portal import ROOT, Page, Visitor
from tests.support.webhooks import Team, run_until_ended, sql

ACME, GLOBEX = {"customer": "acme", "plan": 3}, {"customer": "globex", "plan": 3}
URL = "https://127.0.0.1/hook"
EVIL = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"""


@pytest.fixture
def visit(app, team, quiet):
    def make(*, enter=True, owner=team, **options):
        made = portal_links.create_link(NewLink(**({"scope": {"customer": "acme"}} | options)), team_id=owner.id)
        visitor = Visitor(app, made.token)
        visitor.link = made.link
        if enter:
            visitor.first = visitor.open()
        return visitor

    return make


@pytest.fixture
def mine(team, quiet):
    return team.endpoint(URL, metadata=ACME).endpoint


def portal_routes(app, method, *, but=()):
    """Paths of the portal's views that take a method, with their parameters still in them."""
    found = {
        rule.endpoint: rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("portal.") and method in rule.methods and rule.endpoint not in but
    }
    assert len(found) > 5
    return found


STATIC = ("portal.static", "portal.open_link", "portal.nothing")


def filled(rule, **ids):
    return re.sub(r"<(\w+)>", lambda found: ids[found[1]], rule)


def ids_of(endpoint, team):
    """Ids of everything that belongs to an endpoint."""
    delivery = service.send_test(endpoint.id, team_id=team.id)
    [key] = keys.list_keys(endpoint.id, team_id=team.id)
    replay, _ = replays.begin(replays.recovery(endpoint.id, delivery.created_at), team_id=team.id)
    return {"endpoint_id": endpoint.id, "delivery_id": delivery.id, "key_id": key.id, "replay_id": replay.id}


def token_of(page):
    return next(value for name, value in page.forms[0]["fields"] if name == "form_token")


def state_of_all():
    tables = ("webhook_endpoints", "webhook_keys", "webhook_deliveries", "webhook_replays")
    return [sql(f"SELECT t::text AS r FROM {table} t ORDER BY 1") for table in tables]


def test_only_what_checks_links_itself_needs_no_key(app, db):
    assert list(OWN_DOORS) == ["portal"]
    client = app.test_client()
    for method in ("GET", "POST"):
        for rule in portal_routes(app, method, but=STATIC).values():
            ids = dict.fromkeys(("endpoint_id", "delivery_id", "key_id", "replay_id"), "x")
            answer = client.open(filled(rule, **ids), method=method)
            assert answer.status_code == 403
            assert "This page needs a link" in answer.text
    assert client.put(f"{ROOT}/").status_code == 401


def others(team, mine, app):
    """Ids of what is near and yet not of the link: another customer's, another team's, a job's own webhook."""
    stranger = Team()
    theirs = stranger.endpoint(URL, metadata=ACME).endpoint
    globex = team.endpoint(URL, metadata=GLOBEX).endpoint
    plain = team.endpoint(URL, uid="plain").endpoint
    inline = team.endpoint(URL, metadata=ACME).endpoint
    found = [ids_of(theirs, stranger), *(ids_of(one, team) for one in (globex, plain, inline))]
    sql("UPDATE webhook_endpoints SET kind = 'inline', job_id = 'job_x' WHERE id = :id", id=inline.id)
    gone = team.endpoint(URL, metadata=ACME).endpoint
    found.append(ids_of(gone, team))
    service.delete_endpoint(gone.id, team_id=team.id)
    odd = dict.fromkeys(("endpoint_id", "delivery_id", "key_id", "replay_id"), "plain")
    return [*found, odd, {**odd, "endpoint_id": mine.id + "0"}]


def test_what_is_not_of_the_link_does_not_exist(app, visit, team, mine):
    near = others(team, mine, app)
    visitor = visit()
    token = token_of(visitor.first)
    form = {
        "form_token": token, "url": URL, "event_types": "job.failed", "algorithm": "v1", "overlap": "0",
        "since": "2020-01-01T00:00",
    }  # fmt: skip
    before = state_of_all()
    for ids in near:
        for method in ("GET", "POST"):
            for rule in portal_routes(app, method, but=STATIC).values():
                if "<" in rule:
                    page = Page(visitor.client.open(filled(rule, **ids), method=method, data=form))
                    assert page.status == 404, (method, rule, ids)
                    assert "127.0.0.1" not in page.html
    assert state_of_all() == before
    shown = [link for link in visitor.get(f"{ROOT}/").links if "/endpoints/whe_" in link]
    assert shown == [f"{ROOT}/endpoints/{mine.id}"]


def test_keys_of_another_endpoint_cannot_be_revoked_through_an_own_one(visit, team, mine):
    ids = ids_of(team.endpoint(URL, metadata=GLOBEX).endpoint, team)
    keys.add_key(ids["endpoint_id"], team_id=team.id)
    visitor = visit()
    at = f"{ROOT}/endpoints/{mine.id}/keys/{ids['key_id']}/revoke"
    assert visitor.get(at).status == 404
    assert visitor.post(at, {"form_token": token_of(visitor.first)}).status == 404
    assert len(keys.list_keys(ids["endpoint_id"], team_id=team.id)) == 2


def test_a_replay_of_the_whole_team_is_not_shown(visit, team, mine):
    new = replays.NewReplay(filter=replays.ReplayFilter(), everything=True)
    made, _ = replays.begin(new, team_id=team.id)
    assert visit().get(f"{ROOT}/replays/{made.id}").status == 404


@pytest.mark.parametrize(
    ("scope", "opened"),
    [
        ({"customer": "acme"}, True),
        ({"plan": 3}, True),
        ({"customer": "acme", "plan": 3}, True),
        ({"customer": "acme", "plan": 4}, False),
        ({"plan": "3"}, False),
        ({"customer": "ACME"}, False),
        ({"customer": "acme", "other": True}, False),
    ],
)
def test_a_scope_opens_what_contains_all_of_it(visit, mine, scope, opened):
    visitor = visit(scope=scope)
    assert visitor.get(f"{ROOT}/endpoints/{mine.id}").status == (200 if opened else 404)
    assert (URL in visitor.first.text) is opened


def test_a_link_to_all_endpoints_is_still_one_teams(visit, team, mine):
    other = Team().endpoint("https://127.0.0.1/stranger").endpoint
    plain = team.endpoint("https://127.0.0.1/plain").endpoint
    visitor = visit(scope={}, all_endpoints=True)
    assert visitor.get(f"{ROOT}/endpoints/{plain.id}").status == 200
    assert visitor.get(f"{ROOT}/endpoints/{other.id}").status == 404
    assert "stranger" not in visitor.first.text


def test_the_page_cannot_take_an_endpoint_out_of_its_scope(visit, team, mine):
    visitor = visit()
    form = visitor.get(f"{ROOT}/endpoints/{mine.id}/edit")
    visitor.send(form, "/edit", metadata='{"customer":"globex"}', uid="u", headers="{}", agents="x", projects="y")
    found = service.get_endpoint(mine.id, team_id=team.id)
    assert (found.metadata, found.uid, found.agents, found.projects) == (ACME, None, (), ())


def test_every_form_needs_the_token_of_its_session(app, visit, team, mine):
    ids = ids_of(mine, team)
    visitor, other = visit(), visit()
    before = state_of_all()
    for rule in portal_routes(app, "POST", but=STATIC).values():
        for token in ("", "x", token_of(other.first), token_of(visitor.first)[:-1]):
            page = visitor.post(filled(rule, **ids), {"form_token": token} if token else {})
            assert page.status == 403, rule
            assert "not of this session" in page.text
    assert state_of_all() == before
    assert visitor.get(f"{ROOT}/").status == 200


def test_a_token_is_of_one_browser(app, visit, mine):
    first = visit()
    second = Visitor(app, first.token)
    page = second.open()
    assert token_of(page) != token_of(first.first)
    assert second.post(f"{ROOT}/endpoints/{mine.id}/test", {"form_token": token_of(first.first)}).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Origin": "null"}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://hooks.example"}, 303),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "null"}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_forms_of_other_sites_are_refused(visit, mine, headers, status):
    visitor = visit()
    data = {"form_token": token_of(visitor.first)}
    known = {"AGORA_PUBLIC_URL": "http://hooks.example"} if "hooks" in headers.get("Origin", "") else {}
    with override_environment(known):
        answer = visitor.client.post(f"{ROOT}/endpoints/{mine.id}/test", data=data, headers=headers)
    assert answer.status_code == status


def test_a_link_for_reading_takes_no_form(app, visit, team, mine):
    ids = ids_of(mine, team)
    visitor = visit(read_only=True)
    before = state_of_all()
    for endpoint, rule in portal_routes(app, "POST", but=(*STATIC, "portal.leave")).items():
        page = visitor.post(filled(rule, **ids), {"form_token": token_of(visitor.first)})
        assert page.status == 403, endpoint
        assert "for reading only" in page.text
    assert state_of_all() == before
    for at in ("/", f"/endpoints/{mine.id}", f"/endpoints/{mine.id}/keys", f"/deliveries/{ids['delivery_id']}"):
        page = visitor.get(ROOT + at)
        assert page.status == 200
        assert [form["action"] for form in page.forms if form["method"] == "post"] == [f"{ROOT}/leave"]


def test_the_services_refuse_it_as_well(visit, team, mine):
    ids, link = ids_of(mine, team), visit(read_only=True, enter=False).link
    moment = link.created_at
    for call in (
        lambda: portal.create_endpoint(link, url=URL, description="", event_types=("job.failed",), algorithm="v1"),
        lambda: portal.update_endpoint(link, mine.id, url=URL, description="", event_types=("job.failed",)),
        lambda: portal.pause_endpoint(link, mine.id),
        lambda: portal.resume_endpoint(link, mine.id),
        lambda: portal.delete_endpoint(link, mine.id),
        lambda: portal.send_test(link, mine.id),
        lambda: portal_keys.add_key(link, mine.id, algorithm="v1"),
        lambda: portal_keys.rotate_key(link, mine.id, algorithm="v1", overlap=0),
        lambda: portal_keys.revoke_key(link, mine.id, ids["key_id"]),
        lambda: portal_deliveries.resend(link, ids["delivery_id"]),
        lambda: portal_deliveries.recover(link, mine.id, moment),
    ):
        with pytest.raises(Forbidden):
            call()


ENDS = {
    "expires_at = now() - interval '1 second'": (410, "This link has expired"),
    "revoked_at = now()": (403, "This link was revoked"),
}


@pytest.mark.parametrize("change", ENDS)
def test_a_link_that_ended_opens_nothing_from_the_next_request_on(visit, mine, change):
    visitor = visit()
    status, title = ENDS[change]
    sql(f"UPDATE webhook_portal_links SET {change}")
    for at in ("", "/", f"/endpoints/{mine.id}", f"/l/{visitor.token}"):
        page = visitor.get(ROOT + at)
        assert page.status == status
        assert title in page.text
        assert URL not in page.html
    page = visitor.post(f"{ROOT}/endpoints/{mine.id}/delete", {"form_token": token_of(visitor.first)})
    assert page.status == status
    assert len(sql("SELECT FROM webhook_endpoints")) == 1
    assert "Set-Cookie" not in visitor.client.get(f"{ROOT}/l/{visitor.token}").headers


def test_a_link_that_was_removed_or_never_was_opens_nothing(app, visit):
    visitor = visit()
    sql("DELETE FROM webhook_portal_links")
    assert visitor.get(f"{ROOT}/").status == 403
    for token in (visitor.token, "x", "a" * 43, "a" * 5000, "%00"):
        page = Visitor(app, token).get(f"{ROOT}/l/{token}")
        assert page.status == 404
        assert "There is no such" in page.text or token == "%00"


def test_headers_of_every_answer(visit, mine):
    visitor = visit()
    answers = [
        visitor.client.get(ROOT + at)
        for at in ("/", f"/l/{visitor.token}", f"/endpoints/{mine.id}", "/nothing", "/l/x", "/?cursor=x")
    ]
    answers += [visitor.client.post(f"{ROOT}/leave"), visitor.client.get("/webhook-portal")]
    for answer in answers:
        assert answer.content_type == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        page = Page(answer)
        assert [tag for tag, _ in page.tags if tag in {"script", "style", "iframe", "img"}] == []
        assert [
            given for _, given in page.tags if any(name.startswith("on") or name == "style" for name in given)
        ] == []
        assert visitor.token not in answer.text


def test_the_style_is_served_and_may_be_kept(app):
    with app.test_client().get(f"{ROOT}/static/portal.css") as answer:
        text = answer.text
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/css")
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert "http" not in text
    assert len(text) < 16_384


def test_hostile_texts_stay_texts(visit, team, receiver, engines):
    async def hostile(request):
        return web.Response(status=500, text=EVIL, headers={"X-Evil": EVIL})

    url = receiver.behave("/hook", hostile)
    evil_url = f"{url}?q=%22><script>alert(3)</script>"
    made = team.endpoint(
        evil_url, description=EVIL, metadata={"customer": EVIL[:100]}, schedule=(0.0,), event_types=("job.failed",)
    ).endpoint
    team.happen("job.failed", data={"text": EVIL, EVIL: 1})
    run_until_ended(engines(), team)
    visitor = visit(scope={"customer": EVIL[:100]}, label=EVIL)
    [delivery] = [link for link in visitor.get(f"{ROOT}/endpoints/{made.id}").links if "/deliveries/" in link][-1:]
    paths = ("", "/edit", "/keys", "/delete", "/recover")
    pages = [visitor.first, visitor.get(delivery), *(visitor.get(f"{ROOT}/endpoints/{made.id}{at}") for at in paths)]
    pages.append(visitor.send(visitor.get(f"{ROOT}/endpoints/new"), "/endpoints", url=EVIL, description=EVIL))
    pages.append(visitor.get(f"{ROOT}/endpoints/{EVIL.replace('/', '')}"))
    pages.append(visitor.get(f"{ROOT}/", query_string={"done": EVIL, "cursor": EVIL}))
    for page in pages:
        assert "<script" not in page.html
        assert "<img" not in page.html
        assert {tag for tag, _ in page.tags} & {"script", "img"} == set()
    shown = pages[1]
    assert shown.text.count("<script>alert(1)</script>") >= 4
    assert "{{ 7 * 7 }}" in shown.text


def test_addresses_that_a_customer_could_not_look_up_are_not_told(visit, team, receiver, engines):
    made = team.endpoint(
        receiver.behave("/hook", 500), metadata=ACME, schedule=(0.0, 3600.0), event_types=("job.failed",)
    ).endpoint
    team.happen("job.failed")
    engines().run_once()
    said = "inner.example (10.9.8.7) is in 10.0.0.0/8; an operator can allow it (setting AGORA_EGRESS_ALLOW)"
    sql("UPDATE webhook_attempts SET error_class = 'egress-refused', error = :said", said=said)
    sql("UPDATE webhook_deliveries SET last_error = :said, last_status_code = NULL", said=said)
    visitor = visit()
    [delivery] = team.deliveries()
    pages = [visitor.first, *(visitor.get(ROOT + at) for at in (f"/endpoints/{made.id}", f"/deliveries/{delivery.id}"))]
    for page in pages:
        assert "10.9.8.7" not in page.html
        assert "AGORA_" not in page.html
    assert "may not be called from here" in pages[0].text
    assert "egress-refused" in pages[1].text
    assert "may not be called from here" in pages[2].text


def test_a_form_has_a_size(visit, mine):
    visitor = visit()
    data = {"form_token": token_of(visitor.first), "description": "a" * 70_000}
    page = visitor.post(f"{ROOT}/endpoints/{mine.id}/edit", data)
    assert page.status == 413
    assert visitor.post(f"{ROOT}/endpoints/{mine.id}/edit", {"x": "a" * 2_000_000}).status == 413


def test_a_fault_is_told_without_its_inside(visit, monkeypatch):
    visitor = visit()

    def broken(*_, **__):
        raise RuntimeError("inside")

    monkeypatch.setattr("agora.webhooks.portal.list_endpoints", broken)
    page = visitor.get(f"{ROOT}/")
    assert page.status == 500
    assert "Something went wrong" in page.text
    assert "inside" not in page.html


def test_jobs_own_webhooks_are_not_opened(visit, team):
    with transaction() as session:
        service.create_inline(session, team_id=team.id, job_id="job_x", webhook=InlineWebhook(url=URL))
    assert URL not in visit(scope={}, all_endpoints=True).first.text
