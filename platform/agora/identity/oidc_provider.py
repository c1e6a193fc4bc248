"""The OpenID provider of the settings: what it says of itself, the address to send people to, and what it has signed.

OpenID Connect Core 1.0, Discovery 1.0; authorization code with PKCE (RFC 7636) as RFC 9700 asks for. Its address comes
from the operator, so it is not behind the egress guard; redirects are not followed.
"""

import hmac
import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import requests
import urllib3
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from agora.clock import now
from agora.errors import Unauthenticated, Unavailable
from agora.settings import Settings, get_settings
from agora.telemetry import get_logger

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
"""Signatures that only the holder of a private key makes: no `none`, nothing by a secret that both sides have."""
KINDS: Final = frozenset({"RSA", "EC", "OKP"})
SCOPE = "openid email profile"
SECONDS = 5.0
MAX_BYTES = 1_000_000
REMEMBER_SECONDS = 3600.0
AGAIN_SECONDS = 30.0
"""A key that is not known yet is looked for again at most so often."""
PAUSE_SECONDS = 3.0
"""A provider that did not answer is left alone for so long."""
LEEWAY = 60
MAX_SUBJECT = 255
MAX_TOKEN = 64_000
OK = 200
CALLBACK = "/api/v1/auth/oidc/callback"

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Whom the provider has signed for. ``email_verified``: it says so, as `true` and nothing like it."""

    issuer: str
    subject: str
    email: str
    email_verified: bool
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Metadata:
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    auth_method: str
    names_itself: bool
    """It puts ``iss`` into its answers (RFC 9207): one without is not its own."""


@dataclass(slots=True)
class _Kept:
    metadata: _Metadata
    keys: KeySet
    at: float


_lock = threading.Lock()
_kept: dict[str, _Kept] = {}
_failed: dict[str, float] = {}


def authorization_url(*, state: str, nonce: str, verifier: str) -> str:
    """Where to send the browser. Raises Unavailable."""
    with _client() as client:
        url, _ = client.create_authorization_url(
            _provider().metadata.authorization_endpoint, state=state, code_verifier=verifier, nonce=nonce
        )
    return str(url)


def identify(*, code: str, issuer: str | None, nonce: str, verifier: str) -> Identity:
    """Whom a code stands for, with which a browser came back; ``issuer`` is what the answer says whose it is.

    Raises:
        Unauthenticated: the code, or what the provider gave for it, is not valid.
        Unavailable: the provider is away, or does not know this platform.
    """
    settings, metadata = get_settings(), _provider().metadata
    if (issuer is None and metadata.names_itself) or issuer not in {None, settings.oidc_issuer}:
        raise _refused("the answer is another provider's")  # mix-up (RFC 9207)
    token = _exchange(metadata, code, verifier)
    claims = _verified(str(token.get("id_token", "")), nonce)
    subject = claims["sub"]
    if "email" not in claims and metadata.userinfo_endpoint is not None:
        told = _get(metadata.userinfo_endpoint, bearer=str(token.get("access_token", "")))
        if told.get("sub") != subject:
            raise _refused("userinfo is of somebody else")
        claims = {**told, **claims}
    email, name = claims.get("email"), claims.get("name")
    return Identity(
        issuer=settings.oidc_issuer, subject=subject, email=email if isinstance(email, str) else "",
        email_verified=claims.get("email_verified") is True, name=name if isinstance(name, str) else "",
    )  # fmt: skip


def _refused(reason: str) -> Unauthenticated:
    log.warning("a sign-in at the provider was refused", reason=reason)
    return Unauthenticated("this sign-in is not valid; begin it again")


def _away(error: Exception | str) -> Unavailable:
    log.warning("the sign-in provider cannot be used", error=str(error)[:300])
    return Unavailable(f"{get_settings().oidc_name} cannot be reached")


def _client(auth_method: str | None = None) -> OAuth2Session:
    settings = get_settings()
    client = OAuth2Session(
        settings.oidc_client_id, settings.oidc_client_secret.get_secret_value(), scope=SCOPE,
        redirect_uri=settings.public_url + CALLBACK, code_challenge_method="S256", default_timeout=SECONDS,
        token_endpoint_auth_method=auth_method,
    )  # fmt: skip
    client.trust_env = False  # neither a proxy nor a .netrc of the environment
    return client


def _exchange(metadata: _Metadata, code: str, verifier: str) -> dict[str, Any]:
    with _client(metadata.auth_method) as client:
        try:
            found = client.fetch_token(
                metadata.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier,
                allow_redirects=False,
            )  # fmt: skip
        except OAuthError as error:
            if error.error in {"invalid_client", "unauthorized_client"}:
                raise _away(f"it does not know this platform: {error.error}") from None
            raise _refused(f"the code: {error.error}") from None
        except (requests.RequestException, ValueError) as error:
            raise _away(error) from None
    return dict(found)


def _verified(token: str, nonce: str) -> dict[str, Any]:
    """The claims of an id_token, as OpenID Connect Core 3.1.3.7 has them checked."""
    settings = get_settings()
    try:
        read = jwt.decode(token[:MAX_TOKEN], lambda given: _key_of(given.headers()), algorithms=list(ALGORITHMS))
        jwt.JWTClaimsRegistry(
            now=int(now().timestamp()), leeway=LEEWAY, iss={"essential": True, "value": settings.oidc_issuer},
            aud={"essential": True, "value": settings.oidc_client_id}, sub={"essential": True},
            exp={"essential": True}, iat={"essential": True}, nonce={"essential": True},
        ).validate(read.claims)  # fmt: skip
    except (JoseError, ValueError, TypeError) as error:
        raise _refused(f"the id_token: {type(error).__name__}") from None
    claims = dict(read.claims)
    given, audience, azp = claims["nonce"], claims["aud"], claims.get("azp")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise _refused("the id_token is of another sign-in")
    if azp not in {None, settings.oidc_client_id} or (azp is None and isinstance(audience, list) and audience[1:]):
        raise _refused("the id_token is for another client")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= MAX_SUBJECT:
        raise _refused("the id_token has no subject")
    return claims


def _key_of(header: dict[str, Any]) -> Any:
    """The key that a token's header names, fetched anew when it is not known yet. Raises ValueError for none."""
    for kept in (_provider(), _provider(older=AGAIN_SECONDS)):
        named = [key for key in kept.keys.keys if header.get("kid") in {None, key.kid}]
        if len(named) == 1:
            return named[0]
    raise ValueError("no such key")


def _provider(older: float = REMEMBER_SECONDS) -> _Kept:
    """What is known of the provider, unless it is older than so many seconds: then it is asked."""
    settings = get_settings()
    with _lock:
        kept, moment = _kept.get(settings.oidc_issuer), time.monotonic()
        if kept is not None and moment - kept.at <= older:
            return kept
        if moment - _failed.get(settings.oidc_issuer, float("-inf")) < PAUSE_SECONDS:
            raise _away("it did not answer just now")  # and those who wait for the lock do not wait one by one
        try:
            kept = _kept[settings.oidc_issuer] = _ask(settings)
        except Unavailable:
            _failed[settings.oidc_issuer] = time.monotonic()
            raise
    return kept


def _ask(settings: Settings) -> _Kept:
    said = _get(get_well_known_url(settings.oidc_issuer, external=True))
    if said.get("issuer") != settings.oidc_issuer:
        raise _away(f"it says that it is {str(said.get('issuer'))[:200]!r}")
    methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    metadata = _Metadata(
        authorization_endpoint=_endpoint(said, "authorization_endpoint", settings),
        token_endpoint=_endpoint(said, "token_endpoint", settings), jwks_uri=_endpoint(said, "jwks_uri", settings),
        userinfo_endpoint=_endpoint(said, "userinfo_endpoint", settings) if "userinfo_endpoint" in said else None,
        auth_method="client_secret_basic" if "client_secret_basic" in methods else "client_secret_post",
        names_itself=said.get("authorization_response_iss_parameter_supported") is True,
    )  # fmt: skip
    found = _get(metadata.jwks_uri).get("keys")
    listed = [key for key in found if isinstance(key, dict) and key.get("kty") in KINDS] if found else []
    try:
        keys = KeySet.import_key_set({"keys": [key for key in listed if key.get("use", "sig") == "sig"]})
    except (JoseError, ValueError, TypeError) as error:
        raise _away(error) from None
    return _Kept(metadata=metadata, keys=keys, at=time.monotonic())


def _endpoint(said: dict[str, Any], name: str, settings: Settings) -> str:
    url = said.get(name)
    if not isinstance(url, str) or not (url.startswith("https://") or settings.oidc_issuer.startswith("http://")):
        raise _away(f"its {name} is no https:// URL")
    return url


def _get(url: str, *, bearer: str | None = None) -> dict[str, Any]:
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(url, headers=headers, timeout=SECONDS, allow_redirects=False, stream=True)
            content = answer.raw.read(MAX_BYTES + 1, decode_content=True)
            if answer.status_code != OK or len(content) > MAX_BYTES:
                raise _away(f"{url} answers {answer.status_code} with {len(content)} bytes")
            found = json.loads(content)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _away(error) from None
    if not isinstance(found, dict):
        raise _away(f"{url} answers no JSON object")
    return found
