"""What the dispatcher does for webhook deliveries: the backstop of rings, of senders that died, and slow work."""

import time

from agora import broker
from agora.db.session import transaction
from agora.settings import get_settings
from agora.webhooks import delivery_queries, drain_queries, fan_out_queries, order_queries

SLICE = 500
LOST_LEASE_LIMIT = 20
"""A delivery whose sender is lost so often is given up: something about it kills senders."""
MARK_SECONDS = 5.0
MARK_MOST = 5_000
LATE_SECONDS = 0.2
"""A sender that lives has by then seen for itself what is due."""
RING_SECONDS = 1.0
LONGEST_DRAIN = 2.0
"""Seconds of its pace that a drain catches up with at once, after a dispatcher that was away."""
EXPAND_ENDPOINTS = 500
EXPAND_ROUNDS = 20

_last = {"marked": float("-inf"), "rung": float("-inf"), "drained": float("-inf")}


def tend_deliveries() -> int:
    """Take deliveries back from lost senders, correct what endpoints say is due, and ring when something is late."""
    with transaction() as session:
        returned = delivery_queries.return_lost(session, slice_=SLICE, limit=LOST_LEASE_LIMIT)
    moment = time.monotonic()
    if returned or moment - _last["marked"] >= MARK_SECONDS:
        _last["marked"] = moment
        with transaction() as session:
            order_queries.promote_all(session, most=MARK_MOST)
            delivery_queries.mark_due(session, most=MARK_MOST)
            drain_queries.mark_draining(session, most=MARK_MOST)
    if moment - _last["rung"] >= RING_SECONDS:
        with transaction() as session:
            due = delivery_queries.next_due(session)
        if due is not None and due < -LATE_SECONDS:
            _last["rung"] = moment
            broker.ring_deliveries()
    return returned


def cancel_orphans() -> int:
    """Cancel deliveries to endpoints that were deleted while their event was being recorded; how many."""
    with transaction() as session:
        return delivery_queries.cancel_orphans(session, slice_=SLICE)


def drain_held() -> int:
    """Release what resumed endpoints still hold, at the pace of the settings; how many deliveries."""
    moment = time.monotonic()
    elapsed = min(moment - _last["drained"], LONGEST_DRAIN)
    _last["drained"] = moment
    most = max(1, round(get_settings().webhook_drain_rate * elapsed))
    with transaction() as session:
        released = drain_queries.drain_held(session, slice_=SLICE, most=most)
    if released:
        broker.ring_deliveries()
    return released


def expand_fan_outs() -> int:
    """Make the deliveries of events that concern many endpoints, some hundred endpoints at a time; how many."""
    total = 0
    for _ in range(EXPAND_ROUNDS):
        with transaction() as session:
            found, made = fan_out_queries.expand_fan_out(session, slice_=EXPAND_ENDPOINTS)
        if not found:
            break
        total += made
    if total:
        broker.ring_deliveries()
    return total
