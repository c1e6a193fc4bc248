"""Passwords: which are good enough, and how they are kept: Argon2id (RFC 9106) with argon2-cffi's present defaults."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from agora.errors import invalid_field

SHORTEST, LONGEST = 12, 256
GUESSABLE = 2
"""zxcvbn's score, 0 to 4, of a password that a guesser finds within 10^8 tries; from the next one on it is taken."""
MOST_JUDGED = 24
"""Characters that are judged: some texts take the judge a second for 50 characters, and 60 ms for these."""

T = TypeVar("T")

_hasher = PasswordHasher()


def _here(work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    return work(*arguments)


_run: Callable[..., Any] = _here


def offload(run: Callable[..., Any]) -> None:
    """Let ``run(work, arguments)`` judge and hash, such as a pool of threads: both take some 50 ms of processor."""
    global _run  # noqa: PLW0603  # one process, one way
    _run = run


def check(password: str, *, known: tuple[str, ...] = (), pointer: str = "/password") -> None:
    """Refuse a password that is easy to guess; ``known`` are words that a guesser would try first, such as the name.

    Raises Invalid, which never repeats the password.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise invalid_field(pointer, "length", f"a password must have {SHORTEST} to {LONGEST} characters")
    judged = _run(zxcvbn, (password[:MOST_JUDGED], [word[:MOST_JUDGED] for word in known if word]))
    if judged["score"] <= GUESSABLE:
        hint = judged["feedback"]["warning"] or "Add a word or two, of no sentence or list."
        raise invalid_field(pointer, "guessable", f"this password is easy to guess. {hint}")


def hash_of(password: str) -> str:
    """What is kept of a password: algorithm, parameters, salt and hash in one text."""
    made: str = _run(_hasher.hash, (password,))
    return made


def matches(kept: str | None, password: str) -> bool:
    """Whether it is the password. Without a kept one it takes as long, and is false."""
    return bool(_run(_verified, (kept or _nobodys(), password))) and kept is not None


def _verified(kept: str, password: str) -> bool:
    """As a value, since a pool of greenlets prints a traceback for whatever is raised in its threads."""
    try:
        return _hasher.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(kept: str) -> bool:
    """Whether it was hashed with other parameters than are in use now."""
    return _hasher.check_needs_rehash(kept)


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of nobody")
