"""OpenID providers on loopback: a real one in a process of its own, and one that signs whatever a test wants."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey

from agora.runtime.ports import free_port
from tests.support.server import served

OIDC = "/api/v1/auth/oidc"
HOME = "http://127.0.0.1:9"
CLIENT_ID, CLIENT_SECRET = "agora", "a secret of both: 0123456789abcdef"
NUMBERS = count()
PROGRAM = Path(sys.executable).parent / "oidc-provider-mock"


@contextmanager
def real_provider():
    """The URL of a provider that others have written, while the block runs."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [PROGRAM, "--host", "127.0.0.1", "--port", str(port), "--require-nonce"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not _answers(url):
            assert process.poll() is None, "the provider ended"
            assert time.monotonic() < deadline, "the provider does not answer"
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url):
    try:
        with urllib.request.urlopen(f"{url}/.well-known/openid-configuration", timeout=1):
            return True
    except OSError:
        return False


def sign_in_there(url, subject):
    """What a person does in the form of that provider; where it sends the browser back to."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    try:
        opener.open(url, data=urlencode({"sub": subject}).encode(), timeout=10)
    except urllib.error.HTTPError as redirect:
        return redirect.headers["Location"]
    raise AssertionError("the provider sends nobody back")


def put_user(provider, subject, **claims):
    """Make a user of that provider."""
    sent = urllib.request.Request(
        f"{provider}/users/{subject}", json.dumps(claims).encode(), {"Content-Type": "application/json"}, method="PUT"
    )
    with urllib.request.urlopen(sent, timeout=10) as answer:
        assert answer.status == 204


class Provider:
    """A provider of which a test decides what it says. It checks PKCE, the client and the redirect as a good one does.

    ``claims`` are put over those of a right id_token, None takes one away; ``signed`` makes the token.
    """

    def __init__(self):
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig", "alg": "RS256"})
        self.url, self.claims, self.metadata, self.codes = "", {}, {}, {}
        self.signed = self.sign
        self.userinfo = None
        self.app = Flask("provider")
        self.app.add_url_rule("/.well-known/openid-configuration", "about", self._about)
        self.app.add_url_rule("/jwks", "jwks", lambda: jsonify(keys=[self.key.as_dict(private=False)]))
        self.app.add_url_rule("/token", "token", self._token, methods=["POST"])
        self.app.add_url_rule("/userinfo", "userinfo", lambda: jsonify(self.userinfo))

    @contextmanager
    def running(self):
        with served(self.app) as self.url:
            yield self

    def _about(self):
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        said = {"issuer": self.url} | {name: f"{self.url}/{path}" for name, path in paths.items()}
        return jsonify(said | ({"userinfo_endpoint": f"{self.url}/userinfo"} if self.userinfo else {}) | self.metadata)

    def authorize(self, url):
        """Sign somebody in for whom a browser was sent here; the query that it comes back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.url}/authorize?")
        assert (asked["client_id"], asked["response_type"]) == (CLIENT_ID, "code")
        assert asked["code_challenge_method"] == "S256"
        code = f"code{next(NUMBERS)}"
        self.codes[code] = asked
        return {"state": asked["state"], "code": code}

    def _token(self):
        asked = self.codes.pop(request.form["code"], None)
        digest = hashlib.sha256(request.form["code_verifier"].encode()).digest()
        login = request.authorization
        if (login.username, login.password) != (CLIENT_ID, CLIENT_SECRET):
            return jsonify(error="invalid_client"), 401
        if (
            asked is None
            or encoded(digest) != asked["code_challenge"]
            or request.form["redirect_uri"] != asked["redirect_uri"]
        ):
            return jsonify(error="invalid_grant"), 400
        moment = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT_ID, "sub": "ada", "nonce": asked["nonce"], "iat": moment, "exp": moment + 60,
            "email": "ada@corp.test", "email_verified": True, "name": "Ada",
        } | self.claims  # fmt: skip
        right = {name: value for name, value in claims.items() if value is not None}
        return jsonify(access_token="a", token_type="Bearer", expires_in=60, id_token=self.signed(right))

    def sign(self, claims, key=None, **header):
        """A right id_token, or nearly."""
        header = {"alg": "RS256", "kid": "one"} | header
        return jwt.encode(header, claims, key or self.key, algorithms=[header["alg"]])

    @staticmethod
    def sign_by_secret(claims, secret):
        """Signed by what both sides, or all, know; by hand, since no good library does it with a public key."""
        parts = [{"alg": "HS256", "kid": "one"}, claims]
        head = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{head}.{encoded(hmac.digest(secret, head.encode(), 'sha256'))}"


def encoded(data):
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def begin(browser, answered=None):
    """Where the browser is sent."""
    answered = answered or browser.get(f"{OIDC}/start")
    assert answered.status_code in {200, 302}, answered.json
    return answered.headers.get("Location") or answered.json["url"]


def come_back(browser, query):
    answered = browser.get(f"{OIDC}/callback", query_string=query)
    if answered.status_code == 200:
        browser.tokens = answered.json
    return answered


def go(browser, provider, answered=None, **more):
    return come_back(browser, provider.authorize(begin(browser, answered)) | more)
