"""One-time tokens, which mails carry: signed, named by a row, good once and for a while.

``otk_….<expiry>.<mac>``: a forged or expired one costs no look-up. The mac covers what must not have changed meanwhile,
such as the password's hash: then an older mail's token is void.
"""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from agora.clock import now
from agora.crypto import is_mac, mac
from agora.errors import Invalid, invalid_field
from agora.identity import session_queries, user_queries
from agora.identity.models import OneTimeTokenRow, UserRow
from agora.identity.roles import Purpose
from agora.ids import is_id, new_id

LIVES = {Purpose.VERIFY: timedelta(days=2), Purpose.RESET: timedelta(hours=1)}
PARTS = 3
MOST_DIGITS = 12


def issue(session: Session, user: UserRow, purpose: Purpose) -> str:
    """A token of a user for a purpose; the caller mails it."""
    expires_at = now() + LIVES[purpose]
    row = OneTimeTokenRow(id=new_id("otk"), user_id=user.id, purpose=purpose, expires_at=expires_at)
    session.add(row)
    return f"{row.id}.{int(expires_at.timestamp())}.{_mac(row.id, expires_at, user, purpose)}"


def issue_nothing(session: Session) -> None:
    """Do the work of a token that nobody gets, so that time does not tell that there was none."""
    session_queries.insert_no_token(session)


def redeem(session: Session, token: str, purpose: Purpose) -> UserRow:
    """The user of a token, which is then used up.

    Raises Invalid, the same for whatever is wrong with it.
    """
    found = _read(session, token, purpose)
    if found is None or not session_queries.spend(session, found[0].id):
        raise _void()
    return found[1]


def peek(session: Session, token: str, purpose: Purpose) -> UserRow:
    """A token's user, without using it up. Raises Invalid."""
    found = _read(session, token, purpose)
    if found is None or found[0].used_at is not None:
        raise _void()
    return found[1]


def _void() -> Invalid:
    return invalid_field("/token", "token", "this token is not valid: it is wrong, was used, or has expired")


def _read(session: Session, token: str, purpose: Purpose) -> tuple[OneTimeTokenRow, UserRow] | None:
    parts = token.split(".")
    if len(parts) != PARTS or not is_id(parts[0], "otk") or not parts[1].isdecimal() or len(parts[1]) > MOST_DIGITS:
        return None
    if int(parts[1]) <= now().timestamp():
        return None
    row = session.get(OneTimeTokenRow, parts[0])
    user = user_queries.find(session, row.user_id, lock=True) if row is not None else None
    if row is None or user is None or row.purpose != purpose or int(row.expires_at.timestamp()) != int(parts[1]):
        return None
    fits = is_mac(f"one-time {purpose}", _covered(row.id, parts[1], user), parts[2])
    return (row, user) if fits else None


def _mac(token_id: str, expires_at: datetime, user: UserRow, purpose: Purpose) -> str:
    return mac(f"one-time {purpose}", _covered(token_id, str(int(expires_at.timestamp())), user))


def _covered(token_id: str, expiry: str, user: UserRow) -> bytes:
    return f"{token_id}\n{expiry}\n{user.id}\n{user.email}\n{user.password_hash}".encode()
