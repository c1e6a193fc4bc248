"""Standard Webhooks 1.0.0, symmetric signatures (``v1``): HMAC-SHA256 over ``{id}.{timestamp}.{body}``.

Pure functions over bytes; nothing here knows the database, so receivers can use ``verify`` as it is.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping

from agora.errors import AgoraError, invalid_field

PREFIX = "whsec_"
SHORTEST = 24
LONGEST = 64
NEW_SECRET_BYTES = 32
VERSION = "v1"

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"


class VerificationFailed(AgoraError):
    """The webhook is not authentic."""

    slug = "webhook-verification"


def generate_secret() -> str:
    """A fresh secret: ``whsec_`` and the base64 of 32 random bytes."""
    return format_secret(secrets.token_bytes(NEW_SECRET_BYTES))


def format_secret(key: bytes) -> str:
    """The text form of a key."""
    return PREFIX + base64.b64encode(key).decode("ascii")


def parse_secret(secret: str, *, pointer: str = "/secret") -> bytes:
    """The key in a secret. The error never repeats the secret.

    Raises:
        Invalid: the prefix, the base64 or the length is wrong.
    """
    if not secret.startswith(PREFIX):
        raise invalid_field(pointer, "prefix", f"secret must start with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_field(pointer, "base64", f"secret must be {PREFIX} and standard base64") from None
    if not SHORTEST <= len(key) <= LONGEST:
        message = f"secret must hold {SHORTEST} to {LONGEST} bytes, this one holds {len(key)}"
        raise invalid_field(pointer, "length", message)
    return key


def signature(webhook_id: str, timestamp: int, body: bytes, key: bytes) -> str:
    """One signature: ``v1,`` and the base64 of the HMAC."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return f"{VERSION}," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")


def sign(webhook_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> str:
    """The signature header: one signature per key, separated by spaces. ``timestamp`` is in whole seconds."""
    return " ".join(signature(webhook_id, timestamp, body, key) for key in keys)


def verify(headers: Mapping[str, str], body: bytes, secret: str, *, tolerance: float = 300.0) -> None:
    """Check a received webhook: header names in any case, ``body`` the raw bytes, ``tolerance`` in seconds.

    Raises:
        VerificationFailed: a header is missing or malformed, the time is off, or no signature matches.
        Invalid: the secret itself is malformed.
    """
    key = parse_secret(secret)
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if not found.get(name)]
    if missing:
        raise VerificationFailed(f"header {missing[0]} is missing")
    timestamp = _timestamp(found[TIMESTAMP_HEADER], tolerance)
    expected = signature(found[ID_HEADER], timestamp, body, key).encode()
    given = found[SIGNATURE_HEADER].split(" ")
    if not any(hmac.compare_digest(expected, one.encode()) for one in given):
        raise VerificationFailed(f"no {VERSION} signature matches this secret and body")


def _timestamp(text: str, tolerance: float) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len("253402300799")):
        raise VerificationFailed(f"header {TIMESTAMP_HEADER} must be whole seconds since 1970")
    timestamp = int(text)
    age = time.time() - timestamp
    if abs(age) > tolerance:
        side = "old" if age > 0 else "new"
        raise VerificationFailed(f"the webhook is {abs(age):.0f} s too {side} to trust; {tolerance:.0f} s are allowed")
    return timestamp
