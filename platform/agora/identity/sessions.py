"""Sessions: a user on a device, from sign-in to sign-out.

Refresh tokens work once; one that comes again ends its session.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc.jwk import OKPKey
from sqlalchemy.orm import Session

from agora.caching.generations import changed, changing, user_tag
from agora.clock import now
from agora.db.session import transaction
from agora.errors import NotFound, Unauthenticated
from agora.identity import access_tokens, refresh_tokens, session_queries, trail, user_queries
from agora.identity.models import SessionRow, SpentTokenRow, UserRow
from agora.ids import new_id
from agora.telemetry import get_logger

LIVES = timedelta(days=30)
"""Without a refresh for so long, it ends."""
LONGEST = timedelta(days=180)
"""Then the user signs in again, whatever happens."""
MAX_AGENT = 300
VOID = "the refresh token is not valid; sign in again"
SIGNED_OUT, REUSED, PASSWORD, BY_OWNER = "signed out", "a refresh token came twice", "new password", "ended by its user"

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a client gets: ``refresh_token`` works once."""

    access_token: str
    refresh_token: str
    expires_in: int
    session_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedIn:
    """A session as its user sees it."""

    id: str
    address: str
    user_agent: str
    second_factor: bool
    created_at: datetime
    used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Where a request came from."""

    address: str
    user_agent: str = ""


def begin(session: Session, user: UserRow, device: Device, *, key: OKPKey, second_factor: bool) -> Tokens:
    """Begin a session of a user who has shown who they are, in the caller's transaction; ``key`` is the signer."""
    session_id, moment = new_id("sgn"), now()
    plain = refresh_tokens.issue(session_id)
    row = SessionRow(
        id=session_id, user_id=user.id, refresh_hash=refresh_tokens.digest(plain), second_factor=second_factor,
        address=device.address, user_agent=device.user_agent[:MAX_AGENT], created_at=moment, used_at=moment,
        expires_at=moment + LIVES,
    )  # fmt: skip
    session.add(row)
    session.flush()
    told = {"session_id": row.id, "second_factor": second_factor, "user_agent": row.user_agent}
    trail.note(
        session, "user.signed_in", user.id, after=told, actor=trail.as_user(user, address=device.address)
    )  # fmt: skip
    return _tokens(row, plain, key)


def _tokens(row: SessionRow, plain: str, key: OKPKey) -> Tokens:
    return Tokens(
        access_token=access_tokens.issue(key, user_id=row.user_id, session_id=row.id), refresh_token=plain,
        expires_in=int(access_tokens.LIVES.total_seconds()), session_id=row.id,
    )  # fmt: skip


def refresh(plain: str) -> Tokens:
    """New tokens for a refresh token, which is then used up.

    Raises Unauthenticated: it is unknown, its session has ended; or it was used before, which ends the session.
    """
    if refresh_tokens.is_forged(plain):
        raise Unauthenticated(VOID)
    key = access_tokens.signer()
    digest = refresh_tokens.digest(plain)
    tokens, owner = None, None
    with transaction("auth") as session:
        row = session_queries.lock_by_refresh(session, digest)
        if row is not None:
            tokens = _renew(session, row, digest, key)
        else:
            owner = _end_family(session, digest)
    if owner is not None:
        changed(user_tag(owner))
    if tokens is None:
        raise Unauthenticated(VOID)
    return tokens


def _renew(session: Session, row: SessionRow, digest: bytes, key: OKPKey) -> Tokens | None:
    user = user_queries.find(session, row.user_id)
    moment = now()
    if row.revoked_at is not None or row.expires_at <= moment or user is None or user.disabled_at is not None:
        return None
    session.add(SpentTokenRow(hash=digest, session_id=row.id))
    fresh = refresh_tokens.issue(row.id)
    row.refresh_hash, row.used_at = refresh_tokens.digest(fresh), moment
    row.expires_at = min(moment + LIVES, row.created_at + LONGEST)
    return _tokens(row, fresh, key)


def _end_family(session: Session, digest: bytes) -> str | None:
    """End the session that a token was used up in; its user, if it had not ended yet."""
    spent = session_queries.find_of_spent(session, digest)
    if spent is None or not session_queries.end(session, [spent], why=REUSED):
        return None
    user_id = session.get_one(SessionRow, spent).user_id
    trail.note(session, "user.token_reused", user_id, after={"session_id": spent})
    log.warning("a refresh token came twice: its session ends", session_id=spent)
    return user_id


def end(session_id: str, *, user_id: str, why: str = SIGNED_OUT) -> None:
    """End one session of a user, at once. Raises NotFound."""
    with changing(user_tag(user_id)), transaction("auth") as session:
        row = session.get(SessionRow, session_id)
        mine = row is not None and row.user_id == user_id
        ended = session_queries.end(session, [session_id], why=why) if mine else []
        if ended:
            action = "user.signed_out" if why == SIGNED_OUT else "user.session_ended"
            trail.note(session, action, user_id, before={"session_id": session_id})
    if not ended:
        raise NotFound(f"there is no session {session_id}")


def note_second_factor(session: Session, session_id: str) -> None:
    """Note that its user has shown the second factor in it, in the caller's transaction."""
    row = session.get(SessionRow, session_id)
    if row is not None:
        row.second_factor = True


def end_all(session: Session, user_id: str, *, why: str, but: str | None = None) -> int:
    """End every session of a user, or all but one, in the caller's transaction, which is one that changes the user.

    Returns how many.
    """
    ids = [row.id for row in session_queries.list_open(session, user_id) if row.id != but]
    return len(session_queries.end(session, ids, why=why))


def list_sessions(user_id: str) -> list[SignedIn]:
    """The sessions of a user that have not ended, the newest first."""
    with transaction("auth") as session:
        rows = session_queries.list_open(session, user_id)
    return [
        SignedIn(
            id=row.id, address=row.address, user_agent=row.user_agent, second_factor=row.second_factor,
            created_at=row.created_at, used_at=row.used_at, expires_at=row.expires_at,
        )
        for row in rows
    ]  # fmt: skip
