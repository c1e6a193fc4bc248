"""Users: sign-up, verified addresses, passwords. Nothing here tells a stranger whether an address has an account."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from email_validator import EmailNotValidError, validate_email
from sqlalchemy.orm import Session

from agora.caching.generations import changing, user_tag
from agora.clock import now
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import Conflict, Forbidden, NotFound, invalid_field
from agora.identity import (
    external_queries,
    mail,
    one_time,
    passwords,
    recovery_queries,
    sessions,
    throttle,
    trail,
    user_queries,
)
from agora.identity.models import MemberRow, TeamRow, UserRow
from agora.identity.roles import Purpose, Role
from agora.ids import new_id
from agora.settings import get_settings

MAX_NAME = 200
KNOWN_TEXT = "Somebody signed up with your address, which has an account. Was it you? Then sign in.\n"
VERIFY_SUBJECT, RESET_SUBJECT, KNOWN_SUBJECT = (
    "Confirm your address",
    "Set a new password",
    "You have an account already",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class User(Edited):
    """A user as they see themselves."""

    id: str
    email: str
    name: str
    verified_at: datetime | None
    second_factor: bool
    recovery_codes: int
    created_at: datetime


def view(session: Session, row: UserRow) -> User:
    """A row as the value that callers get."""
    return User(
        id=row.id, email=row.email, name=row.name, verified_at=row.verified_at,
        second_factor=row.totp_since is not None, recovery_codes=recovery_queries.count(session, row.id),
        created_at=row.created_at,
    )  # fmt: skip


def check_email(email: str, *, pointer: str = "/email") -> str:
    """An address in the form that compares equal. Raises Invalid. Nothing is looked up."""
    try:
        found = validate_email(email, check_deliverability=False, test_environment=True, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise invalid_field(pointer, "email", f"email: {error}", email[:200]) from None
    known = (found.ascii_email or "").lower()
    if "=?" in known or not known:  # would be read as an encoded word, so the mail would go elsewhere
        raise invalid_field(pointer, "email", "email: this address cannot be written to", email[:200])
    return known


def check_name(name: str) -> str:
    """A name for people. Raises Invalid."""
    if len(name) > MAX_NAME or any(not letter.isprintable() for letter in name):
        raise invalid_field(
            "/name", "max-length", f"name must have at most {MAX_NAME} printable characters", name[:200]
        )
    return name.strip()


def sign_up(email: str, password: str, name: str, *, address: str) -> None:
    """Make an account and mail a token that confirms its address; or mail that there is one already.

    Raises:
        Forbidden: the platform takes no strangers (``AGORA_SIGN_UP``).
        Invalid: names the field.
        TooMany: too many mails were asked for.
    """
    if get_settings().sign_up != "open":
        raise Forbidden("this platform takes users by invitation only")
    throttle.take(throttle.of_work(address))
    email, name = check_email(email), check_name(name)
    passwords.check(password, known=(email, email.partition("@")[0], name))
    throttle.take(throttle.of_mail("sign-up", email, address))
    hashed = passwords.hash_of(password)
    with transaction("auth") as session:
        row = claim_user(session, email, name, hashed)
        if row is None:
            mail.post(session, email, KNOWN_SUBJECT, KNOWN_TEXT)
        else:
            token = one_time.issue(session, row, Purpose.VERIFY)
            mail.post(session, email, VERIFY_SUBJECT, _words("confirm your address", token, "two days"))


def claim_user(session: Session, email: str, name: str, password_hash: str) -> UserRow | None:
    """The new user of an address; also one that somebody claimed before and never confirmed: that claim is void.

    None when there is a confirmed one.
    """
    row = insert_user(session, email, name, password_hash)
    if row is None:
        row = user_queries.find_by_email(session, email, lock=True)
        if row is None or row.verified_at is not None:
            return None
        row.password_hash, row.password_at, row.name = password_hash, now(), name
        session.flush()
    return row


def insert_user(session: Session, email: str, name: str, password_hash: str) -> UserRow | None:
    """The new user with a personal team; None when there is one with this address."""
    row = user_queries.insert_user(session, user_id=new_id("usr"), email=email, name=name, password_hash=password_hash)
    if row is None:
        return None
    team = TeamRow(id=new_id("team"), name=name or email, personal_of=row.id)
    session.add(team)
    session.flush()
    session.add(MemberRow(team_id=team.id, user_id=row.id, role=Role.OWNER))
    session.flush()
    trail.note(session, "user.created", row.id, after={"email": email, "name": name})
    return row


def _words(what: str, token: str, how_long: str) -> str:
    base = get_settings().public_url.rstrip("/")
    where = f" At {base}:" if base else ""
    return (
        f"Use this token to {what}.{where}\n\n    {token}\n\nIt works once, for {how_long}."
        " If you did not ask for it, do nothing.\n"
    )


def ask_to_verify(email: str, *, address: str) -> None:
    """Mail the token that confirms an address again, if it belongs to an account and is not confirmed.

    Raises Invalid, TooMany.
    """
    text = "confirm your address", "two days"
    _mail_token(email, address, Purpose.VERIFY, VERIFY_SUBJECT, text, lambda row: row.verified_at is None)


def _mail_token(
    email: str, address: str, purpose: Purpose, subject: str, text: tuple[str, str], wants: Callable[[UserRow], bool]
) -> None:
    """Mail a token, if there is such an account and it ``wants`` one; else do the same work for nobody."""
    email = check_email(email)
    throttle.take(throttle.of_mail(purpose, email, address))
    with transaction("auth") as session:
        row = user_queries.find_by_email(session, email)
        if row is None or not wants(row):
            one_time.issue_nothing(session)
            mail.post_nothing(session)
        else:
            what, how_long = text
            mail.post(session, email, subject, _words(what, one_time.issue(session, row, purpose), how_long))


def verify_email(token: str, password: str, *, address: str) -> User:
    """Confirm the address that a token was mailed to.

    The password shows that whoever reads the mail is who signed up: nobody shall confirm a stranger's claim of
    their own address.

    Raises Invalid, TooMany.
    """
    throttle.take(throttle.of_work(address))
    with transaction("auth") as session:
        kept = one_time.peek(session, token, Purpose.VERIFY).password_hash
    if not passwords.matches(kept, password):
        raise invalid_field("/password", "password", "this is not the password that the account was made with")
    with transaction("auth") as session:
        row = one_time.redeem(session, token, Purpose.VERIFY)
        row.verified_at = row.verified_at or now()
        session.flush()
        trail.note(session, "user.email_verified", row.id, after={"email": row.email}, actor=trail.as_user(row))
        return view(session, row)


def ask_to_reset(email: str, *, address: str) -> None:
    """Mail a token for a new password, if there is such an account. Raises Invalid, TooMany."""
    text = "set a new password", "an hour"
    _mail_token(email, address, Purpose.RESET, RESET_SUBJECT, text, lambda row: row.disabled_at is None)


def reset_password(token: str, password: str, *, address: str) -> None:
    """Set a new password with a mailed token, which also confirms the address. Every session ends.

    So does sign-in by a provider, until it is linked anew: whoever made the account by one may not have been them.

    Raises Invalid, TooMany.
    """
    throttle.take(throttle.of_work(address))
    with transaction("auth") as session:
        user_id = one_time.peek(session, token, Purpose.RESET).id  # before the work of judging and hashing
    passwords.check(password)
    hashed = passwords.hash_of(password)
    with changing(user_tag(user_id)), transaction("auth") as session:
        row = one_time.redeem(session, token, Purpose.RESET)
        row.verified_at = row.verified_at or now()
        external_queries.unlink_all(session, row.id)
        ended = _set_password(session, row, hashed)
        told = {"password": "new", "sessions_ended": ended}
        trail.note(session, "user.password_reset", row.id, after=told, actor=trail.as_user(row))


def change_password(user_id: str, old: str, new: str, *, session_id: str) -> None:
    """Change a password; every other session ends. Raises Invalid, TooMany."""
    kept = check_password(user_id, old, pointer="/old_password")
    user = get_user(user_id)
    passwords.check(new, known=(user.email, user.email.partition("@")[0], user.name), pointer="/new_password")
    hashed = passwords.hash_of(new)
    with changing(user_tag(user_id)), transaction("auth") as session:
        row = _find(session, user_id, lock=True)
        if row.password_hash != kept:
            raise Conflict("the password was changed just now")
        ended = _set_password(session, row, hashed, but=session_id)
        told = {"password": "new", "sessions_ended": ended}
        trail.note(session, "user.password_changed", user_id, after=told)


def check_password(user_id: str, password: str, *, pointer: str = "/password") -> str:
    """Whether a user who is signed in knows their password; returns its hash. Wrong ones are counted.

    Raises Invalid, TooMany.
    """
    buckets = throttle.of_user(user_id)
    throttle.take(buckets)
    with transaction("auth") as session:
        kept = _find(session, user_id).password_hash
    if not passwords.matches(kept, password):
        raise invalid_field(pointer, "password", "this is not the password")
    throttle.give_back(buckets)
    return kept


def _set_password(session: Session, row: UserRow, password_hash: str, *, but: str | None = None) -> int:
    row.password_hash, row.password_at = password_hash, now()
    session.flush()
    return sessions.end_all(session, row.id, why=sessions.PASSWORD, but=but)


def _find(session: Session, user_id: str, *, lock: bool = False) -> UserRow:
    row = user_queries.find(session, user_id, lock=lock)
    if row is None:
        raise NotFound(f"there is no user {user_id}")
    return row


def get_user(user_id: str) -> User:
    """A user. Raises NotFound."""
    with transaction("auth") as session:
        return view(session, _find(session, user_id))


def rename(user_id: str, name: str, *, expected: Expected = ANYTHING) -> User:
    """Change a user's name. Raises Invalid, NotFound, PreconditionFailed."""
    with transaction("auth") as session:
        row = _find(session, user_id, lock=True)
        expected.check(view(session, row))
        before, row.name = row.name, check_name(name)
        session.flush()
        trail.note(session, "user.renamed", user_id, before={"name": before}, after={"name": row.name})
        return view(session, row)
