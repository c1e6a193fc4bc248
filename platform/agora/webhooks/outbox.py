"""What the pump does in the database: claims, looks, corrections; each a transaction, in a thread beside the loop."""

import secrets
from collections.abc import Collection, Sequence

from sqlalchemy import RowMapping

from agora.db.session import transaction
from agora.settings import get_settings
from agora.webhooks import backstop_queries, delivery_queries, full, order_queries
from agora.webhooks.settling import Leased

ENDPOINTS_PER_CLAIM = 200
MARK_MOST = 500


class Outbox:
    """The deliveries as one sender sees them, whose tries have ``timeout`` seconds."""

    def __init__(self, timeout: float) -> None:
        self._lease = delivery_queries.lease_of(timeout)
        self._marked_up_to = ""

    def claim(self, room: int, probes: int, crowded: Collection[str] = ()) -> list[Leased]:
        """Lease up to ``room`` due deliveries, with their full bodies where these are asked for.

        Up to ``probes`` of them are for endpoints whose last try found nobody. They are asked first, so that a full
        house does not keep them from recovering. Teams that are ``crowded`` get none for their in-line endpoints.
        """
        rows = list[RowMapping]()
        if probes > 0:
            rows += self._claim(min(room, probes), failing=True, crowded=crowded)
        if len(rows) < room:
            rows += self._claim(room - len(rows), failing=False, crowded=crowded)
        default = get_settings().webhook_schedule
        return full.complete([Leased.of(row, default) for row in rows])

    def _claim(self, room: int, *, failing: bool, crowded: Collection[str]) -> Sequence[RowMapping]:
        with transaction() as session:
            return delivery_queries.claim(
                session, room=room, slice_=ENDPOINTS_PER_CLAIM, token=secrets.token_hex(8), lease=self._lease,
                failing=failing, crowded=crowded,
            )  # fmt: skip

    def owns(self, delivery: Leased) -> bool:
        """Whether the lease is still ours."""
        with transaction() as session:
            return delivery_queries.owns_lease(session, delivery_id=delivery.id, token=delivery.token)

    def mark_due(self) -> int:
        """Correct what some endpoints say is due, going on where the last look ended; how many were wrong."""
        with transaction() as session:
            marked, self._marked_up_to = backstop_queries.mark_due(
                session, most=MARK_MOST, lease=self._lease, after=self._marked_up_to
            )
        return marked

    def promote(self, keys: frozenset[tuple[str, str]]) -> int:
        """Make the next of these orders due, if they wait for their turn; how many did."""
        with transaction() as session:
            promoted = order_queries.promote(session, keys=keys)
            if promoted:
                backstop_queries.wake(session, endpoint_ids=[endpoint_id for endpoint_id, _ in keys])
        return promoted

    def next_due(self, failing: bool, crowded: Collection[str] = ()) -> float | None:
        """Seconds until an endpoint should be looked at; None: nothing is pending."""
        with transaction() as session:
            return backstop_queries.next_due(session, failing=failing, crowded=crowded)

    def release(self, unsent: Sequence[Leased]) -> int:
        """Give leases back without spending a try; how many were still ours."""
        ids, tokens = [one.id for one in unsent], list({one.token for one in unsent})
        with transaction() as session:
            released = delivery_queries.release(session, ids=ids, tokens=tokens)
        with transaction() as session:
            backstop_queries.wake(session, endpoint_ids=[one.endpoint_id for one in unsent])
        return released
