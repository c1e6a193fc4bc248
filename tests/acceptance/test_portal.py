"""The webhook portal in Debian's chromium, with JavaScript off, on the real platform (make test-extra)."""

import html
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agora.client import verify
from tests.support.browser import Browser
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(180)]
NARROW = 360


@pytest.fixture
def browser(tmp_path):
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def elsewhere():
    """A page of another site that holds a link, such as a mail in a browser."""

    class Mail(BaseHTTPRequestHandler):
        link = ""

        def do_GET(self):
            body = (
                f'<!doctype html><html lang="en"><title>mail</title><a href="{html.escape(Mail.link)}">open</a></html>'
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mail)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Mail, f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join(10)


def words(page):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def until_shown(browser, text, seconds=30):
    end = time.monotonic() + seconds
    while text not in words(browser.html()):
        assert time.monotonic() < end, f"{text!r} is not shown on {browser.url()}: {words(browser.html())[:500]}"
        time.sleep(0.3)
        browser.reload()


def opened(browser, session_platform, **fields):
    made = session_platform.api.create_portal_link(**({"scope": {"customer": "acme"}} | fields))
    browser.go(made["url"])
    return made


def test_a_link_in_a_mail_opens_the_page_and_leaves_no_token_behind(session_platform, browser, elsewhere):
    made = session_platform.api.create_portal_link({"customer": "acme"}, label="Acme Inc.")
    mail, address = elsewhere
    mail.link = made["url"]
    browser.go(address)
    browser.click("a")
    page = words(browser.settled())
    assert browser.url() == f"{session_platform.platform.url}/webhook-portal/"
    assert "Acme Inc." in page
    token = made["url"].rpartition("/")[2]
    assert [one for one in browser.addresses() if token in one] == []
    assert token not in page
    session_platform.api.revoke_portal_link(made["id"])
    browser.reload()
    assert "This link was revoked" in words(browser.html())


def test_a_developer_makes_tests_rotates_and_deletes_an_endpoint(session_platform, browser, receiver):
    opened(browser, session_platform)
    browser.click(".head .button")
    browser.type("#url", receiver.url("/hook"))
    browser.type("#description", "orders <b>service</b>")
    browser.click("main button.main")
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", browser.html())[0]
    browser.reload()
    assert "whsec_" not in browser.html()
    browser.click("nav a")
    assert "orders <b>service</b>" in words(browser.html())
    browser.click(".actions button")
    until_shown(browser, "webhook.test delivered")
    assert "Agora-Webhooks/" in words(browser.html())
    [(headers, body, *_)] = receiver.got["/hook"]
    verify(headers, body, secret)
    browser.click(".crumbs a:last-of-type")
    browser.click("nav a:nth-of-type(2)")
    browser.click("main button.main")
    rotated = re.search(r"whsec_[A-Za-z0-9+/=]+", browser.html())[0]
    assert rotated != secret
    browser.click("nav a:nth-of-type(3)")
    browser.click("a.danger")
    assert "Delete this endpoint?" in words(browser.html())
    browser.click("button.danger")
    assert "The endpoint is deleted." in words(browser.html())
    assert browser.faults == []


def test_what_failed_is_recovered(session_platform, browser, receiver):
    url = receiver.behave("/hook", 500, 204)
    endpoint = session_platform.api.create_endpoint(
        url, metadata={"customer": "recovered"}, schedule=[0], event_types=["job.failed"]
    )
    opened(browser, session_platform, scope={"customer": "recovered"})
    browser.click("tbody a")
    browser.click(".actions button")
    until_shown(browser, "webhook.test given up")
    browser.click(".crumbs a:last-of-type")
    browser.click(".actions a.button")
    assert "1 given up since" in words(browser.html())
    browser.click("main form.actions button")
    until_shown(browser, "1 of 1 are in line")
    browser.click(".crumbs a:last-of-type")
    until_shown(browser, "webhook.test evt_")
    until_shown(browser, "delivered 2 204")
    assert len({one[0]["webhook-id"] for one in receiver.got["/hook"]}) == 1
    session_platform.api.delete_endpoint(endpoint["id"])
    assert browser.faults == []


@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_a_narrow_window(session_platform, browser, receiver, dark):
    url = receiver.url("/hook/" + "long" * 60)
    scope = {"customer": f"narrow {dark}"}
    session_platform.api.create_endpoint(url, metadata=scope, description="w" * 200, algorithm="v1a")
    browser.resize(NARROW, 800, dark=dark)
    opened(browser, session_platform, scope=scope, label="l" * 100)
    addresses = [browser.url()]
    browser.click("tbody a")
    addresses.append(browser.url())
    browser.click(".actions button")
    until_shown(browser, "webhook.test delivered")
    addresses += [browser.url(), *(f"{addresses[1]}{more}" for more in ("/edit", "/keys", "/delete", "/recover"))]
    addresses.append(f"{addresses[0]}endpoints/new")
    for address in addresses:
        browser.go(address)
        assert browser.width() <= NARROW, address
    assert browser.faults == []


def test_long_words_leave_room_for_the_other_columns(session_platform, browser, receiver):
    url, scope = receiver.url("/hook/" + "long" * 60), {"customer": "wide"}
    session_platform.api.create_endpoint(url, metadata=scope, description="w" * 300)
    opened(browser, session_platform, scope=scope)
    assert browser.height("thead") < 50, "the heads of the columns are one line"
    assert browser.width() <= 1100


def test_keys_lead_through_the_page(session_platform, browser):
    opened(browser, session_platform)
    browser.press("Tab", 9)
    skip = browser.find(":focus")
    assert browser.call("DOM.getAttributes", nodeId=skip)["attributes"] == ["class", "skip", "href", "#content"]
    box = browser.call("DOM.getContentQuads", nodeId=skip)["quads"][0]
    assert min(box) >= 0, "what has the focus is seen"
