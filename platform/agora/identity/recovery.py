"""Recovery codes: each stands in for a code of the second factor once, for whoever has lost the device.

They are made here, of 80 random bits, and chosen by nobody: there is no list of likely ones to try, and 2^80 tries are
too many at any speed of hashing. So SHA-256 keeps them as well as Argon2id would, as it does API keys; a slow hash is
for passwords, which people choose.
"""

import base64
import hashlib
import re
import secrets

from sqlalchemy.orm import Session

from agora.db.session import transaction
from agora.errors import Conflict, NotFound, SecondFactorRequired
from agora.identity import recovery_queries, trail, user_queries
from agora.identity.models import RecoveryCodeRow, UserRow
from agora.identity.users import check_password

HOW_MANY = 10
BYTES = 10
GROUP = 4
LETTERS = re.compile(r"[A-Z2-7]{16}")


def issue(session: Session, user: UserRow) -> list[str]:
    """Ten new codes of a user, in the caller's transaction; those before are void. Shown this once."""
    recovery_queries.forget_all(session, user.id)
    codes = [base64.b32encode(secrets.token_bytes(BYTES)).decode() for _ in range(HOW_MANY)]
    session.add_all([RecoveryCodeRow(user_id=user.id, hash=_digest(code)) for code in codes])
    session.flush()
    return ["-".join(code[at : at + GROUP] for at in range(0, len(code), GROUP)).lower() for code in codes]


def take(session: Session, user: UserRow, code: str) -> bool:
    """Whether it is a code of the user's that was not used; then it is used, however many try it at once."""
    plain = code.replace("-", "").upper()
    if not LETTERS.fullmatch(plain) or not recovery_queries.spend(session, user.id, _digest(plain)):
        return False
    trail.note(session, "user.recovery_code_used", user.id, actor=trail.as_user(user))
    return True


def _digest(plain: str) -> bytes:
    return hashlib.sha256(plain.encode()).digest()


def renew(user_id: str, password: str, *, second_factor: bool) -> list[str]:
    """Ten new codes for a user who is signed in; those before are void.

    Raises:
        SecondFactorRequired: the session was begun without one: who has the password only would get past it.
        Invalid: the password is wrong.
        Conflict: there is no second factor that they could stand in for.
        TooMany: too many wrong passwords.
    """
    check_password(user_id, password)
    with transaction("auth") as session:
        row = user_queries.find(session, user_id, lock=True)
        if row is None:
            raise NotFound(f"there is no user {user_id}")
        if row.totp_since is None:
            raise Conflict("there is no second factor; set one up first")
        if not second_factor:
            raise SecondFactorRequired("this session was begun without the second factor; sign in with it")
        trail.note(session, "user.recovery_codes_renewed", user_id)
        return issue(session, row)
