"""What the dispatcher does for webhook deliveries: the backstop of rings and of senders that died."""

import time

from agora import broker
from agora.db.session import transaction
from agora.webhooks import delivery_queries

SLICE = 500
LOST_LEASE_LIMIT = 20
"""A delivery whose sender is lost so often is given up: something about it kills senders."""
MARK_SECONDS = 5.0
MARK_MOST = 5_000
LATE_SECONDS = 0.2
"""A sender that lives has by then seen for itself what is due."""
RING_SECONDS = 1.0

_last = {"marked": float("-inf"), "rung": float("-inf")}


def tend_deliveries() -> int:
    """Take deliveries back from lost senders, correct what endpoints say is due, and ring when something is late."""
    with transaction() as session:
        returned = delivery_queries.return_lost(session, slice_=SLICE, limit=LOST_LEASE_LIMIT)
    moment = time.monotonic()
    if returned or moment - _last["marked"] >= MARK_SECONDS:
        _last["marked"] = moment
        with transaction() as session:
            delivery_queries.mark_due(session, most=MARK_MOST)
    if moment - _last["rung"] >= RING_SECONDS:
        with transaction() as session:
            due = delivery_queries.next_due(session)
        if due is not None and due < -LATE_SECONDS:
            _last["rung"] = moment
            broker.ring_deliveries()
    return returned
