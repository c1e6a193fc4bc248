"""Teams and API keys: made, shown once, checked, revoked."""

import hashlib
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from sqlalchemy.orm import Session

from agora.clock import now
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import NotFound, Unauthenticated, invalid_field
from agora.identity import queries
from agora.identity.models import ApiKeyRow
from agora.identity.principals import Principal
from agora.identity.roles import EVERYTHING, PERMISSIONS, permissions_of_scopes
from agora.ids import is_id, new_id

SCOPES = (EVERYTHING, *PERMISSIONS)
KEY_PREFIX = "agora_"
REMEMBER_SECONDS = 3.0
"""How long a process trusts a key that it has checked: a revoked key works at most so much longer."""
REMEMBERED = 10_000
MAX_NAME = 100
LONGEST_OVERLAP = 30 * 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey(Edited):
    """An API key as its team sees it; ``plain`` is there only when it was just made."""

    HAPPENS: ClassVar[frozenset[str]] = frozenset({"last_used_at", "plain"})

    id: str
    name: str
    prefix: str
    scopes: Sequence[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    plain: str | None = None


def ensure_team(name: str) -> str:
    """The id of the team of that name, made when there is none."""
    with transaction("auth") as session:
        return queries.upsert_team(session, team_id=new_id("team"), name=name)


def create_key(team_id: str, name: str, scopes: Sequence[str] = ("*",), expires_at: datetime | None = None) -> ApiKey:
    """Make an API key. Only its SHA-256 is kept: 256 random bits need no slow hash.

    Raises:
        Invalid: the name, a scope or the expiry is not acceptable.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        allowed = ", ".join(SCOPES)
        raise invalid_field("/scopes", "enum", f"scopes must be some of {allowed}", unknown)
    if not 1 <= len(name.strip()) <= MAX_NAME:
        raise invalid_field("/name", "length", f"name must have 1 to {MAX_NAME} characters", name[:MAX_NAME])
    if expires_at is not None and expires_at <= now():
        raise invalid_field("/expires_at", "future", "expires_at must lie in the future", str(expires_at))
    plain = _new_text()
    with transaction("auth") as session:
        row = queries.insert_key(
            session, team_id=team_id, key_id=new_id("key"), name=name.strip(), prefix=_prefix_of(plain),
            digest=_digest(plain), scopes=scopes, expires_at=expires_at,
        )  # fmt: skip
        return _view(row, plain=plain)


def _new_text() -> str:
    return f"{KEY_PREFIX}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def _prefix_of(plain: str) -> str:
    return plain.split("_")[1]


def _view(row: ApiKeyRow, plain: str | None = None) -> ApiKey:
    return ApiKey(
        id=row.id, name=row.name, prefix=row.prefix, scopes=tuple(row.scopes), created_at=row.created_at or now(),
        last_used_at=row.last_used_at, expires_at=row.expires_at, revoked_at=row.revoked_at, plain=plain,
    )  # fmt: skip


def _digest(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()


def list_keys(team_id: str) -> list[ApiKey]:
    """The team's keys, newest first; never their text."""
    with transaction("auth") as session:
        return [_view(row) for row in queries.list_keys(session, team_id=team_id)]


def get_key(team_id: str, key_id: str) -> ApiKey:
    """One of the team's keys, also one that is valid no more. Raises NotFound."""
    with transaction("auth") as session:
        return _view(_find(session, team_id, key_id))


def _find(session: Session, team_id: str, key_id: str, *, lock: bool = False) -> ApiKeyRow:
    row = queries.find_key(session, team_id=team_id, key_id=key_id, lock=lock) if is_id(key_id, "key") else None
    if row is None:
        raise NotFound(f"there is no key {key_id}")
    return row


def revoke_key(team_id: str, key_id: str, *, expected: Expected = ANYTHING) -> None:
    """Revoke a key.

    Raises:
        NotFound: the team has no such valid key.
        PreconditionFailed: it is not as expected.
    """
    with transaction("auth") as session:
        row = _find(session, team_id, key_id, lock=True)
        if row.revoked_at is not None:
            raise NotFound(f"there is no valid key {key_id}")
        expected.check(_view(row))
        queries.revoke_key(session, team_id=team_id, key_id=key_id)
    with _lock:
        _remembered.clear()


def scopes_of(team_id: str, key_id: str) -> Sequence[str]:
    """The scopes of a valid key. Raises NotFound."""
    with transaction("auth") as session:
        row = queries.lock_valid_key(session, team_id=team_id, key_id=key_id) if is_id(key_id, "key") else None
        if row is None:
            raise NotFound(f"there is no valid key {key_id}")
        return tuple(row.scopes)


def rotate_key(team_id: str, key_id: str, *, overlap: float) -> ApiKey:
    """Make a key like another, which works for ``overlap`` seconds more: time to change over.

    Raises:
        NotFound: the team has no such valid key.
        Invalid: the overlap is out of bounds.
    """
    if not 0 <= overlap <= LONGEST_OVERLAP:
        raise invalid_field("/overlap", "range", f"overlap must be 0 to {LONGEST_OVERLAP} seconds", overlap)
    plain = _new_text()
    with transaction("auth") as session:
        old = queries.lock_valid_key(session, team_id=team_id, key_id=key_id) if is_id(key_id, "key") else None
        if old is None:
            raise NotFound(f"there is no valid key {key_id}")
        row = queries.insert_key(
            session, team_id=team_id, key_id=new_id("key"), name=old.name, prefix=_prefix_of(plain),
            digest=_digest(plain), scopes=old.scopes, expires_at=old.expires_at,
        )  # fmt: skip
        until = now() + timedelta(seconds=overlap)
        old.expires_at = until if old.expires_at is None else min(old.expires_at, until)
        made = _view(row, plain=plain)
    with _lock:
        _remembered.clear()
    return made


_lock = threading.Lock()
_remembered: dict[bytes, tuple[float, Principal]] = {}
_lookups = [threading.Lock() for _ in range(256)]
"""One for each first byte of a key's hash."""


def authenticate(plain: str) -> Principal:
    """Who presents this key. Raises Unauthenticated, without saying which part was wrong."""
    digest = _digest(plain)
    known = _recall(digest)
    if known is not None:
        return known
    # One caller looks a key up, and those who present it meanwhile wait for that: a busy key is forgotten every few
    # seconds, and all its requests at once would queue for the auth database.
    with _lookups[digest[0]]:
        known = _recall(digest)
        if known is not None:
            return known
        principal = _look_up(digest)
        with _lock:
            if len(_remembered) >= REMEMBERED:
                _remembered.clear()
            _remembered[digest] = (time.monotonic(), principal)
    return principal


def _recall(digest: bytes) -> Principal | None:
    with _lock:
        checked = _remembered.get(digest)
    fresh = checked is not None and time.monotonic() - checked[0] < REMEMBER_SECONDS
    return checked[1] if checked is not None and fresh else None


def _look_up(digest: bytes) -> Principal:
    with transaction("auth") as session:
        row = queries.find_key_by_hash(session, digest=digest)
        if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now()):
            raise Unauthenticated("the API key is not valid")
        queries.touch_key(session, key_id=row.id)
        permissions = permissions_of_scopes(frozenset(row.scopes))
        return Principal(team_id=row.team_id, actor_id=row.id, permissions=permissions)
