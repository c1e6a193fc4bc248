"""What the dispatcher does for identity: it sends mails, and removes what ended long ago."""

from agora.db.session import transaction
from agora.identity import mail, user_queries

KEPT_DAYS = 90
SLICE = 500


def send_mails() -> int:
    """Send what is due; how many mails."""
    return mail.send_posted()


def forget_ended() -> int:
    """Remove sessions, tokens and invitations that ended a quarter of a year ago; how many."""
    with transaction("auth") as session:
        return user_queries.forget_ended(session, days=KEPT_DAYS, slice_=SLICE)
