"""Events about webhooks themselves: an endpoint fails, is disabled, is well again; a delivery was given up.

They go to the team's other endpoints, recorded in the transaction that settles. A delivery of such an event that is
given up makes no further event: else two dead endpoints would tell each other for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from agora.events.queries import add_events
from agora.events.types import NewEvent
from agora.webhooks.fan_out_queries import Happened, fan_out_all
from agora.webhooks.states import DeliveryState

OWN_PREFIX = "webhook."
GONE = "gone"
FAILING = "failing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """An event for a team, and the endpoint that it is about, which is not told."""

    team_id: str
    event: NewEvent
    about: str


def endpoint_notice(kind: str, endpoint: Mapping[str, Any], **more: Any) -> Notice:
    """An event about an endpoint, of which the columns of its row are given."""
    data = {
        "endpoint_id": endpoint["id"],
        "uid": endpoint["uid"],
        "url": endpoint["url"],
        **more,
        "links": {"self": f"/api/v1/webhook-endpoints/{endpoint['id']}"},
    }
    return Notice(team_id=endpoint["team_id"], event=NewEvent(type=kind, data=data), about=endpoint["id"])


def failing(endpoint: Mapping[str, Any], per_cent: int, last_error: str | None, *, disable_after: float) -> Notice:
    """``webhook.endpoint.failing``: so much of the time after which it is disabled has gone by without success."""
    since: datetime = endpoint["failing_since"]
    return endpoint_notice(
        "webhook.endpoint.failing", endpoint, failing_since=_moment(since), share=per_cent / 100,
        disabled_at=_moment(since + timedelta(seconds=disable_after)), last_error=last_error,
    )  # fmt: skip


def disabled(endpoint: Mapping[str, Any], reason: str, detail: str) -> Notice:
    """``webhook.endpoint.disabled``: it gets nothing until it is resumed."""
    since = endpoint["failing_since"]
    return endpoint_notice(
        "webhook.endpoint.disabled", endpoint, reason=reason, detail=detail,
        failing_since=_moment(since) if since else None,
    )  # fmt: skip


def recovered(endpoint: Mapping[str, Any]) -> Notice:
    """``webhook.endpoint.recovered``: it took a delivery after a warning, or after it was disabled."""
    since = endpoint["failing_since"]
    return endpoint_notice(
        "webhook.endpoint.recovered", endpoint, failing_since=_moment(since) if since else None
    )  # fmt: skip


def exhausted(delivery: Any, *, last_status_code: int | None, last_error: str | None) -> Notice | None:
    """``webhook.delivery.exhausted``: its schedule is spent. None for a delivery of an event about webhooks."""
    if delivery.event_type.startswith(OWN_PREFIX):
        return None
    data = {
        "delivery_id": delivery.id,
        "endpoint_id": delivery.endpoint_id,
        "uid": delivery.uid,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "attempts": delivery.earlier_attempts + delivery.attempt,
        "last_status_code": last_status_code,
        "last_error": last_error,
        "links": {"self": f"/api/v1/webhook-deliveries/{delivery.id}"},
    }
    event = NewEvent(type="webhook.delivery.exhausted", data=data)
    return Notice(team_id=delivery.team_id, event=event, about=delivery.endpoint_id)


def record_given_up(session: Session, lost: Sequence[Any]) -> None:
    """Tell of deliveries that are given up because their senders died each time; ``lost`` are all taken back now."""
    found = (
        exhausted(row, last_status_code=row.last_status_code, last_error=row.last_error)
        for row in lost
        if row.status == DeliveryState.EXHAUSTED
    )
    record(session, [notice for notice in found if notice is not None])


def record(session: Session, notices: Sequence[Notice]) -> bool:
    """Record notices with their deliveries. True: ring after the commit."""
    told: dict[str, list[Notice]] = {}
    for one in notices:
        told.setdefault(one.team_id, []).append(one)
    ring = False
    for team_id, found in told.items():
        occurred_at = add_events(session, team_id=team_id, events=[one.event for one in found])["occurred_at"]
        happened = [Happened(event=one.event, skip=one.about) for one in found]
        ring |= fan_out_all(session, team_id=team_id, happened=happened, occurred_at=occurred_at)
    return ring


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
