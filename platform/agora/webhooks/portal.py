"""What the holder of a portal link may do: everything here is scoped by the link's team and by its scope.

What lies outside of it does not exist for them: NotFound. They name endpoints by id only, and cannot set what the team
decides: metadata, uid, filters by agent and project, headers, limits. The page shows what these functions return, so
what a customer must not see is left out here.
"""

from collections.abc import Sequence

from agora.db.session import transaction
from agora.errors import Conflict, invalid_field
from agora.events.catalogue import EVENT_TYPES
from agora.events.types import OWN_PREFIX
from agora.paging import Page, Span, cut
from agora.webhooks import portal_queries, service, views
from agora.webhooks.portal_deliveries import Recent, recent_of
from agora.webhooks.portal_keys import NewKey
from agora.webhooks.portal_links import PortalLink, labels_of, projects_of
from agora.webhooks.portal_scope import check_writable, get_writable, note
from agora.webhooks.states import Algorithm
from agora.webhooks.types import ALL_TYPES, Endpoint, NewEndpoint

MAX_ENDPOINTS = 50
"""Of one scope: each event is matched with every endpoint of the team, so a link must not make any number of them."""
ABOUT_WEBHOOKS = "webhook."
"""Events that tell of the team's endpoints, also those of other customers."""


def offered_types(link: PortalLink, endpoint: Endpoint | None = None) -> list[str]:
    """The event types to choose from: those of the catalogue, and what the team gave this endpoint besides.

    A link with a scope is not offered ``*`` and events about webhooks: they tell of other customers' endpoints.
    """
    known = [*EVENT_TYPES, f"{OWN_PREFIX}*"]
    offered = [*ALL_TYPES, *known] if link.all_endpoints else [one for one in known if not _about_webhooks(one)]
    return list(dict.fromkeys([*offered, *(endpoint.event_types if endpoint else ())]))


def _about_webhooks(pattern: str) -> bool:
    return pattern.startswith(ABOUT_WEBHOOKS)


def _check_types(link: PortalLink, chosen: Sequence[str], endpoint: Endpoint | None = None) -> None:
    refused = [one for one in chosen if one not in offered_types(link, endpoint)]
    if refused:
        message = f"event_types: {refused[0]} is not offered by this link"
        raise invalid_field("/event_types", "event-type", message, refused[0])


def list_endpoints(
    link: PortalLink, *, limit: int, cursor: str | None = None
) -> Page[tuple[Endpoint, Recent]]:  # fmt: skip
    """A page of endpoints, newest first, with how they did of late. Raises Invalid."""
    span = Span.of_ids("whe", limit=limit, cursor=cursor)
    with transaction() as session:
        rows = portal_queries.list_endpoints(session, team_id=link.team_id, scope=link.scope, span=span)
        page = cut([views.endpoint(row) for row in rows], span)
        recent = recent_of(session, link, [one.id for one in page.items])
    found = [(one, recent.get(one.id, Recent())) for one in page.items]
    return Page(items=found, next_cursor=page.next_cursor)


def create_endpoint(
    link: PortalLink, *, url: str, description: str, event_types: tuple[str, ...], algorithm: str
) -> NewKey:
    """Make an endpoint of the link's scope; its secret is in the answer, once.

    Raises:
        Forbidden: the link is for reading only.
        Invalid: names every field that is wrong.
        Conflict: the scope has as many endpoints as it may.
    """
    check_writable(link)
    _check_types(link, event_types)
    with transaction() as session:
        count = portal_queries.count_endpoints(session, team_id=link.team_id, scope=link.scope, most=MAX_ENDPOINTS)
    if count >= MAX_ENDPOINTS:
        raise Conflict(f"there are {MAX_ENDPOINTS} endpoints already, the limit of this page; delete one first")
    new = NewEndpoint(
        url=url, description=description, event_types=event_types, algorithm=algorithm, metadata=link.scope,
        projects=projects_of(link.scope), metadata_filter=labels_of(link.scope),
    )  # fmt: skip
    made = service.create_endpoint(new, team_id=link.team_id)
    note(link, "create", made.endpoint.id)
    secret = made.secret if algorithm == Algorithm.V1 else None
    return NewKey(endpoint_id=made.endpoint.id, key_id=None, secret=secret)


def update_endpoint(
    link: PortalLink, endpoint_id: str, *, url: str, description: str, event_types: tuple[str, ...]
) -> Endpoint:
    """Change an endpoint.

    Raises:
        Forbidden: the link is for reading only.
        NotFound: the link has no such endpoint.
        Invalid: names every field that is wrong. The URL of an endpoint with custom headers stays, since whoever
            receives there gets to know what the team put into them.
    """
    present = get_writable(link, endpoint_id)
    _check_types(link, event_types, present)
    if present.headers and url != present.url:
        message = "url: this endpoint is sent headers that the team set, so only the team can change where it leads"
        raise invalid_field("/url", "has-headers", message, url)
    changes = {"url": url, "description": description, "event_types": event_types}
    found = service.update_endpoint(endpoint_id, changes, team_id=link.team_id)
    note(link, "update", endpoint_id)
    return found


def pause_endpoint(link: PortalLink, endpoint_id: str) -> None:
    """Hold what comes for an endpoint. Raises Forbidden, NotFound, IllegalTransition."""
    get_writable(link, endpoint_id)
    service.pause_endpoint(endpoint_id, team_id=link.team_id)
    note(link, "pause", endpoint_id)


def resume_endpoint(link: PortalLink, endpoint_id: str) -> None:
    """Deliver to an endpoint again. Raises Forbidden, NotFound."""
    get_writable(link, endpoint_id)
    service.resume_endpoint(endpoint_id, team_id=link.team_id)
    note(link, "resume", endpoint_id)


def delete_endpoint(link: PortalLink, endpoint_id: str) -> None:
    """Delete an endpoint; its deliveries are then out of the link's reach. Raises Forbidden, NotFound."""
    get_writable(link, endpoint_id)
    service.delete_endpoint(endpoint_id, team_id=link.team_id)
    note(link, "delete", endpoint_id)


def send_test(link: PortalLink, endpoint_id: str) -> str:
    """Send a test event; the id of its delivery. Raises Forbidden, NotFound, IllegalTransition."""
    get_writable(link, endpoint_id)
    made = service.send_test(endpoint_id, team_id=link.team_id)
    note(link, "test", endpoint_id)
    return made.id
