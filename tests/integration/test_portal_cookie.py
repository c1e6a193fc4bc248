"""The cookie of the webhook portal: one browser's, kept to the portal, gone with the visit."""

import pytest

from agora.settings import override_environment
from agora.webhooks import portal_links
from agora.webhooks.portal_links import NewLink
from tests.support.portal import ROOT, Visitor


@pytest.fixture
def visit(app, team, quiet):
    def make(*, enter=True, **options):
        made = portal_links.create_link(NewLink(**({"scope": {"customer": "acme"}} | options)), team_id=team.id)
        visitor = Visitor(app, made.token)
        if enter:
            visitor.first = visitor.open()
        return visitor

    return make


def test_leaving_takes_the_cookie(visit):
    visitor = visit()
    assert "You have left" in visitor.send(visitor.first, "/leave").text
    assert visitor.get(f"{ROOT}/").status == 403
    assert visitor.open().status == 200


def test_the_cookie_is_kept_to_the_portal(visit):
    visitor = visit(enter=False, expires_in=600)
    [cookie] = visitor.client.get(f"{ROOT}/l/{visitor.token}").headers.getlist("Set-Cookie")
    flags = {part.strip().partition("=")[0]: part.strip().partition("=")[2] for part in cookie.split(";")}
    assert flags.items() >= {"Path": ROOT, "SameSite": "Strict", "HttpOnly": ""}.items()
    assert 590 <= int(flags["Max-Age"]) <= 600
    assert "Secure" not in flags
    assert flags["agora_portal"].startswith(f"{visitor.token}.")


@pytest.mark.parametrize("public", [False, True])
def test_by_https_the_cookie_is_secure(visit, public):
    visitor = visit(enter=False)
    with override_environment({"AGORA_PUBLIC_URL": "https://localhost"} if public else {}):
        base = "http://localhost" if public else "https://localhost"
        [cookie] = visitor.client.get(f"{ROOT}/l/{visitor.token}", base_url=base).headers.getlist("Set-Cookie")
        assert cookie.startswith("__Secure-agora_portal=")
        assert "; Secure;" in cookie
        if not public:
            assert visitor.client.get(f"{ROOT}/", base_url=base).status_code == 200


def test_a_cookie_of_before_there_were_macs_still_opens_and_one_with_a_wrong_mac_does_not(visit):
    visitor = visit()
    cookie = visitor.client.get_cookie("agora_portal", path=ROOT).value
    text, _, mark = cookie.rpartition(".")

    def status_of(value):
        visitor.client.set_cookie("agora_portal", value, path=ROOT)
        return visitor.get(f"{ROOT}/").status

    assert status_of(text) == 200
    assert "You have left" in visitor.send(visitor.get(f"{ROOT}/"), "/leave").text  # its forms, too
    assert status_of(cookie) == 200
    for wrong in (f"{text}.{'0' * 64}", f"{text}.", f"{text}.{mark[:-1]}", f"{text}.{mark.upper()}", f"{cookie}.x"):
        assert status_of(wrong) == 403, wrong
