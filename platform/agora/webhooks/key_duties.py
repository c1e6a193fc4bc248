"""What the dispatcher does for signing keys of webhooks."""

from agora.db.session import transaction
from agora.webhooks import key_queries

KEPT_DAYS = 30
"""Since a key signed last. So long it can still be told from one that never was."""
LOOKED_AT = 5_000

_reached = {"key": ""}


def forget_expired_keys() -> int:
    """Forget keys that have long expired, of the next ones; it begins anew at the end."""
    with transaction() as session:
        _, _reached["key"] = key_queries.forget_expired(session, after=_reached["key"], days=KEPT_DAYS, most=LOOKED_AT)
    return 0
