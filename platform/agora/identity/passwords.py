"""Passwords: which are good enough, and how they are kept: Argon2id (RFC 9106) with argon2-cffi's present defaults."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from agora.errors import invalid_field

SHORTEST, LONGEST = 12, 256
GUESSABLE = 2
"""zxcvbn's score, 0 to 4, of a password that a guesser finds within 10^8 tries; from the next one on it is taken."""
MOST_JUDGED = 72
"""Characters that are judged: the judge takes time that grows quickly with them."""

_hasher = PasswordHasher()


def check(password: str, *, known: tuple[str, ...] = (), pointer: str = "/password") -> None:
    """Refuse a password that is easy to guess; ``known`` are words that a guesser would try first, such as the name.

    Raises Invalid, which never repeats the password.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise invalid_field(pointer, "length", f"a password must have {SHORTEST} to {LONGEST} characters")
    judged = zxcvbn(password[:MOST_JUDGED], user_inputs=[word for word in known if word])
    if judged["score"] <= GUESSABLE:
        hint = judged["feedback"]["warning"] or "Add a word or two, of no sentence or list."
        raise invalid_field(pointer, "guessable", f"this password is easy to guess. {hint}")


def hash_of(password: str) -> str:
    """What is kept of a password: algorithm, parameters, salt and hash in one text."""
    return _hasher.hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password. Without a kept one it takes as long, and is false."""
    try:
        _hasher.verify(kept or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether it was hashed with other parameters than are in use now."""
    return _hasher.check_needs_rehash(kept)


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of nobody")
