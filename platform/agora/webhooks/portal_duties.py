"""What the dispatcher does for links to the webhook portal."""

from datetime import timedelta

from agora.clock import now
from agora.db.session import transaction
from agora.ids import floor_id
from agora.webhooks import portal_queries

KEPT_DAYS = 30
"""Since a link was made. None works for longer than a week, so its page can say for three more that it has expired."""
SLICE = 1_000


def forget_links() -> int:
    """Forget links that have long expired; their ids tell how old they are."""
    with transaction() as session:
        portal_queries.forget_links(session, before=floor_id("wpl", now() - timedelta(days=KEPT_DAYS)), limit=SLICE)
    return 0
