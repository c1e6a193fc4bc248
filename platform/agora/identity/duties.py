"""What the dispatcher does for identity: sends mails, tells teams of sign-ins, makes keys, removes what ended."""

from agora.db.session import transaction
from agora.idempotency import queries as idempotency_queries
from agora.idempotency.models import AuthIdempotencyRow
from agora.identity import access_tokens, mail, trail, user_queries

KEPT_DAYS = 90
SLICE = 500
ENTRIES = 1_000
"""What one run writes of failed sign-ins: each becomes as many entries as its user has teams."""


def send_mails() -> int:
    """Send what is due; how many mails."""
    return mail.send_posted()


def spread_entries() -> int:
    """Write failed sign-ins into the log of each team of the account; how many. The rest is for the next tick."""
    with transaction("auth") as session:
        return trail.spread(session, slice_=SLICE, most=ENTRIES)


def rotate_keys() -> int:
    """Make a new key that signs access tokens, when the newest is old enough; how many."""
    return int(access_tokens.rotate_old())


def forget_keys() -> int:
    """Forget idempotency keys of the auth database that are older than 24 hours; how many."""
    with transaction("auth") as session:
        return idempotency_queries.forget_keys(session, limit=1_000, kind=AuthIdempotencyRow)


def forget_ended() -> int:
    """Remove sessions, tokens and invitations that ended a quarter of a year ago; how many."""
    with transaction("auth") as session:
        return user_queries.forget_ended(session, days=KEPT_DAYS, slice_=SLICE)
