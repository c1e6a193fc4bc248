"""The states of endpoints and deliveries, and which may follow which."""

from collections.abc import Mapping
from enum import StrEnum


class EndpointState(StrEnum):
    """An endpoint. Paused and disabled ones hold their deliveries; nothing is lost."""

    ACTIVE = "active"  # from: creation, resume
    PAUSED = "paused"  # by its owner
    DISABLED = "disabled"  # by a 410 of the receiver; resume by its owner


class DeliveryState(StrEnum):
    """A delivery: one event for one endpoint."""

    PENDING = "pending"  # due at next_attempt_at; from: creation, settle (retry), lost lease, resume
    LEASED = "leased"  # a process sends it now; from: claim
    SUCCEEDED = "succeeded"  # a 2xx; from: settle
    EXHAUSTED = "exhausted"  # the schedule is spent; from: settle, lost leases
    HELD = "held"  # the endpoint is paused or disabled; from: creation, pause, settle
    CANCELLED = "cancelled"  # the endpoint was deleted


TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.LEASED, DeliveryState.HELD, DeliveryState.CANCELLED}),
    DeliveryState.LEASED: frozenset(
        {
            DeliveryState.PENDING,
            DeliveryState.SUCCEEDED,
            DeliveryState.EXHAUSTED,
            DeliveryState.HELD,
            DeliveryState.CANCELLED,
        }
    ),
    DeliveryState.HELD: frozenset({DeliveryState.PENDING, DeliveryState.CANCELLED}),
    DeliveryState.SUCCEEDED: frozenset(),
    DeliveryState.EXHAUSTED: frozenset(),
    DeliveryState.CANCELLED: frozenset(),
}

DELIVERY_ENDED = frozenset(state for state, following in TRANSITIONS.items() if not following)
