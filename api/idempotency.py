"""The Idempotency-Key header: a repeat of a create gets what the first one made."""

import hashlib
import re

from flask import Response, request

from agora.errors import invalid_field
from agora.idempotency.keys import IdempotencyKey

KEY = re.compile(r"[\x21-\x7e]{1,255}")
LONGEST = 200
"""Characters of a route that names a thing there is."""


def idempotency_key(route: str) -> IdempotencyKey | None:
    """The request's key on this route, with the hash of its body; None when it has none. Raises Invalid."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not KEY.fullmatch(key):
        raise invalid_field(
            "/headers/Idempotency-Key", "pattern", "Idempotency-Key must be 1 to 255 printable ASCII characters", key
        )
    if len(route) > LONGEST:  # of a path that leads to nothing; a row of the index could not hold it
        route = f"sha256 {hashlib.sha256(route.encode()).hexdigest()}"
    return IdempotencyKey(key=key, route=route, fingerprint=hashlib.sha256(request.get_data(cache=True)).hexdigest())


def mark_replayed(response: Response, replayed: bool) -> Response:
    """Say that a response is that of a repeat."""
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
