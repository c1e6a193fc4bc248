"""Signing keys of endpoints, and of teams: added, rotated with an overlap, revoked at once, encrypted anew."""

import json
from typing import Any

from sqlalchemy.orm import Session

from agora import crypto
from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import Conflict, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import new_id
from agora.webhooks import key_queries, queries, signing, vault
from agora.webhooks.models import KeyRow
from agora.webhooks.signing import SigningKey
from agora.webhooks.states import Algorithm, Signing
from agora.webhooks.types import CreatedKey, Key

MAX_KEYS = 10
"""Each signs every delivery, and adds to its headers."""
OVERLAP = 24 * 3600.0
LONGEST_OVERLAP = 90 * 24 * 3600.0
SLICE = 200


def new_key(secret: str | None, algorithm: str | None = None, *, pointer: str = "/secret") -> SigningKey:
    """The given secret, or a fresh one of an algorithm (v1 by default). Raises Invalid."""
    if algorithm is not None and algorithm not in set(Algorithm):
        raise invalid_field("/algorithm", "enum", f"algorithm must be one of {', '.join(Algorithm)}", algorithm)
    if secret is None:
        return signing.generate(Algorithm(algorithm or Algorithm.V1))
    key = signing.parse_key(secret, pointer=pointer)
    if algorithm is not None and algorithm != key.algorithm:
        raise invalid_field(
            "/algorithm", "algorithm", f"algorithm is {algorithm}, but the secret is a {key.algorithm} key"
        )
    return key


def insert(
    session: Session, key: SigningKey, *, team_id: str, endpoint_id: str | None, key_id: str | None = None
) -> KeyRow:
    """Keep a key, encrypted."""
    return key_queries.insert_key(
        session, team_id=team_id, endpoint_id=endpoint_id, id=key_id or new_id("whk"), algorithm=key.algorithm,
        sealed=vault.seal(key.text), public_key=key.public,
    )  # fmt: skip


def list_keys(ref: str | None, *, team_id: str) -> list[Key]:
    """The keys that sign what an endpoint gets, newest first; those of the team for None. Raises NotFound."""
    with transaction() as session:
        endpoint_id = _owner(session, ref, team_id=team_id)
        return [_view(row) for row in key_queries.list_keys(session, team_id=team_id, endpoint_id=endpoint_id)]


def add_key(
    ref: str | None,
    *,
    team_id: str,
    secret: str | None = None,
    algorithm: str | None = None,
    idempotency: IdempotencyKey | None = None,
) -> CreatedKey:
    """Let one more key sign, beside those that do. ``ref`` None: a key of the team.

    Raises:
        IdempotencyKeyReused: the key stands for another request.
        NotFound: the team has no such endpoint.
        Invalid: the secret or the algorithm is not acceptable.
        Conflict: there are ten keys already, or this one is among them; or the team's keys sign for this endpoint.
    """
    key = new_key(secret, algorithm)
    with transaction() as session:
        endpoint_id = _owner(session, ref, team_id=team_id, lock=True, signer=True)
        made = _add(session, key, endpoint_id, idempotency, team_id=team_id)
        if made.secret is not None:
            told = _told(made.key, endpoint_id)
            audit.record(session, "webhook.key.created", made.key.id, team_id=team_id, after=told)
        return made


def _add(
    session: Session, key: SigningKey, endpoint_id: str | None, idempotency: IdempotencyKey | None, *, team_id: str
) -> CreatedKey:
    key_id = new_id("whk")
    known = earlier(session, idempotency, team_id=team_id, resource_id=key_id)
    if known is not None:
        row = key_queries.find_key(session, team_id=team_id, endpoint_id=endpoint_id, key_id=known)
        if row is None:
            raise NotFound(f"webhook key {known}, which this request made, was revoked")
        return CreatedKey(key=_view(row), secret=None)
    present = key_queries.list_keys(session, team_id=team_id, endpoint_id=endpoint_id)
    if len(present) >= MAX_KEYS:
        raise Conflict(f"there are {MAX_KEYS} keys that sign already; revoke one first")
    if any(vault.unseal(one.sealed) == key.text for one in present):
        raise Conflict("this secret signs already", field="/secret")
    row = insert(session, key, team_id=team_id, endpoint_id=endpoint_id, key_id=key_id)
    return CreatedKey(key=_view(row), secret=key.text)


def rotate_key(
    ref: str | None,
    *,
    team_id: str,
    secret: str | None = None,
    algorithm: str | None = None,
    overlap: float = OVERLAP,
    idempotency: IdempotencyKey | None = None,
) -> CreatedKey:
    """A new key; the others of its algorithm sign beside it for ``overlap`` seconds more, with 0 no longer.

    Raises:
        NotFound: the team has no such endpoint.
        Invalid: the secret, the algorithm or the overlap is not acceptable.
        Conflict: there are ten keys already, or this one is among them; or the team's keys sign for this endpoint.
    """
    if not 0 <= overlap <= LONGEST_OVERLAP:
        message = f"overlap must be 0 to {LONGEST_OVERLAP:.0f} seconds"
        raise invalid_field("/overlap", "range", message, overlap)
    key = new_key(secret, algorithm)
    with transaction() as session:
        endpoint_id = _owner(session, ref, team_id=team_id, lock=True, signer=True)
        made = _add(session, key, endpoint_id, idempotency, team_id=team_id)
        if made.secret is None:
            return made
        key_queries.expire_keys(
            session, team_id=team_id, endpoint_id=endpoint_id, algorithm=key.algorithm, but=made.key.id, seconds=overlap
        )
        told = {**_told(made.key, endpoint_id), "overlap": overlap}
        audit.record(session, "webhook.key.rotated", made.key.id, team_id=team_id, after=told)
        return made


def revoke_key(ref: str | None, key_id: str, *, team_id: str) -> None:
    """Let a key sign no more, from the next try on. The last one of an endpoint stays: nothing goes out unsigned.

    Raises:
        NotFound: there is no such endpoint or key.
        Conflict: it is the endpoint's only key that signs, or webhooks of jobs rely on the team's only one.
    """
    with transaction() as session:
        endpoint_id = _owner(session, ref, team_id=team_id, lock=True)
        row = key_queries.find_key(session, team_id=team_id, endpoint_id=endpoint_id, key_id=key_id)
        if row is None:
            raise NotFound(f"there is no webhook key {key_id}")
        others = [
            one.id
            for one in key_queries.list_keys(session, team_id=team_id, endpoint_id=endpoint_id)
            if one.id != key_id and one.expires_at is None
        ]
        needed = endpoint_id is not None or queries.count_team_signed(session, team_id=team_id)
        if needed and not others and row.expires_at is None:
            raise Conflict(f"{key_id} is the only key that signs for good; rotate it first")
        told = _told(_view(row), endpoint_id)
        audit.record(session, "webhook.key.revoked", key_id, team_id=team_id, before=told)
        key_queries.delete_key(session, team_id=team_id, key_id=key_id)


def _owner(
    session: Session, ref: str | None, *, team_id: str, lock: bool = False, signer: bool = False
) -> str | None:  # fmt: skip
    """Whose keys they are: an endpoint's, or the team's for None. As a ``signer`` it is to get one more that signs."""
    if ref is None:
        if lock:
            key_queries.lock_team_keys(session, team_id=team_id)
        return None
    row = queries.find_endpoint(session, team_id=team_id, ref=ref, lock=lock)
    if row is None:
        raise NotFound(f"there is no webhook endpoint {ref}")
    if signer and row.signing == Signing.TEAM:
        raise Conflict(f"the team's keys sign for endpoint {ref}, whose job gave no secret: add or rotate one of those")
    return row.id


def _told(key: Key, endpoint_id: str | None) -> dict[str, Any]:
    """A key as the audit log tells of it; ``endpoint_id`` None: a key of the team."""
    return {
        "endpoint_id": endpoint_id, "algorithm": key.algorithm, "public_key": key.public_key,
        "expires_at": key.expires_at,
    }  # fmt: skip


def _view(row: KeyRow) -> Key:
    return Key(
        id=row.id, algorithm=row.algorithm, public_key=row.public_key, created_at=row.created_at,
        expires_at=row.expires_at,
    )  # fmt: skip


def rekey() -> dict[str, int]:
    """Encrypt everything at rest with the present AGORA_SECRET_KEY; how many values were under an older one, by kind.

    Works in slices, may be interrupted and repeated, and beside running processes that know both keys.

    Raises:
        SettingsError: a value was encrypted with none of the keys; it and those after it stay as they are.
    """
    return {"keys": _reseal_all("keys"), "headers": _reseal_all("headers")}


def _reseal_all(what: str) -> int:
    after, changed = "", 0
    while True:
        with transaction() as session:
            rows = key_queries.lock_sealed(session, what=what, after=after, slice_=SLICE)
            anew = [fresh for row in rows if (fresh := _resealed(row)) is not None]
            if anew:
                key_queries.reseal(session, what=what, rows=json.dumps(anew))
        changed += len(anew)
        if len(rows) < SLICE:
            return changed
        after = str(rows[-1]["id"])


def _resealed(row: Any) -> dict[str, Any] | None:
    """The row with its values under the present key; None when they are already."""
    if "sealed" in row:
        if crypto.is_current(row["sealed"].encode()):
            return None
        return {"id": row["id"], "sealed": vault.seal(vault.unseal(row["sealed"]))}
    if all(crypto.is_current(value.encode()) for value in row["headers"].values()):
        return None
    return {"id": row["id"], "headers": vault.seal_headers(vault.unseal_headers(row["headers"]))}
