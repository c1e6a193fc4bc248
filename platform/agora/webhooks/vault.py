"""Secrets of endpoints at rest: encrypted texts in, plain values out, never logged."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from agora.crypto import decrypt, encrypt
from agora.webhooks.signing import SigningKey, parse_key

CACHED = 4096


def seal(text: str) -> str:
    """The encrypted form of a text, as text."""
    return encrypt(text.encode()).decode("ascii")


def seal_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with encrypted values: people put credentials there."""
    return {name: seal(value) for name, value in headers.items()}


@lru_cache(maxsize=CACHED)
def unseal(sealed: str) -> str:
    """The plain text. Raises SettingsError when no key of this process is the one that encrypted it."""
    return decrypt(sealed.encode("ascii")).decode()


def unseal_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with their plain values."""
    return {name: unseal(value) for name, value in headers.items()}


@lru_cache(maxsize=CACHED)
def _key(sealed: str) -> SigningKey:
    return parse_key(unseal(sealed))


def keys_of(sealed: Sequence[str]) -> list[SigningKey]:
    """The keys in sealed texts, in their order."""
    return [_key(one) for one in sealed]
