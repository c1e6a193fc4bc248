"""From how tries went to what is written about them: the deliveries, their attempts, and their endpoints."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping

from agora.clock import now
from agora.db.session import transaction
from agora.ids import new_id
from agora.webhooks import delivery_queries, schedule
from agora.webhooks.schedule import Outcome
from agora.webhooks.sender import Try
from agora.webhooks.states import DeliveryState


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """A delivery that this process may send until its lease ends; ``pauses`` is the schedule that holds for it."""

    id: str
    team_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    body: str = field(repr=False)
    attempt: int
    token: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    pauses: Sequence[float]
    inline: bool

    @classmethod
    def of(cls, row: RowMapping, default: Sequence[float]) -> "Leased":
        """A claimed row; ``default`` is the platform's schedule."""
        return cls(
            id=row["id"], team_id=row["team_id"], endpoint_id=row["endpoint_id"], event_id=row["event_id"],
            event_type=row["event_type"], body=row["body"], attempt=row["attempt"], token=row["lease_token"],
            url=row["url"], headers=row["headers"], secrets=row["secrets"], pauses=row["schedule"] or default,
            inline=row["kind"] == "inline",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A try that has ended and is to be written."""

    delivery: Leased
    attempt: Try

    @property
    def outcome(self) -> Outcome:
        """What it came to."""
        return schedule.classify(self.attempt.status)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the receiver asked for, if it did not take the delivery."""
        if self.outcome is Outcome.DELIVERED:
            return None
        return schedule.parse_retry_after(self.attempt.retry_after, now())


def decide(ended: Ended, *, rng: Callable[[], float] = random.random) -> tuple[DeliveryState, float | None]:
    """The delivery's next state, and in how many seconds it is tried again."""
    delivery, outcome = ended.delivery, ended.outcome
    if outcome is Outcome.DELIVERED:
        return DeliveryState.SUCCEEDED, None
    pause = schedule.next_try(delivery.pauses, delivery.attempt, retry_after=ended.retry_after, rng=rng)
    if pause is None or (outcome is Outcome.GONE and delivery.inline):
        return DeliveryState.EXHAUSTED, None
    # A disabled endpoint's deliveries are held for the day its owner enables it again.
    return (DeliveryState.HELD if outcome is Outcome.GONE else DeliveryState.PENDING), pause


def row_of(ended: Ended) -> dict[str, Any]:
    """The values that the settling statement takes."""
    delivery, attempt = ended.delivery, ended.attempt
    state, pause = decide(ended)
    return {
        "delivery_id": delivery.id,
        "token": delivery.token,
        "status": state,
        "pause": pause,
        "status_code": attempt.status,
        "last_error": attempt.error,
        "attempt_id": new_id("wha"),
        "delivered": ended.outcome is Outcome.DELIVERED,
        "started_at": attempt.started_at.isoformat(),
        "duration_ms": attempt.duration_ms,
        "timings": attempt.timings,
        "error_class": attempt.error_class,
        "error": attempt.error,
        "request_headers": attempt.request_headers,
        "response_headers": attempt.response_headers,
        "response_body": attempt.response_body,
        "peer_address": attempt.peer_address,
    }


def note_of(endpoint: Mapping[str, Any] | RowMapping, tries: Iterable[Ended]) -> dict[str, Any]:
    """What the tries of one batch, in the order in which they ended, tell about their endpoint.

    While the endpoint rests, failures of tries that were under way say nothing new. Before its first rest, a burst of
    failures counts as the threshold at most: it is one outage, not many.
    """
    failures = before = endpoint["consecutive_failures"]
    delivered, gone, last, asked = False, False, None, 0.0
    for ended in tries:
        last = ended.outcome
        delivered, gone = delivered or last is Outcome.DELIVERED, gone or last is Outcome.GONE
        if not schedule.hurts_endpoint(last):
            failures, asked = 0, 0.0
        elif not endpoint["resting"]:
            failures = min(failures + 1, max(before + 1, schedule.BREAKER_THRESHOLD))
            asked = max(asked, ended.retry_after or 0.0)
    rest = schedule.rest(failures, asked) if failures and not endpoint["resting"] else None
    healthy = last is Outcome.DELIVERED
    return {
        "id": endpoint["id"], "failures": failures, "rest": rest, "delivered": delivered, "healthy": healthy,
        "gone": gone,
    }  # fmt: skip


def settle(batch: Sequence[Ended]) -> int:
    """Write a batch of ended tries in one transaction, each guarded by its lease; returns how many were still ours."""
    with transaction() as session:
        endpoints = delivery_queries.lock_endpoints(session, ids={one.delivery.endpoint_id for one in batch})
        ours = delivery_queries.settle(session, rows=[row_of(one) for one in batch])
        told: dict[str, list[Ended]] = {}
        for one in batch:
            if one.delivery.id in ours and one.delivery.endpoint_id in endpoints:
                told.setdefault(one.delivery.endpoint_id, []).append(one)
        notes = [note_of(endpoints[endpoint_id], tries) for endpoint_id, tries in told.items()]
        if notes:
            delivery_queries.note_endpoints(session, notes=notes)
    return len(ours)
