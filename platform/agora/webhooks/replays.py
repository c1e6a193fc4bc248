"""Sending again: one delivery, all that failed since a time, or what a filter finds. The same ids, the same bytes.

A re-send begins an ended delivery's schedule anew, out of any order. Many at once are put in line as held deliveries,
which the dispatcher releases at the pace of a drain; so a receiver that has just come back is not run over.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from agora import broker
from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import Conflict, IllegalTransition, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import new_id
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.webhooks import queries, replay_queries, shapes, views
from agora.webhooks.models import DeliveryRow, ReplayRow
from agora.webhooks.operation_types import RECOVER, RUNNING, SENT_AGAIN, NewReplay, Replay, ReplayFilter
from agora.webhooks.states import DeliveryState
from agora.webhooks.types import Delivery

MOMENTS = ("since", "until", "ended_since")
LISTS = ("statuses", "event_types")


def resend_delivery(delivery_id: str, *, team_id: str) -> Delivery:
    """Send a delivery again, now: the same id, the same bytes, and the whole schedule anew.

    One that is pending is sent now as well, without spending its schedule. While its endpoint is not active it is held.

    Raises:
        NotFound: the team has no such delivery.
        Conflict: its endpoint was deleted.
        IllegalTransition: it is being sent just now, was cancelled, or waits for its turn in an order.
    """
    with transaction() as session:
        row = _find_delivery(session, delivery_id, team_id=team_id)
        if queries.find_endpoint(session, team_id=team_id, ref=row.endpoint_id, lock=True) is None:
            raise Conflict(f"the endpoint of delivery {delivery_id} was deleted: there is nowhere to send it")
        locked = replay_queries.lock_delivery(session, team_id=team_id, delivery_id=delivery_id)
        if locked is None:
            raise NotFound(f"there is no webhook delivery {delivery_id}")
        if locked.status == DeliveryState.LEASED:
            raise IllegalTransition(f"delivery {delivery_id} is being sent just now", state=locked.status)
        if locked.status == DeliveryState.CANCELLED:
            message = f"delivery {delivery_id} was cancelled: {locked.last_error}"
            raise IllegalTransition(message, state=locked.status, allowed=[])
        if locked.next_attempt_at is None:
            message = f"delivery {delivery_id} waits for its turn behind others of its order"
            raise IllegalTransition(message, state=locked.status)
        told = {"endpoint_id": locked.endpoint_id, "status": locked.status}
        audit.record(session, "webhook.delivery.resent", delivery_id, team_id=team_id, before=told)
        replay_queries.send_again(session, team_id=team_id, delivery=locked)
        found = views.delivery(locked)
    broker.ring_deliveries()
    return found


def _find_delivery(session: Session, delivery_id: str, *, team_id: str) -> DeliveryRow:
    row = queries.find_delivery(session, team_id=team_id, delivery_id=delivery_id)
    if row is None:
        raise NotFound(f"there is no webhook delivery {delivery_id}")
    return row


def recovery(ref: str, since: datetime) -> NewReplay:
    """A replay of every delivery to an endpoint that was given up since a time."""
    filters = ReplayFilter(statuses=(DeliveryState.EXHAUSTED,), ended_since=since)
    return NewReplay(action=RECOVER, endpoint=ref, filter=filters)


def count(new: NewReplay, *, team_id: str) -> int:
    """How many deliveries a replay would find, without making it. Raises Invalid, and NotFound for the endpoint."""
    filters = _checked(new)
    with transaction() as session:
        endpoint_id = _endpoint_id(session, new.endpoint, team_id=team_id)
        return replay_queries.count_matches(session, team_id=team_id, endpoint_id=endpoint_id, filters=filters)


def begin(new: NewReplay, *, team_id: str, idempotency: IdempotencyKey | None = None) -> tuple[Replay, bool]:
    """Begin a replay of deliveries that have ended by now; also whether this was a repeat.

    The dispatcher carries it out. Raises Invalid, IdempotencyKeyReused, and NotFound for the endpoint.
    """
    filters = _checked(new)
    replay_id = new_id("wrp")
    with transaction() as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=replay_id)
        if known is not None:
            return _shown(_find(session, known, team_id=team_id)), True
        endpoint_id = _endpoint_id(session, new.endpoint, team_id=team_id)
        row = replay_queries.insert_replay(
            session, team_id=team_id, id=replay_id, endpoint_id=endpoint_id, action=new.action,
            filter=as_json(filters),
            matched=replay_queries.count_matches(session, team_id=team_id, endpoint_id=endpoint_id, filters=filters),
        )  # fmt: skip
        told = {
            "action": row.action, "endpoint_id": endpoint_id, "filter": row.filter, "matched": row.matched,
        }  # fmt: skip
        audit.record(session, "webhook.replay.created", row.id, team_id=team_id, after=told)
        return _shown(row), False


def _checked(new: NewReplay) -> ReplayFilter:
    filters = new.filter
    if new.endpoint is None and not any(asdict(filters).values()) and not new.everything:
        message = "an empty filter finds every ended delivery of the team; say `all: true` if that is meant"
        raise invalid_field("/all", "not-empty", message)
    unknown = [status for status in filters.statuses if status not in SENT_AGAIN]
    if unknown:
        message = f"status must be one of {', '.join(SENT_AGAIN)}: what is still open needs no replay"
        raise invalid_field("/status", "enum", message, unknown[0])
    if filters.event_types:
        shapes.check_event_types(filters.event_types)
    if filters.since is not None and filters.until is not None and filters.since > filters.until:
        raise invalid_field("/until", "range", "until must not be before since", filters.until.isoformat())
    return replace(filters, statuses=filters.statuses or SENT_AGAIN)


def _endpoint_id(session: Session, ref: str | None, *, team_id: str) -> str | None:
    if ref is None:
        return None
    row = queries.find_endpoint(session, team_id=team_id, ref=ref)
    if row is None:
        raise NotFound(f"there is no webhook endpoint {ref}")
    return row.id


def as_json(filters: ReplayFilter) -> dict[str, Any]:
    """A filter as its row keeps it."""
    given = {name: value for name, value in asdict(filters).items() if value}
    return {
        name: value.isoformat() if name in MOMENTS else list(value) if name in LISTS else value
        for name, value in given.items()
    }


def from_json(kept: Mapping[str, Any]) -> ReplayFilter:
    """The filter that a row keeps."""
    given = dict(kept)
    given |= {name: datetime.fromisoformat(given[name]) for name in MOMENTS if name in given}
    given |= {name: tuple(given[name]) for name in LISTS if name in given}
    return ReplayFilter(**given)


def get_replay(replay_id: str, *, team_id: str) -> Replay:
    """A replay and how far it has come. Raises NotFound."""
    with transaction() as session:
        return _shown(_find(session, replay_id, team_id=team_id))


def list_replays(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[Replay]:  # fmt: skip
    """A page of replays. Raises Invalid for a cursor that is none."""
    span = Span.of_ids("wrp", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = replay_queries.list_replays(session, team_id=team_id, span=span)
        return cut([_shown(row) for row in rows], span)


def cancel_replay(replay_id: str, *, team_id: str) -> Replay:
    """Stop a replay; what it has put in line is sent.

    Raises:
        NotFound: the team has no such replay.
        IllegalTransition: it has ended.
    """
    with transaction() as session:
        row = _find(session, replay_id, team_id=team_id, lock=True)
        if row.status != RUNNING:
            raise IllegalTransition(f"replay {replay_id} is {row.status}", state=row.status, allowed=[])
        told = {"status": row.status, "done": row.done}
        audit.record(session, "webhook.replay.cancelled", replay_id, team_id=team_id, before=told)
        replay_queries.end(session, replay=row)
        return _shown(row)


def _find(session: Session, replay_id: str, *, team_id: str, lock: bool = False) -> ReplayRow:
    row = replay_queries.find_replay(session, team_id=team_id, replay_id=replay_id, lock=lock)
    if row is None:
        raise NotFound(f"there is no replay {replay_id}")
    return row


def _shown(row: ReplayRow) -> Replay:
    running = row.status == RUNNING
    return Replay(
        id=row.id, team_id=row.team_id, endpoint_id=row.endpoint_id, action=row.action, filter=row.filter,
        status=row.status, matched=row.matched, done=row.done, skipped=row.skipped,
        remaining=max(0, row.matched - row.done) if running else 0,
        progress=min(1.0, row.done / row.matched) if running and row.matched else float(not running),
        created_at=row.created_at, ended_at=row.ended_at,
    )  # fmt: skip
