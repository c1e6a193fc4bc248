"""Sign-in at an OpenID provider: a browser is sent there, comes back once with a code, and is somebody here.

A subject of the provider's stands for a user once they are linked; docs/decisions/0020 says by whose word.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from agora.clock import now
from agora.crypto import is_mac, mac
from agora.db.session import transaction
from agora.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from agora.identity import (
    access_tokens,
    external_queries,
    oidc_provider,
    passwords,
    sessions,
    throttle,
    trail,
    user_queries,
)
from agora.identity.models import UserRow
from agora.identity.oidc_provider import Identity
from agora.identity.sessions import Device, Tokens
from agora.identity.sign_in import SecondFactorNeeded, fits
from agora.identity.users import MAX_NAME, check_email, check_password, claim_user
from agora.ids import is_id, new_id
from agora.settings import get_settings

LIVES = timedelta(minutes=10)
"""Somebody who signs in at the provider takes no longer."""
TICKET_LIVES = timedelta(minutes=5)
PARTS = 3
LINKING = "oidc link"
MOST_DIGITS = 12
GONE = "this account is disabled, or is gone"
VOID = "this sign-in is not valid; begin it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """Where to send the browser, and the cookie that it must bring back: else it is another one."""

    url: str
    cookie_name: str
    cookie: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """What a browser came back with."""

    state: str
    code: str | None
    error: str | None
    issuer: str | None
    cookie: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """How the provider knows a user."""

    id: str
    issuer: str
    subject: str
    email: str
    created_at: datetime
    used_at: datetime


def check_configured() -> None:
    """Raises NotFound where the operator has named no provider."""
    if not get_settings().oidc_issuer:
        raise NotFound("this platform has no sign-in at a provider: AGORA_OIDC_ISSUER is not set")


def cookie_name(state: str) -> str:
    """What the cookie of a sign-in is called: two may go on at once in a browser."""
    return f"agora_oidc_{hashlib.sha256(state.encode()).hexdigest()[:16]}"


def start(device: Device, *, user_id: str | None = None, password_hash: str = "") -> Started:
    """Send a browser to the provider; with a ``user_id``, to link that user, as long as their password stays the same.

    What the provider is told is derived from the cookie, so that nothing kept here finishes a sign-in by itself.

    Raises NotFound, TooMany, Unavailable.
    """
    check_configured()
    throttle.take(throttle.of_work(device.address))
    state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    if user_id is not None:
        browser += f".{mac(LINKING, _claimed(user_id, password_hash))}"
    nonce, verifier = _derived(browser)
    url = oidc_provider.authorization_url(state=state, nonce=nonce, verifier=verifier)
    with transaction("auth") as session:
        external_queries.begin_flow(
            session, state_hash=_digest(state), browser_hash=_digest(browser), user_id=user_id,
            expires_at=now() + LIVES,
        )  # fmt: skip
    return Started(url=url, cookie_name=cookie_name(state), cookie=browser)


def start_to_link(user_id: str, password: str, device: Device) -> Started:
    """Send the browser of a user who is signed in, to link them. Raises Invalid, NotFound, TooMany, Unavailable."""
    check_configured()
    return start(device, user_id=user_id, password_hash=check_password(user_id, password))


def _claimed(user_id: str, password_hash: str) -> bytes:
    return f"{user_id}\n{password_hash}".encode()


def _derived(browser: str) -> tuple[str, str]:
    """The nonce and the PKCE verifier of a sign-in."""
    return mac("oidc nonce", browser.encode()), mac("oidc verifier", browser.encode())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def finish(returned: Returned, device: Device) -> Tokens | None:
    """Begin a session for a browser that comes back; None when a user was linked, who is signed in already.

    Raises:
        Unauthenticated: it was not sent from here, comes a second time, or what it brings is not valid.
        SecondFactorNeeded: with a ``ticket``, which :func:`finish_with_code` takes.
        Forbidden: there is no such account, and none may be made.
        Conflict: there is an account with this address, and the provider's word does not let into it.
        Unavailable: the provider is away.
    """
    check_configured()
    throttle.take(throttle.of_work(device.address))
    browser, link_to = _take_flow(returned)
    if returned.error is not None or not returned.code:
        raise Unauthenticated("the provider has not signed anybody in")
    nonce, verifier = _derived(browser)
    identity = oidc_provider.identify(code=returned.code, issuer=returned.issuer, nonce=nonce, verifier=verifier)
    if link_to is not None:
        _link(identity, link_to, proof=browser.partition(".")[2])
        return None
    key = access_tokens.signer()
    unknown = passwords.hash_of(secrets.token_urlsafe(32)) if _is_new(identity) else ""
    with transaction("auth") as session:
        row = _user_of(session, identity, unknown)
        if row.disabled_at is not None:
            raise Unauthenticated(GONE)
        if row.totp_since is None:
            return sessions.begin(session, row, device, key=key, second_factor=False)
        ticket = _ticket(row)
    raise SecondFactorNeeded(ticket=ticket)


def _take_flow(returned: Returned) -> tuple[str, str | None]:
    browser = returned.cookie or ""
    with transaction("auth") as session:
        flow = external_queries.take_flow(session, _digest(returned.state))
    if flow is None or flow.expires_at <= now() or not hmac.compare_digest(flow.browser_hash, _digest(browser)):
        raise Unauthenticated(VOID)
    return browser, flow.user_id


def _is_new(identity: Identity) -> bool:
    with transaction("auth") as session:
        return external_queries.find(session, issuer=identity.issuer, subject=identity.subject) is None


def _user_of(session: Session, identity: Identity, unknown: str) -> UserRow:
    """The user whom an identity stands for, linked or made now; ``unknown``: the hash of a password nobody knows."""
    known = external_queries.find(session, issuer=identity.issuer, subject=identity.subject)
    if known is not None:
        user = _locked(session, known)
        # Only now: a new password, set by a mail, unlinks under the same lock, and takes both in this order.
        if external_queries.touch(session, issuer=identity.issuer, subject=identity.subject) != known:
            raise Unauthenticated(VOID)
        return user
    if not identity.email_verified or not identity.email:
        raise Forbidden("the provider does not say that your e-mail address is confirmed")
    try:
        email = check_email(identity.email)
    except Invalid:
        raise Forbidden("what the provider tells as your e-mail address is none") from None
    row = user_queries.find_by_email(session, email, lock=True)
    if row is not None and row.verified_at is not None:
        trusted = {domain.lower() for domain in get_settings().oidc_trusted_domains}
        if email.rpartition("@")[2] not in trusted:
            raise Conflict("there is an account with this address: sign in to it, and link it from there")
    else:
        row = _made(session, email, identity.name, unknown)
    _insert_link(session, identity, row.id)
    return row


def _made(session: Session, email: str, name: str, unknown: str) -> UserRow:
    if get_settings().sign_up != "open":
        raise Forbidden("this platform takes users by invitation only")
    if not unknown:  # it was linked a moment ago, so that no password was hashed
        raise Unauthenticated(VOID)
    name = "".join(letter for letter in name if letter.isprintable())[:MAX_NAME].strip()
    row = claim_user(session, email, name, unknown)
    if row is None:
        raise Conflict("an account with this address was made just now; begin again")
    row.verified_at = now()
    return row


def _insert_link(session: Session, identity: Identity, user_id: str) -> None:
    told = {"issuer": identity.issuer, "subject": identity.subject, "email": identity.email[:254]}
    made = new_id("ext")
    holder = external_queries.link(session, link_id=made, user_id=user_id, **told)
    if holder != user_id:
        raise Conflict("this identity is linked to another account")
    row = user_queries.find(session, user_id)
    if row is not None:
        after = told | {"link_id": made}
        trail.note(session, "user.identity_linked", user_id, after=after, actor=trail.as_user(row))


def _link(identity: Identity, user_id: str, *, proof: str) -> None:
    """Link a user who had shown their password when they were sent there, unless it has been changed since."""
    with transaction("auth") as session:
        row = _locked(session, user_id)
        if not is_mac(LINKING, _claimed(row.id, row.password_hash), proof):
            raise Unauthenticated(VOID)
        _insert_link(session, identity, user_id)


def _locked(session: Session, user_id: str) -> UserRow:
    row = user_queries.find(session, user_id, lock=True)
    if row is None or row.disabled_at is not None:
        raise Unauthenticated(GONE)
    return row


def _ticket(row: UserRow) -> str:
    expiry = str(int((now() + TICKET_LIVES).timestamp()))
    return f"{row.id}.{expiry}.{mac('oidc ticket', _covered(row, expiry))}"


def _covered(row: UserRow, expiry: str) -> bytes:
    return f"{row.id}\n{expiry}\n{row.password_hash}\n{row.totp_sealed}".encode()


def finish_with_code(ticket: str, code: str, device: Device) -> Tokens:
    """Begin the session of a user who has come back from the provider, and has a second factor.

    Raises:
        Unauthenticated: the ticket is wrong or too old, or the code is.
        TooMany: too many wrong codes.
    """
    check_configured()
    with transaction("auth") as session:
        user_id = _redeem(session, ticket).id
    buckets = throttle.of_user(user_id)  # now that it is known to be them, whom nobody else shall keep out
    throttle.take(buckets)
    key = access_tokens.signer()
    with transaction("auth") as session:
        row = _redeem(session, ticket)
        if row.totp_since is None or not fits(session, row, code):
            raise Unauthenticated("the code is wrong")
        tokens = sessions.begin(session, row, device, key=key, second_factor=True)
    throttle.give_back(buckets)
    return tokens


def _redeem(session: Session, ticket: str) -> UserRow:
    parts = ticket.split(".")
    if len(parts) != PARTS or not is_id(parts[0], "usr") or not parts[1].isdecimal() or len(parts[1]) > MOST_DIGITS:
        raise Unauthenticated(VOID)
    row = user_queries.find(session, parts[0], lock=True)
    expired = int(parts[1]) <= now().timestamp()
    if row is None or expired or not is_mac("oidc ticket", _covered(row, parts[1]), parts[2]):
        raise Unauthenticated(VOID)
    if row.disabled_at is not None:  # told to them alone: whoever forges a ticket learns nothing of its user
        raise Unauthenticated(GONE)
    return row


def list_links(user_id: str) -> Sequence[Link]:
    """How providers know a user."""
    with transaction("auth") as session:
        return [
            Link(
                id=row.id, issuer=row.issuer, subject=row.subject, email=row.email, created_at=row.created_at,
                used_at=row.used_at,
            )
            for row in external_queries.list_of(session, user_id)
        ]  # fmt: skip


def unlink(user_id: str, link_id: str) -> None:
    """Sign in by it no more. Raises NotFound."""
    with transaction("auth") as session:
        row = external_queries.unlink(session, user_id, link_id) if is_id(link_id, "ext") else None
        if row is None:
            raise NotFound(f"there is no identity {link_id}")
        told = {"link_id": row.id, "issuer": row.issuer, "subject": row.subject, "email": row.email}
        trail.note(session, "user.identity_unlinked", user_id, before=told)
