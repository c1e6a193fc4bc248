"""What teams do with webhooks: endpoints, deliveries, tests. API handlers and the CLI's back end call only this."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agora import broker
from agora.audit import service as audit
from agora.clock import now
from agora.db.session import transaction
from agora.editions import ANYTHING, Expected
from agora.errors import Conflict, IllegalTransition, Invalid, NotFound, invalid_field
from agora.events.catalogue import find_type
from agora.events.types import NewEvent
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import is_id, new_id
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.settings import get_settings
from agora.webhooks import key_queries, keys, queries, shapes, vault, views
from agora.webhooks.breaker import FIRST_ALLOWANCE
from agora.webhooks.models import EndpointRow
from agora.webhooks.states import DeliveryState, EndpointState, Signing
from agora.webhooks.types import (
    TEST_EVENT,
    CreatedEndpoint,
    Delivery,
    DeliveryFilter,
    Endpoint,
    InlineWebhook,
    NewEndpoint,
)

MAX_ATTEMPTS_SHOWN = 200
WARNED_BEFORE = 1
"""Of an endpoint that was resumed: its next success is a recovery, and it is warned of again from the beginning."""
INLINE_POINTER = "/webhook"


def create_endpoint(
    new: NewEndpoint, *, team_id: str, idempotency: IdempotencyKey | None = None
) -> CreatedEndpoint:  # fmt: skip
    """Make an endpoint; its secret is shown in the answer and never again, not in that to a repeat either.

    Raises:
        Invalid: names every field that is wrong.
        Conflict: the team has an endpoint with this uid.
        IdempotencyKeyReused: the key stands for another request.
    """
    fields = asdict(new)
    given, algorithm = fields.pop("secret"), fields.pop("algorithm")
    checked = _columns(shapes.check_fields(fields))
    key, endpoint_id = keys.new_key(given, algorithm), new_id("whe")
    try:
        with transaction() as session:
            known = earlier(session, idempotency, team_id=team_id, resource_id=endpoint_id)
            if known is not None:
                return CreatedEndpoint(endpoint=views.endpoint(_find(session, known, team_id=team_id)), secret=None)
            row = queries.insert_endpoint(session, team_id=team_id, id=endpoint_id, kind="endpoint", **checked)
            keys.insert(session, key, team_id=team_id, endpoint_id=row.id)
            audit.record(session, "webhook.endpoint.created", row.id, team_id=team_id, after=views.told(row))
            return CreatedEndpoint(endpoint=views.endpoint(row), secret=key.text)
    except IntegrityError as error:
        raise _uid_taken(error, new.uid) from None


def _columns(checked: dict[str, Any]) -> dict[str, Any]:
    if "headers" in checked:
        checked["headers"] = vault.seal_headers(checked["headers"])
    if "metadata" in checked:
        checked["meta"] = checked.pop("metadata")
    return checked


def _uid_taken(error: IntegrityError, uid: str | None) -> Exception:
    if "webhook_endpoints_uid_idx" in str(error.orig):
        return Conflict(f"uid {uid!r} is taken by another endpoint of this team", field="/uid")
    return error


def create_inline(session: Session, *, team_id: str, job_id: str, webhook: InlineWebhook) -> str | None:
    """Make the one-off endpoint of a job, in the transaction that submits it; returns the secret if one was made.

    Without a secret of its own, the team's keys sign for it; a team that has none gets one made for this job.

    Raises:
        Invalid: url, events or secret are not acceptable; pointers begin with ``/webhook``.
    """
    try:
        url = shapes.check_url(webhook.url)
    except Invalid as error:
        first = error.errors[0]
        raise invalid_field(INLINE_POINTER + first.pointer, first.rule, first.message, first.value) from None
    types = shapes.check_event_types(webhook.events, pointer=f"{INLINE_POINTER}/events")
    key = keys.new_key(webhook.secret, pointer=f"{INLINE_POINTER}/secret")
    by_team = webhook.secret is None and _team_signs(session, team_id=team_id)
    row = queries.insert_endpoint(
        session, team_id=team_id, id=new_id("whe"), kind="inline", job_id=job_id, url=url, event_types=types,
        signing=Signing.TEAM if by_team else Signing.OWN,
    )  # fmt: skip
    if by_team:
        return None
    keys.insert(session, key, team_id=team_id, endpoint_id=row.id)
    return key.text if webhook.secret is None else None


def _team_signs(session: Session, *, team_id: str) -> bool:
    """Whether the team has a key that signs for good; it cannot be revoked before this transaction has ended."""
    key_queries.share_team_keys(session, team_id=team_id)
    keys_ = key_queries.list_keys(session, team_id=team_id, endpoint_id=None)
    return any(one.expires_at is None for one in keys_)


def get_endpoint(ref: str, *, team_id: str) -> Endpoint:
    """An endpoint by id or uid. Raises NotFound."""
    with transaction() as session:
        return views.endpoint(_find(session, ref, team_id=team_id))


def _find(session: Session, ref: str, *, team_id: str, lock: bool = False) -> EndpointRow:
    row = queries.find_endpoint(session, team_id=team_id, ref=ref, lock=lock)
    if row is None:
        raise NotFound(f"there is no webhook endpoint {ref}")
    return row


def list_endpoints(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST, job_id: str | None = None
) -> Page[Endpoint]:
    """A page of endpoints; with ``job_id``, the inline ones of that job. Raises Invalid."""
    span = Span.of_ids("whe", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = queries.list_endpoints(session, team_id=team_id, span=span, job_id=job_id)
        return cut([views.endpoint(row) for row in rows], span)


def update_endpoint(
    ref: str, changes: Mapping[str, Any], *, team_id: str, expected: Expected = ANYTHING
) -> Endpoint:  # fmt: skip
    """Change the given fields of an endpoint, named as in NewEndpoint but for the secret.

    Raises:
        NotFound: the team has no such endpoint.
        PreconditionFailed: it is not as expected.
        Invalid: names every field that is wrong or cannot be changed.
        Conflict: the uid is taken.
    """
    columns = _columns(shapes.check_fields(changes))
    try:
        with transaction() as session:
            row = _find(session, ref, team_id=team_id, lock=True)
            expected.check(views.endpoint(row))
            before = views.told(row)
            for name, value in columns.items():
                setattr(row, name, value)
            row.updated_at = now()
            session.flush()
            after = views.told(row)
            audit.record(session, "webhook.endpoint.updated", row.id, team_id=team_id, before=before, after=after)
            return views.endpoint(row)
    except IntegrityError as error:
        raise _uid_taken(error, changes.get("uid")) from None


def delete_endpoint(ref: str, *, team_id: str, expected: Expected = ANYTHING) -> None:
    """Delete an endpoint. What it was still to get is cancelled, of many a little later; what it got stays readable.

    Raises NotFound, PreconditionFailed.
    """
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        expected.check(views.endpoint(row))
        audit.record(session, "webhook.endpoint.deleted", row.id, team_id=team_id, before=views.told(row))
        queries.delete_endpoint(session, team_id=team_id, endpoint_id=row.id)


def pause_endpoint(ref: str, *, team_id: str) -> Endpoint:
    """Send nothing to an endpoint until it is resumed; its deliveries are held.

    Raises:
        NotFound: the team has no such endpoint.
        IllegalTransition: it is disabled.
    """
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        if row.status == EndpointState.DISABLED:
            raise IllegalTransition(f"endpoint {ref} is disabled; resume it first", state=row.status)
        old, new = {"status": row.status}, {"status": EndpointState.PAUSED}
        audit.record(session, "webhook.endpoint.paused", row.id, team_id=team_id, before=old, after=new)
        row.status, row.status_reason, row.updated_at = EndpointState.PAUSED, "paused by its owner", now()
        queries.hold_pending(session, team_id=team_id, endpoint_id=row.id)
        session.flush()
        return views.endpoint(row)


def resume_endpoint(ref: str, *, team_id: str) -> Endpoint:
    """Make an endpoint active. What was held becomes pending at a pace, beside what is new. Raises NotFound."""
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        moment = now()
        old, new = {"status": row.status}, {"status": EndpointState.ACTIVE}
        audit.record(session, "webhook.endpoint.resumed", row.id, team_id=team_id, before=old, after=new)
        row.status, row.status_reason, row.updated_at = EndpointState.ACTIVE, None, moment
        row.consecutive_failures, row.open_until, row.failing_since, row.last_success_at = 0, None, None, None
        row.allowance, row.recent_since, row.warned = FIRST_ALLOWANCE, None, min(row.warned, WARNED_BEFORE)
        row.next_due_at = moment
        first = math.ceil(get_settings().webhook_drain_rate)
        row.draining = queries.release_held(session, team_id=team_id, endpoint_id=row.id, most=first) == first
        session.flush()
        found = views.endpoint(row)
    broker.ring_deliveries()
    return found


def send_test(ref: str, *, team_id: str, event_type: str | None = None) -> Delivery:
    """Send an endpoint one event, whatever its filter says: ``webhook.test``, or the catalogue's example of a type.

    Raises:
        NotFound: the team has no such endpoint.
        Invalid: there is no such event type.
        IllegalTransition: the endpoint is paused or disabled.
    """
    example = _example(event_type) if event_type not in {None, TEST_EVENT} else None
    with transaction() as session:
        row = _find(session, ref, team_id=team_id, lock=True)
        if row.status != EndpointState.ACTIVE:
            raise IllegalTransition(f"endpoint {ref} is {row.status}; resume it first", state=row.status)
        event = example or NewEvent(type=TEST_EVENT, data={"endpoint_id": row.id, "message": "This is a test event."})
        made = queries.insert_delivery(
            session, team_id=team_id, delivery_id=new_id("whd"), endpoint=row, event=event, occurred_at=now()
        )
        told = {"delivery_id": made.id, "event_type": event.type}
        audit.record(session, "webhook.endpoint.tested", row.id, team_id=team_id, after=told)
        found = views.delivery(made)
    broker.ring_deliveries()
    return found


def _example(event_type: str | None) -> NewEvent:
    try:
        payload = find_type(event_type or TEST_EVENT).payload
    except NotFound as error:
        raise invalid_field("/event_type", "event-type", str(error), event_type) from None
    return NewEvent(type=payload["type"], data=payload["data"])


def list_deliveries(
    filters: DeliveryFilter, *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST,
    attempts: bool = False,
) -> Page[Delivery]:  # fmt: skip
    """A page of deliveries, with their tries if asked for. Raises Invalid, and NotFound for the endpoint."""
    span = Span.of_ids("whd", limit=limit, cursor=cursor, sort=sort)
    unknown = [status for status in filters.statuses if status not in set(DeliveryState)]
    if unknown:
        message = f"status must be one of {', '.join(DeliveryState)}"
        raise invalid_field("/status", "enum", message, unknown[0])
    with transaction() as session:
        endpoint_id = _endpoint_id(session, filters.endpoint, team_id=team_id)
        rows = queries.list_deliveries(
            session, team_id=team_id, endpoint_id=endpoint_id, statuses=filters.statuses, job_id=filters.job_id,
            event_type=filters.event_type, span=span,
        )  # fmt: skip
        page = cut(rows, span)
        tries = queries.list_attempts_of(session, team_id=team_id, deliveries=page.items) if attempts else {}
        items = [views.delivery(row, tries.get(row.id, ())) for row in page.items]
    return Page(items=items, next_cursor=page.next_cursor)


def deliveries_of(session: Session, job_ids: Sequence[str], *, team_id: str) -> Mapping[str, Sequence[Delivery]]:
    """The newest deliveries about each job, without their tries, in the caller's transaction."""
    found: dict[str, list[Delivery]] = defaultdict(list)
    for row in queries.list_deliveries_of(session, team_id=team_id, job_ids=job_ids):
        found[row.job_id or ""].append(views.delivery(row))
    return found


def _endpoint_id(session: Session, ref: str | None, *, team_id: str) -> str | None:
    if ref is None or is_id(ref, "whe"):  # deliveries of a deleted endpoint stay readable by its id
        return ref
    return _find(session, ref, team_id=team_id).id


def get_delivery(delivery_id: str, *, team_id: str) -> Delivery:
    """A delivery with its tries. Raises NotFound."""
    with transaction() as session:
        row = queries.find_delivery(session, team_id=team_id, delivery_id=delivery_id)
        if row is None:
            raise NotFound(f"there is no webhook delivery {delivery_id}")
        attempts = queries.list_attempts(session, team_id=team_id, delivery=row, limit=MAX_ATTEMPTS_SHOWN)
        return views.delivery(row, attempts)
