"""What the dispatcher does for webhook deliveries: the backstop of rings, of senders that died, and slow work."""

import time
from dataclasses import dataclass, field

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agora import broker
from agora.db.session import transaction
from agora.settings import get_settings
from agora.telemetry import get_logger
from agora.webhooks import backstop_queries, delivery_queries, drain_queries, fan_out_queries, notices, order_queries

SLICE = 500
LOST_LEASE_LIMIT = 20
"""A delivery whose sender is lost so often is given up: something about it kills senders."""
LONGEST_WORK = 0.1
"""Seconds after which a duty that has still more to do lets the others have their turn."""
ORPHANS_MOST = 1_000
"""Endpoints that are looked at in one go for what was left open when they were deleted."""
MARK_SECONDS = 5.0
MARK_MOST = 5_000
LATE_SECONDS = 0.2
"""A sender that lives has by then seen for itself what is due."""
RING_SECONDS = 1.0
LONGEST_DRAIN = 2.0
"""Seconds of its pace that a drain catches up with at once, after a dispatcher that was away."""
EXPAND_MOST = 500
STUCK_SECONDS = 60.0
OUTAGES = (OperationalError, InterfaceError, PoolTimeout)

log = get_logger(__name__)
_last = {"marked": float("-inf"), "rung": float("-inf"), "drained": float("-inf")}


@dataclass(slots=True)
class Reached:
    """How far the sweeps have come: each looks at so many at a time, goes on there, and begins anew at the end."""

    due: str = ""
    draining: str = ""
    order: tuple[str, str] = order_queries.BEGINNING
    drained: str = ""
    drained_for: float = 0.0
    """Seconds since the round before this one began."""
    team: str = ""
    stuck: dict[str, float] = field(default_factory=dict)
    """Teams whose fan-outs are let alone until a time."""
    orphans: dict[str, str] = field(default_factory=lambda: {"pending": "", "held": ""})


reached = Reached()


def return_lost() -> int:
    """Take deliveries back from senders that died; tell of those that are given up with it; how many."""
    with transaction() as session:
        lost = backstop_queries.return_lost(session, slice_=SLICE, limit=LOST_LEASE_LIMIT)
        if lost:
            notices.record_given_up(session, lost)
            backstop_queries.wake(session, endpoint_ids=[row.endpoint_id for row in lost])
    if lost:
        broker.ring_deliveries()
    return len(lost)


def tend_deliveries() -> int:
    """Correct what endpoints say is due, whose turn it is and who drains, and ring when something is late."""
    moment, corrected = time.monotonic(), 0
    if moment - _last["marked"] >= MARK_SECONDS:
        _last["marked"] = moment
        corrected = sweep()
    if moment - _last["rung"] >= RING_SECONDS:
        with transaction() as session:
            due = backstop_queries.next_due(session)
        if due is not None and due < -LATE_SECONDS:
            _last["rung"] = moment
            broker.ring_deliveries()
    return corrected


def sweep() -> int:
    """Look at the next endpoints with something open, whatever they say of themselves; how many were wrong."""
    lease = delivery_queries.lease_of(get_settings().webhook_timeout)
    with transaction() as session:
        turned, reached.order = order_queries.promote_all(session, most=MARK_MOST, after=reached.order)
        backstop_queries.wake(session, endpoint_ids=turned)
    with transaction() as session:
        due, reached.due = backstop_queries.mark_due(session, most=MARK_MOST, lease=lease, after=reached.due)
        draining, reached.draining = drain_queries.mark_draining(session, most=MARK_MOST, after=reached.draining)
    return len(turned) + due + draining


def cancel_orphans() -> int:
    """Cancel deliveries to endpoints that are gone for good, for a while; how many."""
    end, total = time.monotonic() + LONGEST_WORK, 0
    while True:
        cancelled = sum(_cancel_some(status) for status in reached.orphans)
        total += cancelled
        if cancelled < SLICE or time.monotonic() >= end:
            return total


def _cancel_some(status: str) -> int:
    with transaction() as session:
        cancelled, reached.orphans[status] = backstop_queries.cancel_orphans(
            session, status=status, slice_=SLICE, most=ORPHANS_MOST, after=reached.orphans[status]
        )
    return cancelled


def drain_held() -> int:
    """Release what resumed endpoints still hold, at the pace of the settings; how many deliveries.

    Of many such endpoints some hundred have their turn, then the next; each gets what fits the time of a whole round.
    """
    if not reached.drained:
        moment = time.monotonic()
        reached.drained_for, _last["drained"] = min(moment - _last["drained"], LONGEST_DRAIN), moment
    most = max(1, round(get_settings().webhook_drain_rate * reached.drained_for))
    with transaction() as session:
        released, reached.drained = drain_queries.drain_held(session, slice_=SLICE, most=most, after=reached.drained)
    if released:
        broker.ring_deliveries()
    return released


def expand_fan_outs() -> int:
    """Make the deliveries of events that concern many endpoints, some hundred of a team, then of the next; how many."""
    begun, total = time.monotonic(), 0
    reached.stuck = {team_id: until for team_id, until in reached.stuck.items() if until > begun}
    idle = set(reached.stuck)
    while True:
        with transaction() as session:
            team_id = fan_out_queries.next_team(session, after=reached.team, but=idle)
        if team_id is None:
            break
        reached.team = team_id
        found, made = _expand_one(team_id)
        total += made
        if not found:
            idle.add(team_id)
        if time.monotonic() >= begun + LONGEST_WORK:
            break
    if total:
        broker.ring_deliveries()
    return total


def _expand_one(team_id: str) -> tuple[bool, int]:
    try:
        with transaction() as session:
            return fan_out_queries.expand_fan_out(session, team_id=team_id, most=EXPAND_MOST)
    except OUTAGES:
        raise
    except SQLAlchemyError:
        # What cannot be expanded keeps those behind it, which may need its order, but no other team's.
        log.exception("events for many endpoints cannot be told", team_id=team_id)
        reached.stuck[team_id] = time.monotonic() + STUCK_SECONDS
        return False, 0
