"""What the holder of a portal link sees of deliveries: how endpoints do, what they got, and every try."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.db.session import transaction
from agora.errors import NotFound
from agora.ids import is_id, month_id
from agora.paging import Page
from agora.webhooks import portal_queries, queries, replays, service, stats, views
from agora.webhooks.models import AttemptRow
from agora.webhooks.operation_types import Replay, Stats
from agora.webhooks.portal_links import PortalLink
from agora.webhooks.portal_scope import check_writable, get_endpoint, get_writable, note
from agora.webhooks.service import MAX_ATTEMPTS_SHOWN
from agora.webhooks.types import Delivery, DeliveryFilter, Endpoint

RECENT = 100
WEEK = 7 * 24 * 3600.0
REFUSED = "egress-refused"
NOT_ALLOWED = "the name or address of this URL may not be called from here"
"""Instead of the guard's own words: they name the address, which a customer could not look up from outside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """How an endpoint did of late: of its newest 100 deliveries. ``last_error`` is that of the newest with one."""

    succeeded: int = 0
    ended: int = 0
    waiting: int = 0
    failed_id: str | None = None
    failed_at: datetime | None = None
    last_error: str | None = None


def get_stats(link: PortalLink, endpoint_id: str) -> Stats:
    """How one endpoint does, over the last seven days. Raises NotFound."""
    get_endpoint(link, endpoint_id)
    found = stats.endpoint_stats(endpoint_id, team_id=link.team_id, window=WEEK)
    last = found.last_failure
    shown = replace(last, error=words_of(last.error_class, last.error)) if last else None
    return replace(found, last_failure=shown)


def recent_of(session: Session, link: PortalLink, endpoint_ids: Sequence[str]) -> Mapping[str, Recent]:
    """How endpoints did of late, by id."""
    rows = portal_queries.list_recent(session, team_id=link.team_id, endpoint_ids=endpoint_ids, most=RECENT)
    failed = [(row["failed_id"], row["failed_created_at"]) for row in rows if row["failed_id"]]
    attempts = _failed_attempts(session, link, failed)
    return {row["endpoint_id"]: _one_recent(row, attempts.get(row["failed_id"])) for row in rows}


def _one_recent(row: RowMapping, attempt: AttemptRow | None) -> Recent:
    return Recent(
        succeeded=row["succeeded"], ended=row["ended"], waiting=row["waiting"], failed_id=row["failed_id"],
        failed_at=attempt.started_at if attempt else row["failed_created_at"],
        last_error=words_of(attempt.error_class, attempt.error) if attempt else None,
    )  # fmt: skip


def _failed_attempts(
    session: Session, link: PortalLink, deliveries: Sequence[tuple[str, datetime]]
) -> Mapping[str, AttemptRow]:
    if not deliveries:
        return {}
    after = month_id("wha", min(created_at for _, created_at in deliveries))
    ids = [delivery_id for delivery_id, _ in deliveries]
    return portal_queries.list_failed_attempts(session, team_id=link.team_id, delivery_ids=ids, after=after)


def words_of(error_class: str | None, error: str | None) -> str | None:
    """What a customer is told of an error."""
    return NOT_ALLOWED if error_class == REFUSED else error


def list_deliveries(
    link: PortalLink, endpoint_id: str, *, status: str | None = None, limit: int, cursor: str | None = None
) -> Page[Delivery]:
    """A page of an endpoint's deliveries, newest first; ``last_error`` is the class of its last failed try.

    Raises:
        NotFound: the link has no such endpoint.
        Invalid: the status or the cursor is none.
    """
    get_endpoint(link, endpoint_id)
    filters = DeliveryFilter(endpoint=endpoint_id, statuses=(status,) if status else ())
    page = service.list_deliveries(filters, team_id=link.team_id, limit=limit, cursor=cursor)
    failed = [(one.id, one.created_at) for one in page.items if one.last_error is not None]
    with transaction() as session:
        attempts = _failed_attempts(session, link, failed)
    classes = {name: attempt.error_class for name, attempt in attempts.items()}
    return Page(
        items=[replace(one, last_error=classes.get(one.id)) for one in page.items], next_cursor=page.next_cursor
    )


def get_delivery(link: PortalLink, delivery_id: str) -> tuple[Endpoint, Delivery]:
    """A delivery with its tries, and its endpoint. Raises NotFound, also when the endpoint is not the link's."""
    with transaction() as session:
        row = None
        if is_id(delivery_id, "whd"):
            row = queries.find_delivery(session, team_id=link.team_id, delivery_id=delivery_id)
        if row is None:
            raise NotFound(f"there is no webhook delivery {delivery_id}")
        owner = portal_queries.find_endpoint(
            session, team_id=link.team_id, scope=link.scope, endpoint_id=row.endpoint_id
        )
        if owner is None:
            raise NotFound(f"there is no webhook delivery {delivery_id}")
        tries = queries.list_attempts(session, team_id=link.team_id, delivery=row, limit=MAX_ATTEMPTS_SHOWN)
        found = views.delivery(row, tries)
    shown = [replace(one, error=words_of(one.error_class, one.error)) for one in found.attempts]
    return views.endpoint(owner), replace(found, attempts=shown, last_error=None)


def resend(link: PortalLink, delivery_id: str) -> None:
    """Send a delivery again. Raises Forbidden, NotFound, Conflict, IllegalTransition."""
    check_writable(link)
    endpoint, _ = get_delivery(link, delivery_id)
    replays.resend_delivery(delivery_id, team_id=link.team_id)
    note(link, "resend", endpoint.id)


def count_failed(link: PortalLink, endpoint_id: str, since: datetime) -> int:
    """How many deliveries to an endpoint were given up since a time. Raises NotFound."""
    get_endpoint(link, endpoint_id)
    return replays.count(replays.recovery(endpoint_id, since), team_id=link.team_id)


def recover(link: PortalLink, endpoint_id: str, since: datetime) -> str:
    """Send again what was given up since a time; the id of the replay that does so. Raises Forbidden, NotFound."""
    get_writable(link, endpoint_id)
    made, _ = replays.begin(replays.recovery(endpoint_id, since), team_id=link.team_id)
    note(link, "recover", endpoint_id)
    return made.id


def get_replay(link: PortalLink, replay_id: str) -> tuple[Endpoint, Replay]:
    """A replay of one endpoint, and that endpoint. Raises NotFound."""
    found = replays.get_replay(replay_id, team_id=link.team_id) if is_id(replay_id, "wrp") else None
    if found is None or found.endpoint_id is None:
        raise NotFound(f"there is no replay {replay_id}")
    return get_endpoint(link, found.endpoint_id), found
