"""Encryption of secrets at rest, with the key from settings (AGORA_SECRET_KEY)."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agora.errors import SettingsError
from agora.settings import get_settings


@lru_cache(maxsize=4)
def _cipher(key: str) -> Fernet:
    if not key:
        raise SettingsError("AGORA_SECRET_KEY: must be set, secrets are encrypted with it")
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"agora secrets at rest").derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def encrypt(plain: bytes) -> bytes:
    """Encrypt and authenticate (Fernet: AES-128-CBC with HMAC-SHA256). Raises SettingsError without a key."""
    return _cipher(get_settings().secret_key.get_secret_value()).encrypt(plain)


def decrypt(token: bytes) -> bytes:
    """The plain bytes. Raises SettingsError when the key is missing or is not the one that encrypted it."""
    try:
        return _cipher(get_settings().secret_key.get_secret_value()).decrypt(token)
    except InvalidToken:
        raise SettingsError("AGORA_SECRET_KEY: is not the key that these secrets were encrypted with") from None
