"""The second factor: time-based one-time passwords (RFC 6238), as authenticator apps show them."""

import hmac

import pyotp
from sqlalchemy.orm import Session

from agora.clock import now
from agora.crypto import decrypt, encrypt
from agora.identity import recovery_queries, session_queries
from agora.identity.models import UserRow

ISSUER = "Agora"
STEP_SECONDS = 30
EITHER_SIDE = 1
"""Steps before and after the present one whose codes count: clocks differ."""


def enrol(user: UserRow) -> str:
    """Give a user a new secret, which is not in force yet; returns the URI that apps read as a QR code."""
    secret = pyotp.random_base32()
    user.totp_sealed, user.totp_since, user.totp_used = encrypt(secret.encode()).decode(), None, 0
    return pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER)


def take(user: UserRow, code: str) -> bool:
    """Whether it is a code of now that was not used before; then it is used. The caller holds the row's lock."""
    if user.totp_sealed is None:
        return False
    totp = pyotp.TOTP(decrypt(user.totp_sealed.encode()).decode())
    present = int(now().timestamp()) // STEP_SECONDS
    for step in range(present - EITHER_SIDE, present + EITHER_SIDE + 1):
        fits = hmac.compare_digest(totp.generate_otp(step).encode(), code.encode())
        if fits and step > user.totp_used:
            user.totp_used = step
            return True
    return False


def remove(session: Session, user: UserRow) -> None:
    """Take the second factor away, the recovery codes that stood in for it, and what sessions have for having shown it.

    Another one that is set later was not shown in any of them.
    """
    user.totp_sealed, user.totp_since = None, None
    recovery_queries.forget_all(session, user.id)
    session_queries.forget_second_factor(session, user.id)
