"""Encryption of secrets at rest, with the key from settings (AGORA_SECRET_KEY).

When the key is changed, the old one goes to AGORA_SECRET_KEY_OLD until everything is encrypted anew (`agora db rekey`).
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agora.errors import SettingsError
from agora.settings import get_settings


@lru_cache(maxsize=8)
def _cipher(key: str) -> Fernet:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"agora secrets at rest").derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _current() -> Fernet:
    key = get_settings().secret_key.get_secret_value()
    if not key:
        raise SettingsError("AGORA_SECRET_KEY: must be set, secrets are encrypted with it")
    return _cipher(key)


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


def is_current(token: bytes) -> bool:
    """Whether the present key encrypted it, and not an older one. Raises SettingsError without a key."""
    try:
        _current().decrypt(token)
    except InvalidToken:
        return False
    return True
