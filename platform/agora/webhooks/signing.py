"""Standard Webhooks 1.0.0: signatures over ``{id}.{timestamp}.{body}``, symmetric (``v1``) and asymmetric (``v1a``).

``v1`` is HMAC-SHA256 with a secret that both sides hold (``whsec_``). ``v1a`` is ed25519: the sender keeps ``whsk_``,
and the receiver verifies with ``whpk_``, which may be public. Nothing here knows the database, so receivers can use
``verify`` as it is.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agora.errors import AgoraError, invalid_field
from agora.webhooks.states import Algorithm

SHARED_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SHORTEST = 24
LONGEST = 64
NEW_SECRET_BYTES = 32
SEED_BYTES = 32
KEY_PAIR_BYTES = 64
"""Some tools write an ed25519 private key as its seed and its public key, one after the other."""
CACHED_KEYS = 4096

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"


class VerificationFailed(AgoraError):
    """The webhook is not authentic."""

    slug = "webhook-verification"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key to sign with. ``raw`` is the secret of v1, or the 32 bytes of an ed25519 seed."""

    algorithm: Algorithm
    raw: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The key as it is shown, once, and kept, encrypted."""
        prefix = SHARED_PREFIX if self.algorithm is Algorithm.V1 else PRIVATE_PREFIX
        return prefix + base64.b64encode(self.raw).decode("ascii")

    @property
    def public(self) -> str | None:
        """The key that verifies what a v1a key signs; a v1 key has none."""
        if self.algorithm is Algorithm.V1:
            return None
        raw = _private(self.raw).public_key().public_bytes_raw()
        return PUBLIC_PREFIX + base64.b64encode(raw).decode("ascii")

    def sign(self, signed: bytes) -> str:
        """One signature: the algorithm's name, a comma, and base64."""
        if self.algorithm is Algorithm.V1:
            made = hmac.digest(self.raw, signed, hashlib.sha256)
        else:
            made = _private(self.raw).sign(signed)
        return f"{self.algorithm},{base64.b64encode(made).decode('ascii')}"


@lru_cache(maxsize=CACHED_KEYS)
def _private(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def generate(algorithm: Algorithm = Algorithm.V1) -> SigningKey:
    """A fresh key: 32 random bytes."""
    return SigningKey(algorithm, secrets.token_bytes(NEW_SECRET_BYTES))


def parse_key(text: str, *, pointer: str = "/secret") -> SigningKey:
    """The key in a text: ``whsec_`` and base64 of 24 to 64 bytes, or ``whsk_`` and base64 of an ed25519 private key.

    The errors never repeat the secret.

    Raises:
        Invalid: the prefix, the base64 or the length is wrong.
    """
    if text.startswith(SHARED_PREFIX):
        raw = _decoded(text, SHARED_PREFIX, pointer)
        if not SHORTEST <= len(raw) <= LONGEST:
            message = f"secret must hold {SHORTEST} to {LONGEST} bytes, this one holds {len(raw)}"
            raise invalid_field(pointer, "length", message)
        return SigningKey(Algorithm.V1, raw)
    if text.startswith(PRIVATE_PREFIX):
        return SigningKey(Algorithm.V1A, _seed(_decoded(text, PRIVATE_PREFIX, pointer), pointer))
    raise invalid_field(pointer, "prefix", f"secret must start with {SHARED_PREFIX} (v1) or {PRIVATE_PREFIX} (v1a)")


def _seed(raw: bytes, pointer: str) -> bytes:
    if len(raw) not in {SEED_BYTES, KEY_PAIR_BYTES}:
        message = f"secret must hold an ed25519 seed of {SEED_BYTES} bytes, this one holds {len(raw)}"
        raise invalid_field(pointer, "length", message)
    seed, public = raw[:SEED_BYTES], raw[SEED_BYTES:]
    if public and public != _private(seed).public_key().public_bytes_raw():
        raise invalid_field(pointer, "key-pair", "secret: its public half does not belong to its private half")
    return seed


def _decoded(text: str, prefix: str, pointer: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_field(pointer, "base64", f"secret must be {prefix} and standard base64") from None


def sign(webhook_id: str, timestamp: int, body: bytes, keys: Iterable[SigningKey]) -> str:
    """The signature header: one signature per key, separated by spaces. ``timestamp`` is in whole seconds."""
    signed = signed_content(webhook_id, timestamp, body)
    return " ".join(key.sign(signed) for key in keys)


def signed_content(webhook_id: str, timestamp: int, body: bytes) -> bytes:
    """What is signed."""
    return f"{webhook_id}.{timestamp}.".encode() + body


def verify(headers: Mapping[str, str], body: bytes, secret: str, *, tolerance: float = 300.0) -> None:
    """Check a received webhook: header names in any case, ``body`` the raw bytes, ``tolerance`` in seconds.

    ``secret`` is the endpoint's ``whsec_…``, or the ``whpk_…`` of its ed25519 key.

    Raises:
        VerificationFailed: a header is missing or malformed, the time is off, or no signature matches.
        Invalid: the secret itself is malformed.
    """
    algorithm, raw = _verifier(secret)
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if not found.get(name)]
    if missing:
        raise VerificationFailed(f"header {missing[0]} is missing")
    timestamp = _timestamp(found[TIMESTAMP_HEADER], tolerance)
    signed = signed_content(found[ID_HEADER], timestamp, body)
    given = [one.partition(",") for one in found[SIGNATURE_HEADER].split(" ")]
    check = _matches if algorithm is Algorithm.V1 else _verifies
    if not any(check(signed, value, raw) for name, _, value in given if name == algorithm):
        raise VerificationFailed(f"no {algorithm} signature matches this secret and body")


def _verifier(secret: str) -> tuple[Algorithm, bytes]:
    if not secret.startswith(PUBLIC_PREFIX):
        key = parse_key(secret)
        if key.algorithm is Algorithm.V1A:
            return Algorithm.V1A, _private(key.raw).public_key().public_bytes_raw()
        return Algorithm.V1, key.raw
    raw = _decoded(secret, PUBLIC_PREFIX, "/secret")
    if len(raw) != SEED_BYTES:
        raise invalid_field("/secret", "length", f"public key must hold {SEED_BYTES} bytes, this one holds {len(raw)}")
    return Algorithm.V1A, raw


def _matches(signed: bytes, given: str, key: bytes) -> bool:
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    return hmac.compare_digest(expected, given.encode())


def _verifies(signed: bytes, given: str, public: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(given, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _timestamp(text: str, tolerance: float) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len("253402300799")):
        raise VerificationFailed(f"header {TIMESTAMP_HEADER} must be whole seconds since 1970")
    timestamp = int(text)
    age = time.time() - timestamp
    if abs(age) > tolerance:
        side = "old" if age > 0 else "new"
        raise VerificationFailed(f"the webhook is {abs(age):.0f} s too {side} to trust; {tolerance:.0f} s are allowed")
    return timestamp
