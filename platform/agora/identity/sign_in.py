"""Sign-in: a password, and a code where a second factor is set. Wrong ones look and last alike, whoever is meant."""

from sqlalchemy.orm import Session

from agora.caching.generations import changing, user_tag
from agora.clock import now
from agora.db.session import transaction
from agora.errors import AgoraError, NotFound, Unauthenticated, invalid_field
from agora.identity import (
    access_tokens,
    passwords,
    recovery,
    sessions,
    throttle,
    totp,
    trail,
    user_queries,
)
from agora.identity.models import UserRow
from agora.identity.sessions import Device, Tokens
from agora.identity.users import check_email, check_password

KNOWN_DAYS = 90
WRONG = "the address, the password or the code is wrong"


class SecondFactorNeeded(AgoraError):
    """A code of the second factor is needed."""

    slug = "second-factor-needed"


class _Refused(Exception):  # never leaves this module
    """Why, for the audit log: whoever tried is not told."""


class Unverified(AgoraError):
    """The e-mail address is not confirmed yet."""

    slug = "email-unverified"


def sign_in(email: str, password: str, device: Device, *, code: str | None = None) -> Tokens:
    """Begin a session.

    Raises:
        TooMany: too many failures, of this account from this address, or of either.
        Unauthenticated: the address, the password or the code is wrong; which of them is not told.
        SecondFactorNeeded: the password is right, and a code is needed besides.
        Unverified: all is right, but the address was never confirmed.
    """
    throttle.take(throttle.of_work(device.address))
    email = check_email(email)
    with transaction("auth") as session:
        known = user_queries.has_signed_in_from(session, email=email, address=device.address, days=KNOWN_DAYS)
    buckets = throttle.of_sign_in(email, device.address, known=known)
    throttle.take(buckets)
    try:
        tokens = _begin(email, password, device, code)
    except (SecondFactorNeeded, Unverified) as error:
        throttle.give_back(buckets)  # the password was right
        _note_failure(email, device, error.slug)  # somebody has it
        raise
    except _Refused as refused:
        _note_failure(email, device, str(refused))
        raise Unauthenticated(WRONG) from None
    throttle.give_back(buckets)
    return tokens


def _note_failure(email: str, device: Device, reason: str) -> None:
    with transaction("auth") as session:
        trail.note_failed_sign_in(session, email, reason=reason, address=device.address, user_agent=device.user_agent)


def _begin(email: str, password: str, device: Device, code: str | None) -> Tokens:
    with transaction("auth") as session:
        found = user_queries.find_by_email(session, email)
        kept = found.password_hash if found is not None else None
    right = passwords.matches(kept, password)  # outside of a transaction: it takes its time
    anew = passwords.hash_of(password) if right and kept is not None and passwords.is_outdated(kept) else kept
    key = access_tokens.signer()
    with transaction("auth") as session:
        row = user_queries.find_by_email(session, email, lock=True)
        if not right or row is None or row.password_hash != kept:
            raise _Refused("password")
        if row.disabled_at is not None:
            raise _Refused("disabled")
        if row.totp_since is not None:
            if code is None:
                raise SecondFactorNeeded
            if not fits(session, row, code):
                raise _Refused("code")
        if row.verified_at is None:
            raise Unverified
        row.password_hash = anew or row.password_hash
        return sessions.begin(session, row, device, key=key, second_factor=row.totp_since is not None)


def fits(session: Session, row: UserRow, code: str) -> bool:
    """Whether it is a code of now, or a recovery code; either is then used up. The caller holds the row's lock."""
    return totp.take(row, code) or recovery.take(session, row, code)


def enrol_second_factor(user_id: str, password: str) -> str:
    """Begin to set a second factor up; the URI for the user's app. It counts once a code has confirmed it.

    Raises Invalid for a wrong password, and when there is a second factor already; TooMany.
    """
    check_password(user_id, password)
    with transaction("auth") as session:
        row = _locked(session, user_id)
        if row.totp_since is not None:
            raise invalid_field("/", "once", "there is a second factor already; remove it first")
        return totp.enrol(row)


def confirm_second_factor(user_id: str, code: str, *, session_id: str | None = None) -> list[str]:
    """Put the second factor in force; the session in which this was shown counts as one with it.

    Returns recovery codes, which nobody can show again. Raises Invalid for a wrong code, TooMany.
    """
    buckets = throttle.of_user(user_id)
    throttle.take(buckets)
    with changing(user_tag(user_id)), transaction("auth") as session:
        row = _locked(session, user_id)
        if row.totp_since is not None:
            raise invalid_field("/", "once", "there is a second factor already; remove it first")
        if not totp.take(row, code):
            raise invalid_field("/code", "code", "this is not the code of now")
        row.totp_since = now()
        if session_id is not None:
            sessions.note_second_factor(session, session_id)
        codes = recovery.issue(session, row)
        trail.note(session, "user.second_factor_set", user_id)
    throttle.give_back(buckets)
    return codes


def remove_second_factor(user_id: str, password: str, code: str) -> None:
    """Remove the second factor, with its recovery codes; one of these will do as ``code``.

    Raises Invalid unless password and code are right, TooMany.
    """
    check_password(user_id, password)
    buckets = throttle.of_user(user_id)
    throttle.take(buckets)
    with changing(user_tag(user_id)), transaction("auth") as session:
        row = _locked(session, user_id)
        if row.totp_since is None or not fits(session, row, code):
            raise invalid_field("/code", "code", "this is not the code of now, nor a recovery code")
        totp.remove(session, row)
        trail.note(session, "user.second_factor_removed", user_id)
    throttle.give_back(buckets)


def _locked(session: Session, user_id: str) -> UserRow:
    row = user_queries.find(session, user_id, lock=True)
    if row is None:
        raise NotFound(f"there is no user {user_id}")
    return row
