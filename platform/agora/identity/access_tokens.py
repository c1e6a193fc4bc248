"""Access tokens: JWTs (RFC 7519, profile of RFC 9068) of a quarter of an hour, signed with Ed25519 (RFC 8037, 9864).

They say who and in which session, never what they may do. Keys are rows: a new one is published before it signs, and
verifies until the last token of its has run out.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.clock import now
from agora.crypto import decrypt, encrypt
from agora.db.session import transaction
from agora.errors import Unauthenticated
from agora.identity import session_queries
from agora.identity.models import SigningKeyRow
from agora.ids import is_id, new_id
from agora.settings import get_settings

ALGORITHM = "Ed25519"
TYPE = "at+jwt"
LIVES = timedelta(minutes=15)
PUBLISHED_BEFORE = timedelta(days=1)
"""A new key is in the key set for so long before it signs: verifiers may keep the set for as long."""
REMEMBER_SECONDS = 60.0
REMEMBERED_AT_MOST = timedelta(minutes=5)
"""A process that has not looked for a while, or whose clock is slow, signs with the key before so much longer."""
MAX_LENGTH = 4096
INVALID = "the access token is not valid, or has run out"


class RunOut(Unauthenticated):
    """Valid credentials are required.

    These were issued here, and have run out.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What a valid token says."""

    user_id: str
    session_id: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class _Keys:
    signing: OKPKey
    by_id: dict[str, OKPKey]
    public: list[dict[str, str]]
    at: float


_lock = threading.Lock()
_kept: dict[str, _Keys] = {}


def signer() -> OKPKey:
    """The key that signs just now; to be read before a transaction in which a token is issued."""
    return _keys().signing


def issue(key: OKPKey, *, user_id: str, session_id: str) -> str:
    """A token of a session, signed by the :func:`signer`."""
    moment = int(now().timestamp())
    settings = get_settings()
    claims = {
        "iss": settings.token_issuer, "aud": settings.token_audience, "sub": user_id, "sid": session_id,
        "iat": moment, "exp": moment + int(LIVES.total_seconds()), "jti": new_id("otk"),
    }  # fmt: skip
    return jwt.encode({"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])


def verify(token: str) -> Claims:
    """What a token says.

    Raises:
        RunOut: all is right with it but the time.
        Unauthenticated: something else is wrong; neither says what.
    """
    claims = _verified(token) if len(token) <= MAX_LENGTH else None
    if claims is None:
        raise Unauthenticated(INVALID)
    if claims.expires_at <= now():
        raise RunOut(INVALID)
    return claims


def _verified(token: str) -> Claims | None:
    """What a token says that is right, also when it has run out."""
    settings = get_settings()
    try:
        read = jwt.decode(token, lambda given: _key_of(given.headers()), algorithms=[ALGORITHM])
        if read.header.get("typ") != TYPE:
            return None
        registry = _Registry(
            now=int(now().timestamp()), iss={"essential": True, "value": settings.token_issuer},
            aud={"essential": True, "value": settings.token_audience}, sub={"essential": True},
            sid={"essential": True}, exp={"essential": True}, iat={"essential": True},
        )  # fmt: skip
        registry.validate(read.claims)
        expires_at = datetime.fromtimestamp(read.claims["exp"], now().tzinfo)
    except (JoseError, ValueError, TypeError, OverflowError):
        return None
    user_id, session_id = read.claims["sub"], read.claims["sid"]
    if not (isinstance(user_id, str) and isinstance(session_id, str) and is_id(session_id, "sgn")):
        return None
    return Claims(user_id=user_id, session_id=session_id, expires_at=expires_at)


class _Registry(jwt.JWTClaimsRegistry):
    """Judges every claim, also of a token that has run out, of which it says nothing."""

    def validate_exp(self, value: object) -> None:
        with suppress(ExpiredTokenError):
            super().validate_exp(value)


def _key_of(header: dict[str, Any]) -> OKPKey:
    """The key that a token's header names; raises ValueError for one that there is not."""
    found = _keys().by_id.get(str(header.get("kid")))
    if found is None:
        raise ValueError("no such key")
    return found


def key_set() -> dict[str, Any]:
    """The JSON Web Key Set (RFC 7517) of every key that signs, will sign, or has signed what is still valid."""
    return {"keys": list(_keys().public)}


def rotate() -> str:
    """Make a new key, which signs from a day on; removes keys that are of no use any more. Returns its ``kid``."""
    with transaction("auth") as session:
        session_queries.lock_signing_keys(session, _LOCK)
        made = _rotate(session)
    _kept.clear()
    return made


def rotate_old() -> bool:
    """Rotate when the newest key is older than the settings let it be; whether it was. Two who do so make one key.

    Where there is none, the first token makes one.
    """
    before = now() - timedelta(days=get_settings().token_key_days)
    with transaction("auth") as session:
        if not _is_old(session, before):
            return False
    with transaction("auth") as session:
        session_queries.lock_signing_keys(session, _LOCK)
        if not _is_old(session, before):
            return False  # somebody else was quicker
        _rotate(session)
    _kept.clear()
    return True


def _is_old(session: Session, before: datetime) -> bool:
    rows = session_queries.list_signing_keys(session)
    return bool(rows) and max(row.created_at for row in rows) <= before


def _rotate(session: Session) -> str:
    kept = {row.id for row in _published(session)}
    for row in session_queries.list_signing_keys(session):
        if row.id not in kept:
            session.delete(row)
    made = _insert(session, signs_from=now() + PUBLISHED_BEFORE)
    audit.record(session, "signing_key.rotated", made.id, team_id=PLATFORM)
    return made.id


_LOCK = 0x61676F7261  # "agora": two processes that start at once make one first key


def _keys() -> _Keys:
    url = get_settings().auth_database_url
    with _lock:
        kept = _kept.get(url)
        if kept is None or time.monotonic() - kept.at > REMEMBER_SECONDS:
            kept = _kept[url] = _read()
    return kept


def _read() -> _Keys:
    with transaction("auth") as session:
        rows = _published(session)
        if not any(row.signs_from <= now() for row in rows):
            session_queries.lock_signing_keys(session, _LOCK)
            rows = _published(session)
            if not any(row.signs_from <= now() for row in rows):
                rows = [_insert(session, signs_from=now()), *rows]
    moment = now()
    by_id = {row.id: OKPKey.import_key(dict[str, Any](row.public)) for row in rows}
    newest = max((row for row in rows if row.signs_from <= moment), key=lambda row: row.signs_from)
    signing = OKPKey.import_key(decrypt(newest.sealed.encode()).decode(), parameters={"kid": newest.id})
    return _Keys(signing=signing, by_id=by_id, public=[row.public for row in rows], at=time.monotonic())


def _insert(session: Session, *, signs_from: datetime) -> SigningKeyRow:
    key_id = new_id("jwk")
    key = OKPKey.generate_key("Ed25519", parameters={"kid": key_id, "alg": ALGORITHM, "use": "sig"})
    public = key.as_dict(private=False)
    sealed = encrypt(key.as_pem(private=True)).decode()
    row = SigningKeyRow(id=key_id, sealed=sealed, public=public, signs_from=signs_from)
    session.add(row)
    session.flush()
    return row


def _published(session: Session) -> list[SigningKeyRow]:
    """Every key whose tokens may be valid: those to come, the present one, and older ones until they have run out."""
    rows = session_queries.list_signing_keys(session)
    moment, successors = now(), [*rows[1:], None]
    return [
        row
        for row, successor in zip(rows, successors[: len(rows)], strict=True)
        if successor is None or successor.signs_from + LIVES + REMEMBERED_AT_MOST > moment
    ]
