"""Teams and API keys: made, shown once, checked, revoked."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from sqlalchemy.orm import Session

from agora.api_versions import NEWEST, VERSIONS
from agora.audit import service as audit
from agora.caching.cache import Cache
from agora.caching.generations import changing, team_tag
from agora.clock import now
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import NotFound, Unauthenticated, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.identity import key_rights, member_queries, queries
from agora.identity.key_rights import told
from agora.identity.models import ApiKeyRow
from agora.identity.principals import Kept, Principal
from agora.identity.roles import EVERYTHING, PERMISSIONS
from agora.ids import is_id, new_id

SCOPES = (EVERYTHING, *PERMISSIONS)
KEY_PREFIX = "agora_"
REMEMBER_SECONDS = 30.0
"""How long a process keeps a key that it has checked, if nothing changes meanwhile; then it notes that it is used."""
REMEMBERED = 10_000
LARGEST_RATE = 10_000_000
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
    api_version: str
    created_at: datetime
    created_by: str | None
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    requests_per_minute: int | None = None
    plain: str | None = None


def ensure_team(name: str) -> str:
    """The id of the team of that name, made when there is none."""
    with transaction("auth") as session:
        return queries.upsert_team(session, team_id=new_id("team"), name=name)


def create_key(
    team_id: str, name: str, scopes: Sequence[str] = ("*",), expires_at: datetime | None = None,
    requests_per_minute: int | None = None, *, api_version: str = NEWEST, created_by: str | None = None,
    idempotency: IdempotencyKey | None = None,
) -> ApiKey:  # fmt: skip
    """Make an API key, pinned to a version of the API. A repeat gets the key that the first one made, without its text.

    One that a key makes lives no longer than that. Only its SHA-256 is kept: 256 random bits need no slow hash.

    ``created_by`` is the user or the key that makes it; None: the operator.

    ``requests_per_minute``: of this key alone, beside the limit of its team.

    Raises:
        Invalid: the name, a scope, the expiry, the version or the rate is not acceptable.
        Forbidden: whoever makes it has not what a scope gives.
        IdempotencyKeyReused: the idempotency key stands for another request.
    """
    _check_version(api_version)
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        allowed = ", ".join(SCOPES)
        raise invalid_field("/scopes", "enum", f"scopes must be some of {allowed}", unknown)
    if not 1 <= len(name.strip()) <= MAX_NAME:
        raise invalid_field("/name", "length", f"name must have 1 to {MAX_NAME} characters", name[:MAX_NAME])
    if requests_per_minute is not None and not 1 <= requests_per_minute <= LARGEST_RATE:
        message = f"requests_per_minute must be 1 to {LARGEST_RATE}"
        raise invalid_field("/requests_per_minute", "range", message, requests_per_minute)
    key_id, plain = new_id("key"), _new_text()
    with transaction("auth") as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=key_id)
        if known is not None:
            return _view(_find(session, team_id, known))
        _check_expiry(expires_at)
        key_rights.check_givable(session, scopes, team_id=team_id, maker=created_by)
        expires_at = _until(session, expires_at, None, team_id=team_id, maker=created_by)
        row = queries.insert_key(
            session, team_id=team_id, key_id=key_id, name=name.strip(), prefix=_prefix_of(plain),
            digest=_digest(plain), scopes=scopes, expires_at=expires_at, api_version=api_version,
            created_by=created_by, requests_per_minute=requests_per_minute,
        )  # fmt: skip
        audit.record(session, "key.created", row.id, team_id=team_id, after=told(row))
        return _view(row, plain=plain)


def _check_expiry(expires_at: datetime | None) -> None:
    """That a repeat comes after it says nothing against the repeat."""
    if expires_at is not None and expires_at <= now():
        raise invalid_field("/expires_at", "future", "expires_at must lie in the future", str(expires_at))


def _until(
    session: Session, wanted: datetime | None, meant: datetime | None, *, team_id: str, maker: str | None
) -> datetime | None:  # fmt: skip
    """When a new key ends: as is wanted, else as it is meant; no later than a key that makes it. Raises Invalid."""
    most = key_rights.lives_until(session, maker, team_id=team_id)
    if most is None:
        return wanted or meant
    if wanted is not None and wanted > most:
        message = f"expires_at must be no later than {most.isoformat()}, when the key that makes this one ends"
        raise invalid_field("/expires_at", "range", message, str(wanted))
    return wanted or min(meant or most, most)


def _check_version(api_version: str) -> None:
    if api_version not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise invalid_field("/api_version", "api-version", f"api_version must be one of {known}", api_version[:50])


def _new_text() -> str:
    return f"{KEY_PREFIX}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def _prefix_of(plain: str) -> str:
    return plain.split("_")[1]


def _view(row: ApiKeyRow, plain: str | None = None) -> ApiKey:
    return ApiKey(
        id=row.id, name=row.name, prefix=row.prefix, scopes=tuple(row.scopes), api_version=row.api_version,
        created_at=row.created_at or now(), created_by=row.created_by, last_used_at=row.last_used_at,
        expires_at=row.expires_at, revoked_at=row.revoked_at, plain=plain,
        requests_per_minute=row.requests_per_minute,
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


def pin_key(team_id: str, key_id: str, api_version: str, *, expected: Expected = ANYTHING) -> ApiKey:
    """Let a key speak a version of the API from now on.

    Raises:
        NotFound: the team has no such valid key.
        Invalid: there is no such version.
        PreconditionFailed: it is not as expected.
    """
    _check_version(api_version)
    with changing(team_tag(team_id)), transaction("auth") as session:
        row = queries.lock_valid_key(session, team_id=team_id, key_id=key_id) if is_id(key_id, "key") else None
        if row is None:
            raise NotFound(f"there is no valid key {key_id}")
        expected.check(_view(row))
        audit.record(
            session, "key.pinned", key_id, team_id=team_id, before={"api_version": row.api_version},
            after={"api_version": api_version},
        )  # fmt: skip
        row.api_version = api_version
        return _view(row)


def revoke_key(team_id: str, key_id: str, *, expected: Expected = ANYTHING) -> None:
    """Revoke a key. The open invitations that it gave end too; keys that it made do not.

    Raises:
        NotFound: the team has no such valid key.
        PreconditionFailed: it is not as expected.
    """
    with changing(team_tag(team_id)), transaction("auth") as session:
        member_queries.lock_team(session, team_id=team_id)
        row = _find(session, team_id, key_id, lock=True)
        if row.revoked_at is not None:
            raise NotFound(f"there is no valid key {key_id}")
        expected.check(_view(row))
        audit.record(session, "key.revoked", key_id, team_id=team_id, before=told(row))
        queries.revoke_key(session, team_id=team_id, key_id=key_id)
        member_queries.revoke_open(session, team_id=team_id, invited_by=[key_id])


def rotate_key(
    team_id: str, key_id: str, *, overlap: float, expires_at: datetime | None = None, created_by: str | None = None,
    idempotency: IdempotencyKey | None = None,
) -> ApiKey:  # fmt: skip
    """Make a key like another, version included, which works for ``overlap`` seconds more: time to change over.

    It lives as long as the other was to, or until ``expires_at``, and no longer than a key that rotates it.
    ``created_by`` and repeats: as :func:`create_key`.

    Raises:
        NotFound: the team has no such valid key.
        Invalid: the overlap or the expiry is out of bounds.
        Forbidden: the key may what whoever rotates it may not.
        IdempotencyKeyReused: the idempotency key stands for another request.
    """
    new_key_id, plain = new_id("key"), _new_text()
    with changing(team_tag(team_id)), transaction("auth") as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=new_key_id)
        if known is not None:
            return _view(_find(session, team_id, known))
        member_queries.lock_team(session, team_id=team_id)
        old = queries.lock_valid_key(session, team_id=team_id, key_id=key_id) if is_id(key_id, "key") else None
        if old is None:
            raise NotFound(f"there is no valid key {key_id}")
        key_rights.check_givable(session, old.scopes, team_id=team_id, maker=created_by)
        _check_overlap(overlap)
        _check_expiry(expires_at)
        meant = key_rights.meant_until(old)
        expires_at = _until(session, expires_at, meant, team_id=team_id, maker=created_by)
        row = queries.insert_key(
            session, team_id=team_id, key_id=new_key_id, name=old.name, prefix=_prefix_of(plain),
            digest=_digest(plain), scopes=old.scopes, expires_at=expires_at,
            api_version=old.api_version, created_by=created_by, requests_per_minute=old.requests_per_minute,
        )  # fmt: skip
        _end_with_overlap(old, overlap)
        said = {**told(row), "replaces": key_id, "overlap": overlap}
        audit.record(session, "key.rotated", row.id, team_id=team_id, after=said)
        return _view(row, plain=plain)


def _check_overlap(overlap: float) -> None:
    if not 0 <= overlap <= LONGEST_OVERLAP:
        message = f"overlap_seconds must be 0 to {LONGEST_OVERLAP} seconds"
        raise invalid_field("/overlap_seconds", "range", message, overlap)


def _end_with_overlap(row: ApiKeyRow, overlap: float) -> None:
    until = now() + timedelta(seconds=overlap)
    if row.rotated_at is None:
        row.rotated_at, row.meant_until = now(), row.expires_at
    row.expires_at = until if row.expires_at is None else min(row.expires_at, until)


@dataclass(frozen=True, slots=True)
class _Valid:
    principal: Principal
    expires_at: datetime | None

    @property
    def is_over(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now()


_remembered: Cache[bytes, _Valid] = Cache("keys", seconds=REMEMBER_SECONDS, size=REMEMBERED)
_teams: OrderedDict[bytes, str] = OrderedDict()
"""Whose each key is, by its hash. That never changes: it says which tag to look at, and nothing about validity."""


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """What a key presents: its hash."""

    digest: bytes

    def kept(self) -> Kept | None:
        """What this process remembers of it."""
        entry = _remembered.peek(self.digest)
        if entry is None or entry.stamp is None or entry.value.is_over:
            return None
        principal = entry.value.principal
        tags = (team_tag(principal.team_id),)
        return Kept(principal, tags, entry.stamp, lambda: _remembered.count_hit(entry))

    def is_known(self) -> bool:
        """Whether it was right when this process looked last, however long ago."""
        return _remembered.has(self.digest)

    def read(self) -> Principal:
        """Who presents it, as of now. Raises Unauthenticated."""
        team_id = _teams.get(self.digest) or _find_team(self.digest)
        found = _remembered.get(self.digest, (team_tag(team_id),), lambda: _look_up(self.digest))
        if found.is_over:
            _remembered.drop(self.digest)
            raise Unauthenticated("the API key is not valid")
        return found.principal


def credential(plain: str) -> KeyCredential:
    """A key as it was sent; whether it is one remains to be seen."""
    return KeyCredential(_digest(plain))


def authenticate(plain: str) -> Principal:
    """Who presents this key. Raises Unauthenticated, without saying which part was wrong."""
    return credential(plain).read()


def _find_team(digest: bytes) -> str:
    with transaction("auth") as session:
        row = queries.find_key_by_hash(session, digest=digest)
        if row is None:
            raise Unauthenticated("the API key is not valid")
        team_id = row.team_id
    _teams[digest] = team_id
    while len(_teams) > REMEMBERED:
        _teams.popitem(last=False)
    return team_id


def _look_up(digest: bytes) -> _Valid:
    with transaction("auth") as session:
        row = queries.find_key_by_hash(session, digest=digest)
        if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now()):
            raise Unauthenticated("the API key is not valid")
        permissions = key_rights.permissions(session, row)
        if permissions is None:
            raise Unauthenticated("the API key is not valid")
        queries.touch_key(session, key_id=row.id)
        principal = Principal(
            team_id=row.team_id, actor_id=row.id, permissions=permissions, name=row.name, api_version=row.api_version,
            requests_per_minute=row.requests_per_minute,
        )  # fmt: skip
        return _Valid(principal, row.expires_at)
