"""What the dispatcher does for replays: a slice of one of them at a time, and forgetting old ones.

A slice is one transaction, together with the note how far it came. A kill at any point repeats nothing; another
dispatcher passes over a replay that one is at.
"""

from datetime import timedelta

from agora.clock import now
from agora.db.session import transaction
from agora.ids import CLOCKS, floor_id
from agora.webhooks import replay_queries
from agora.webhooks.replays import from_json

SCAN = 1_000
"""Deliveries that one tick looks at; the other duties wait for it."""
KEPT_DAYS = 30
FORGOTTEN = 1_000


def work_off() -> int:
    """Look at the next deliveries of the replay that was let alone longest; returns at least 1 while there is one."""
    with transaction() as session:
        replay = replay_queries.lock_next(session)
        if replay is None:
            return 0
        filters = from_json(replay.filter)
        after, found = replay_queries.list_slice(
            session, team_id=replay.team_id, replay=replay, filters=filters, scan=SCAN
        )
        moved = 0
        if found:
            moved = replay_queries.hold_again(
                session, team_id=replay.team_id, found=found, statuses=filters.statuses, made=replay.created_at
            )
        replay_queries.advance(session, replay=replay, after=after, moved=moved)
    return moved or 1


def forget_replays() -> int:
    """Forget replays that ended long ago."""
    before = floor_id("wrp", now() - timedelta(days=KEPT_DAYS) + CLOCKS)
    with transaction() as session:
        replay_queries.forget_replays(session, before=before, days=KEPT_DAYS, limit=FORGOTTEN)
    return 0
