"""Forged access tokens: each must be refused, and none may tell why."""

import base64
import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from agora.identity import access_tokens
from tests.support import people
from tests.support.people import Browser

ME = "/api/v1/me"


def b64(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts_of(token):
    head, body, signature = token.split(".")
    pad = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))  # noqa: E731
    return json.loads(pad(head)), json.loads(pad(body)), signature


def signed(header, claims, key):
    return jwt.encode(header, claims, key, algorithms=["Ed25519"])


@pytest.fixture
def token(app, db):
    return Browser(app, people.sign_up()).tokens["access_token"]


def ours():
    return access_tokens._keys().signing


def forgeries(token):
    head, body, signature = parts_of(token)
    public = ours().as_dict(private=False)
    stranger = OKPKey.generate_key("Ed25519")
    past = int(time.time()) - 1
    yield "alg none", f"{b64(head | {'alg': 'none'})}.{b64(body)}."
    yield "alg none with the old signature", f"{b64(head | {'alg': 'none'})}.{b64(body)}.{signature}"
    for secret in (public["x"], json.dumps(public), base64.urlsafe_b64decode(public["x"] + "=")):
        key = OctKey.import_key(secret)
        yield "the public key as a secret", jwt.encode(head | {"alg": "HS256"}, body, key, algorithms=["HS256"])
    yield "another key", signed(head, body, stranger)
    yield "another key that the header brings", signed(head | {"jwk": stranger.as_dict(private=False)}, body, stranger)
    yield "an unknown kid", signed(head | {"kid": "jwk_01h455vb4pex5vsknk084sn02q"}, body, ours())
    yield "a kid that is a path", signed(head | {"kid": "../../dev/null"}, body, ours())
    yield "no kid", signed({name: value for name, value in head.items() if name != "kid"}, body, ours())
    yield "other claims", f"{b64(head)}.{b64(body | {'sub': 'usr_01h455vb4pex5vsknk084sn02q'})}.{signature}"
    yield "run out", signed(head, body | {"exp": past}, ours())
    yield "of the future", signed(head, body | {"iat": past + 3600}, ours())
    yield "another audience", signed(head, body | {"aud": "another-api"}, ours())
    yield "another issuer", signed(head, body | {"iss": "another"}, ours())
    yield "another type", signed(head | {"typ": "JWT"}, body, ours())
    for name in ("exp", "aud", "iss", "sub", "sid"):
        yield f"without {name}", signed(head, {key: value for key, value in body.items() if key != name}, ours())
    yield "exp as text", signed(head, body | {"exp": "tomorrow"}, ours())
    yield "a session of another user", signed(head, body | {"sub": people.sign_up().id}, ours())
    yield "a session that is none", signed(head, body | {"sid": "sgn_01h455vb4pex5vsknk084sn02q"}, ours())
    yield "a list as subject", signed(head, body | {"sub": ["usr_x"]}, ours())
    _, rest = token.split(".", 1)
    yield "critical headers", f"{b64(head | {'crit': ['b64'], 'b64': False})}.{rest}"
    yield "signature cut", token[:-4]
    yield "one byte more", token + "A"
    yield "four parts", token + ".x"
    yield "no parts", "x"
    yield "empty parts", ".."
    yield "very long", token + "A" * 100_000
    yield "no text", "\x80\x81"


def test_every_forgery_is_refused_alike(app, token):
    assert app.test_client().get(ME, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    details = set()
    for name, forged in forgeries(token):
        refused = app.test_client().get(ME, headers={"Authorization": f"Bearer {forged}"})
        assert (refused.status_code, refused.json.get("code")) == (401, "unauthenticated"), name
        details.add(refused.json["detail"])
    assert details <= {
        "the access token is not valid, or has run out", "the session has ended; sign in again",
    }  # fmt: skip


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer\tx", "bearer agora_x", "Token x"]
)
def test_what_is_no_bearer_is_refused(app, db, header):
    assert app.test_client().get(ME, headers={"Authorization": header}).status_code == 401
