"""The session of a visitor: a link opens it, a cookie keeps it, and each request reads the link anew.

The cookie holds the link's token and a nonce of this browser, with a MAC that says without a look at the database that
it was set here; one of before had none. Forms carry a MAC over all of it, so that a form works in the session in which
it was shown and in no other.
"""

import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from flask import request
from werkzeug.wrappers import Response

from agora import crypto
from agora.clock import now
from agora.errors import Forbidden
from agora.settings import get_settings
from agora.webhooks import portal_links
from agora.webhooks.portal_keys import NewKey
from agora.webhooks.portal_links import PortalLink
from api.headers import is_secure

ROOT = "/webhook-portal"
NAME = "agora_portal"
ONCE = "agora_portal_once"
COOKIE = re.compile(r"(([A-Za-z0-9_-]{43})\.[A-Za-z0-9_-]{22})(?:\.([0-9a-f]{64}))?")
NONCE_BYTES = 16
FORMS = "forms of the webhook portal"
COOKIES = "cookies of the webhook portal"
SECRET_SECONDS = 300
"""For so long a new secret waits for the page that shows it."""
SAME_SITE = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor: the link that they hold, and the cookie that says so."""

    link: PortalLink
    cookie: str

    @property
    def form_token(self) -> str:
        """What each form of this session carries."""
        return crypto.mac(FORMS, self.cookie.encode())

    def check_form(self) -> None:
        """Refuse a form that another page has sent. Raises Forbidden."""
        _check_origin()
        if not crypto.is_mac(FORMS, self.cookie.encode(), request.form.get("form_token", "")):
            raise Forbidden("this form is not of this session: go back, load the page again, and send it from there")


def _check_origin() -> None:
    """``Origin: null`` is what browsers send from pages that have the referrer policy of ours: it says nothing."""
    origin = request.headers.get("Origin", "null")
    own = {request.host_url, get_settings().public_url} - {""}
    foreign = origin != "null" and urlsplit(origin).netloc not in {urlsplit(one).netloc for one in own}
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in SAME_SITE:
        raise Forbidden("this form was sent by a page of another site")


def link_url(token: str) -> str:
    """The URL that a link is handed over as."""
    base = get_settings().public_url or request.host_url.rstrip("/")
    return f"{base}{ROOT}/l/{token}"


def _named(name: str) -> str:
    return f"__Secure-{name}" if is_secure() else name


def begin(response: Response, link: PortalLink, token: str) -> None:
    """Give a visitor the cookie that lasts as long as their link."""
    life = max(0, int((link.expires_at - now()) / timedelta(seconds=1)))
    text = f"{token}.{secrets.token_urlsafe(NONCE_BYTES)}"
    value = f"{text}.{crypto.mac(COOKIES, text.encode())}"
    response.set_cookie(
        _named(NAME), value, max_age=life, path=ROOT, secure=is_secure(), httponly=True, samesite="Strict"
    )


def end(response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(_named(NAME), path=ROOT, secure=is_secure(), httponly=True, samesite="Strict")


def find() -> Session | None:
    """The visitor's session, whatever the state of its link; None without one."""
    cookie = request.cookies.get(_named(NAME), "")
    found = COOKIE.fullmatch(cookie)
    forged = found is None or (found[3] is not None and not _is_ours(found))
    link = portal_links.find_by_token(found[2]) if found is not None and not forged else None
    return None if link is None else Session(link, cookie)


def holder() -> str | None:
    """Names whoever brings a cookie that we have set, by a hash of their link's token; None: nobody known."""
    found = COOKIE.fullmatch(request.cookies.get(_named(NAME), ""))
    return hashlib.sha256(found[2].encode()).hexdigest()[:32] if found is not None and _is_ours(found) else None


def _is_ours(cookie: re.Match[str]) -> bool:
    return crypto.is_mac(COOKIES, cookie[1].encode(), cookie[3] or "")


def keep_secret(response: Response, link: PortalLink, key: NewKey, path: str) -> None:
    """Let the page at ``path``, to which this response leads, show a new secret once. It waits encrypted."""
    if key.secret is None:
        return
    kept = {"link": link.id, "endpoint": key.endpoint_id, "secret": key.secret, "until": time.time() + SECRET_SECONDS}
    response.set_cookie(
        _named(ONCE), crypto.encrypt(json.dumps(kept).encode()).decode("ascii"), max_age=SECRET_SECONDS,
        path=path, secure=is_secure(), httponly=True, samesite="Strict",
    )  # fmt: skip


def find_secret(link: PortalLink, endpoint_id: str) -> str | None:
    """The new secret that waits to be shown for an endpoint."""
    sealed = request.cookies.get(_named(ONCE), "")
    kept = crypto.open_sealed(sealed.encode()) if sealed else None
    if kept is None:
        return None
    found = json.loads(kept)
    fits = (found["link"], found["endpoint"]) == (link.id, endpoint_id) and found["until"] > time.time()
    return str(found["secret"]) if fits else None


def forget_secret(response: Response, path: str) -> None:
    """The secret has been shown."""
    response.delete_cookie(_named(ONCE), path=path, secure=is_secure(), httponly=True, samesite="Strict")
