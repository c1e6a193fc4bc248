"""From how tries went to what is written about them: the deliveries, their attempts, and their endpoints."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.clock import now
from agora.db.session import transaction
from agora.ids import new_id
from agora.settings import get_settings
from agora.webhooks import breaker, delivery_queries, notices, order_queries, schedule
from agora.webhooks.breaker import Told, Verdict
from agora.webhooks.notices import Notice
from agora.webhooks.schedule import Outcome
from agora.webhooks.sender import Try
from agora.webhooks.states import DELIVERY_ENDED, DeliveryState, EndpointState

DAY = 24 * 3600.0
GONE_REASON = "the receiver answered 410 Gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """A delivery that this process may send until its lease ends; ``pauses`` is the schedule that holds for it."""

    id: str
    team_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    job_id: str | None
    body: str = field(repr=False)
    full_payload: bool
    order_key: str | None
    attempt: int
    earlier_attempts: int
    token: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    keys: Sequence[str] = field(repr=False)
    pauses: Sequence[float]
    inline: bool
    uid: str | None
    failing: bool
    """The last try for its endpoint found nobody."""

    @classmethod
    def of(cls, row: RowMapping, default: Sequence[float]) -> "Leased":
        """A claimed row; ``default`` is the platform's schedule."""
        return cls(
            id=row["id"], team_id=row["team_id"], endpoint_id=row["endpoint_id"], event_id=row["event_id"],
            event_type=row["event_type"], job_id=row["job_id"], body=row["body"], full_payload=row["full_payload"],
            order_key=row["order_key"], attempt=row["attempt"],
            earlier_attempts=row["earlier_attempts"], token=row["lease_token"], url=row["url"],
            headers=row["headers"], keys=row["keys"], pauses=row["schedule"] or default,
            inline=row["kind"] == "inline", uid=row["uid"],
            failing=row["failing"],
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
    if outcome is Outcome.GONE and not delivery.inline:
        # A disabled endpoint's deliveries are held for the day its owner enables it again. One whose schedule is spent
        # then gets one more try.
        return DeliveryState.HELD, pause or 0.0
    if pause is None or outcome is Outcome.GONE:
        return DeliveryState.EXHAUSTED, None
    return DeliveryState.PENDING, pause


def row_of(ended: Ended, state: DeliveryState, pause: float | None) -> dict[str, Any]:
    """The values that the settling statement takes."""
    delivery, attempt = ended.delivery, ended.attempt
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


def note_of(endpoint: Mapping[str, Any], verdict: Verdict, *, disable_days: float) -> dict[str, Any]:
    """The values that the statement about endpoints takes; ``disabled`` is why, if it is."""
    reason = GONE_REASON if verdict.gone and endpoint["status"] != EndpointState.DISABLED else None
    if verdict.warn == 100:  # noqa: PLR2004  # all of the time has gone by
        reason = f"no delivery succeeded for {disable_days:g} days"
    return {
        "id": endpoint["id"], "failures": verdict.failures, "allowance": verdict.allowance, "tries": verdict.tries,
        "failed": verdict.failed, "since": verdict.since.isoformat(), "rest": verdict.rest,
        "delivered": verdict.delivered, "healthy": verdict.healthy, "warn": 100 if reason else verdict.warn or 0,
        "disabled": reason,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What came of settling: how many leases were still ours, whether to ring, and keys whose order goes on."""

    count: int
    ring: bool
    keys: frozenset[tuple[str, str]] = frozenset()


def settle(batch: Sequence[Ended]) -> Settled:
    """Write a batch of ended tries in one transaction, each guarded by its lease."""
    decided = [(one, *decide(one)) for one in batch]
    with transaction() as session:
        endpoints = delivery_queries.lock_endpoints(session, ids={one.delivery.endpoint_id for one in batch})
        ours = delivery_queries.settle(session, rows=[row_of(*one) for one in decided])
        decided = [one for one in decided if one[0].delivery.id in ours]
        keys = frozenset(
            (one.delivery.endpoint_id, one.delivery.order_key)
            for one, state, _ in decided
            if one.delivery.order_key is not None and state in DELIVERY_ENDED
        )
        order_queries.promote(session, keys=keys)
        found = _note(session, endpoints, [one for one, _, _ in decided])
        found += _given_up(decided)
        ring = notices.record(session, found) if found else False
    return Settled(count=len(ours), ring=ring, keys=keys)


def _note(session: Session, endpoints: Mapping[str, Mapping[str, Any]], batch: Sequence[Ended]) -> list[Notice]:
    """Write what the tries tell about their endpoints, but for those deleted meanwhile; what to tell their teams."""
    told: dict[str, list[Ended]] = {}
    for one in batch:
        if one.delivery.endpoint_id in endpoints:
            told.setdefault(one.delivery.endpoint_id, []).append(one)
    days, moment = get_settings().webhook_disable_days, now()
    notes, found = [], []
    for endpoint_id, tries in told.items():
        endpoint = endpoints[endpoint_id]
        outcomes = [Told(outcome=one.outcome, retry_after=one.retry_after) for one in tries]
        verdict = breaker.judge(endpoint, outcomes, moment, disable_after=days * DAY)
        notes.append(note_of(endpoint, verdict, disable_days=days))
        found += _told(endpoint, verdict, notes[-1]["disabled"], tries[-1])
    if notes:
        delivery_queries.note_endpoints(session, notes=notes)
    return found


def _told(endpoint: Mapping[str, Any], verdict: Verdict, disabled: str | None, last: Ended) -> list[Notice]:
    if endpoint["kind"] != "endpoint":
        return []
    if disabled is not None:
        return [notices.disabled(endpoint, notices.GONE if verdict.gone else notices.FAILING, disabled)]
    if verdict.recovered:
        return [notices.recovered(endpoint)]
    if verdict.warn is not None:
        after = get_settings().webhook_disable_days * DAY
        return [notices.failing(endpoint, verdict.warn, last.attempt.error, disable_after=after)]
    return []


def _given_up(decided: Sequence[tuple[Ended, DeliveryState, float | None]]) -> list[Notice]:
    found = (
        notices.exhausted(one.delivery, last_status_code=one.attempt.status, last_error=one.attempt.error)
        for one, state, _ in decided
        if state is DeliveryState.EXHAUSTED
    )
    return [notice for notice in found if notice is not None]
