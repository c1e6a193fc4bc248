"""Encryption of secrets at rest, with the key from settings (AGORA_SECRET_KEY).

When the key is changed, the old one goes to AGORA_SECRET_KEY_OLD until everything is encrypted anew (`agora db rekey`).
"""

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agora.errors import SettingsError
from agora.settings import get_settings


@lru_cache(maxsize=32)
def _derived(key: str, purpose: str) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"agora {purpose}".encode()).derive(key.encode())


@lru_cache(maxsize=8)
def _cipher(key: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derived(key, "secrets at rest")))


def _current_key() -> str:
    key = get_settings().secret_key.get_secret_value()
    if not key:
        raise SettingsError("AGORA_SECRET_KEY: must be set, secrets are encrypted with it")
    return key


def _current() -> Fernet:
    return _cipher(_current_key())


def encrypt(plain: bytes) -> bytes:
    """Encrypt and authenticate (Fernet: AES-128-CBC with HMAC-SHA256). Raises SettingsError without a key."""
    return _current().encrypt(plain)


def decrypt(token: bytes) -> bytes:
    """The plain bytes. Raises SettingsError when the key is missing, and when no key is the one that encrypted it."""
    older = [_cipher(key.get_secret_value()) for key in get_settings().secret_key_old]
    try:
        return MultiFernet([_current(), *older]).decrypt(token)
    except InvalidToken:
        raise SettingsError("AGORA_SECRET_KEY: is not the key that these secrets were encrypted with") from None


def open_sealed(token: bytes) -> bytes | None:
    """The plain bytes of what may come from outside; None when no key of ours encrypted it."""
    try:
        return decrypt(token)
    except SettingsError:
        return None


def is_current(token: bytes) -> bool:
    """Whether the present key encrypted it, and not an older one. Raises SettingsError without a key."""
    try:
        _current().decrypt(token)
    except InvalidToken:
        return False
    return True


def mac(purpose: str, message: bytes) -> str:
    """HMAC-SHA256 of a message in hexadecimal, by a key of this purpose alone. Raises SettingsError without a key."""
    return _mac(_current_key(), purpose, message)


def is_mac(purpose: str, message: bytes, given: str) -> bool:
    """Whether ``given`` is the ``mac`` of a message by the present key, or by an older one. Raises SettingsError."""
    known = [_current_key(), *(key.get_secret_value() for key in get_settings().secret_key_old)]
    return any(hmac.compare_digest(_mac(key, purpose, message).encode(), given.encode()) for key in known)


def _mac(key: str, purpose: str, message: bytes) -> str:
    return hmac.new(_derived(key, purpose), message, hashlib.sha256).hexdigest()
