"""What of headers may be shown and kept: names always, values only when they are not secret."""

import re
from collections.abc import Iterable, Mapping

from agora.webhooks.types import REDACTED

SENSITIVE = re.compile(r"auth|cookie|token|secret|key|passw|credential|session", re.IGNORECASE)
MAX_HEADERS = 60
MAX_VALUE = 512
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def redact(headers: Mapping[str, str] | Iterable[tuple[str, str]], *, own: Iterable[str] = ()) -> dict[str, str]:
    """Headers by lower-case name, few and short enough to keep; the values of ``own`` names are never shown.

    A name that comes more than once has its values joined by a comma.
    """
    hidden = {name.lower() for name in own}
    shown: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lower = name.lower()
        if lower not in shown and len(shown) >= MAX_HEADERS:
            break
        text = REDACTED if lower in hidden or SENSITIVE.search(lower) else printable(value)
        shown[lower] = f"{shown[lower]}, {text}"[:MAX_VALUE] if lower in shown else text[:MAX_VALUE]
    return shown


def printable(text: str) -> str:
    """Text that Postgres and JSON can hold and a terminal may show: controls and lone surrogates are replaced."""
    return _CONTROLS.sub("\ufffd", text).encode("utf-8", "replace").decode("utf-8")
