"""The states of endpoints and deliveries, and which may follow which."""

from collections.abc import Mapping
from enum import StrEnum


class Algorithm(StrEnum):
    """How a key signs, by the names of Standard Webhooks 1.0.0."""

    V1 = "v1"  # HMAC-SHA256 with a shared secret
    V1A = "v1a"  # ed25519: the receiver needs the public key only


class Signing(StrEnum):
    """Whose keys sign what an endpoint gets."""

    OWN = "own"
    TEAM = "team"


class Payload(StrEnum):
    """How much the body of an event about a job says."""

    THIN = "thin"  # ids, status, links
    FULL = "full"  # also the job's input, output and error


class Order(StrEnum):
    """Within what deliveries of an endpoint keep their order: one is sent only when those before it have ended."""

    ENDPOINT = "endpoint"
    JOB = "job"
    PROJECT = "project"


class EndpointState(StrEnum):
    """An endpoint. Paused and disabled ones hold their deliveries; nothing is lost."""

    ACTIVE = "active"  # from: creation, resume
    PAUSED = "paused"  # by its owner
    DISABLED = "disabled"  # by a 410 of the receiver, or days without success; resume by its owner


class DeliveryState(StrEnum):
    """A delivery: one event for one endpoint."""

    PENDING = "pending"  # due at next_attempt_at; from: creation, settle (retry), lost lease, resume, re-send
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
    # A re-send is the same delivery again, with the id that the receiver knows.
    DeliveryState.SUCCEEDED: frozenset({DeliveryState.PENDING, DeliveryState.HELD}),
    DeliveryState.EXHAUSTED: frozenset({DeliveryState.PENDING, DeliveryState.HELD}),
    DeliveryState.CANCELLED: frozenset(),
}

DELIVERY_ENDED = frozenset({DeliveryState.SUCCEEDED, DeliveryState.EXHAUSTED, DeliveryState.CANCELLED})
