"""Refresh tokens: random text and the session that it is for, with a MAC.

The MAC says without a look at the database that a token was issued here, and does not come from somebody who guesses.
Whether it still works only its session's row says. Tokens of before had no MAC, and are looked up as they were.
"""

import hashlib
import re
import secrets

from agora import crypto

PURPOSE = "refresh tokens"
RANDOM_BYTES = 32
SIGNED = re.compile(r"(agora_refresh_[A-Za-z0-9_-]{43}\.(sgn_[0-9a-z]{26}))\.([0-9a-f]{64})")
SEPARATOR = "."
"""No token without a MAC has one."""


def issue(session_id: str) -> str:
    """A new token of a session."""
    text = f"agora_refresh_{secrets.token_urlsafe(RANDOM_BYTES)}{SEPARATOR}{session_id}"
    return text + SEPARATOR + crypto.mac(PURPOSE, text.encode())


def session_of(plain: str) -> str | None:
    """The session that a token was issued for; None unless its MAC is ours."""
    found = SIGNED.fullmatch(plain)
    if found is None or not crypto.is_mac(PURPOSE, found[1].encode(), found[3]):
        return None
    return found[2]


def is_forged(plain: str) -> bool:
    """Whether a token has something in the place of the MAC that is none of ours."""
    return SEPARATOR in plain and session_of(plain) is None


def digest(plain: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(plain.encode()).digest()
