"""Links to the webhook portal: each opens some of a team's endpoints to whoever holds it, for a while.

Of a link's token, only the SHA-256 is kept: 256 random bits need no slow hash. The token is shown once.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import Invalid, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.ids import new_id
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.webhooks import portal_queries, shapes
from agora.webhooks.models import PortalLinkRow

SHORTEST_LIFE = 60
DEFAULT_LIFE = 3600
LONGEST_LIFE = 7 * 24 * 3600
MAX_LABEL = 200
MAX_SCOPE_KEYS = 10
MAX_SCOPE_TEXT = 200
PROJECT = "project_id"
"""A scope with this key is about one project: what is made through its links hears of no other."""

TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class LinkState(StrEnum):
    """Whether a link works."""

    OPEN = "open"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewLink:
    """A link to be made. ``scope``: endpoints whose metadata contains it are opened. ``expires_in`` is seconds."""

    scope: Mapping[str, Any] = field(default_factory=dict)
    all_endpoints: bool = False
    """Every endpoint of the team, now and later; only without a scope."""
    read_only: bool = False
    label: str = ""
    """Who it is for: the page shows it."""
    expires_in: int = DEFAULT_LIFE


@dataclass(frozen=True, kw_only=True, slots=True)
class PortalLink(Edited):
    """A link. An empty ``scope`` is every endpoint of the team."""

    HAPPENS: ClassVar[frozenset[str]] = frozenset({"status"})

    id: str
    team_id: str
    label: str
    scope: Mapping[str, Any]
    read_only: bool
    status: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None

    @property
    def all_endpoints(self) -> bool:
        """Whether it opens every endpoint of the team."""
        return not self.scope


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedLink:
    """A new link with its token, which is shown this once; a repeat of the request gets none."""

    link: PortalLink
    token: str | None


def create_link(
    new: NewLink, *, team_id: str, idempotency: IdempotencyKey | None = None
) -> CreatedLink:  # fmt: skip
    """Make a link.

    Raises:
        Invalid: the scope is empty although not all endpoints are asked for, or another field is not acceptable.
        IdempotencyKeyReused: the key stands for another request.
    """
    _check(new)
    link_id, token = new_id("wpl"), secrets.token_urlsafe(TOKEN_BYTES)
    with transaction() as session:
        known = earlier(session, idempotency, team_id=team_id, resource_id=link_id)
        if known is None:
            row = portal_queries.insert_link(
                session, team_id=team_id, link_id=link_id, digest=_digest(token), label=new.label, scope=new.scope,
                read_only=new.read_only, seconds=new.expires_in,
            )  # fmt: skip
            link = _view(row, live=True)
            audit.record(session, "webhook.link.created", link_id, team_id=team_id, after=_told(link))
            return CreatedLink(link=link, token=token)
    return CreatedLink(link=get_link(known, team_id=team_id), token=None)


def _check(new: NewLink) -> None:
    if new.scope and new.all_endpoints:
        message = "all_endpoints and scope exclude each other: a scope is what narrows a link down"
        raise invalid_field("/all_endpoints", "exclusive", message, new.all_endpoints)
    if not new.scope and not new.all_endpoints:
        message = "scope must name the metadata of the endpoints to open, or all_endpoints be true: {} would be all"
        raise invalid_field("/scope", "min-properties", message, {})
    _check_scope(new.scope)
    if not SHORTEST_LIFE <= new.expires_in <= LONGEST_LIFE:
        message = f"expires_in must be {SHORTEST_LIFE} to {LONGEST_LIFE} seconds"
        raise invalid_field("/expires_in", "range", message, new.expires_in)
    if len(new.label) > MAX_LABEL:
        raise invalid_field("/label", "max-length", f"label must have at most {MAX_LABEL} characters")


def _check_scope(scope: Mapping[str, Any]) -> None:
    """Plain values only: an empty object or list in a scope would be contained in every other one."""
    if len(scope) > MAX_SCOPE_KEYS:
        raise invalid_field("/scope", "max-properties", f"scope must have at most {MAX_SCOPE_KEYS} keys")
    for name, value in scope.items():
        plain = isinstance(value, bool | int | float) or (isinstance(value, str) and 0 < len(value) <= MAX_SCOPE_TEXT)
        if not plain or not 0 < len(name) <= MAX_SCOPE_TEXT:
            message = f"scope: {name} must be a number, a boolean or a text of 1 to {MAX_SCOPE_TEXT} characters"
            raise invalid_field(f"/scope/{name}", "plain-value", message, value)
    try:
        projects_of(scope)
    except Invalid:
        message = f"scope: {PROJECT} must be the id of a project"
        raise invalid_field(f"/scope/{PROJECT}", "pattern", message, scope[PROJECT]) from None


def projects_of(scope: Mapping[str, Any]) -> tuple[str, ...]:
    """The project that a scope names, as the filter of an endpoint. Raises Invalid."""
    return tuple(shapes.check_projects([scope[PROJECT]])) if PROJECT in scope else ()


def labels_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of a scope, as the filter of an endpoint: its events are about jobs with this metadata."""
    return {name: value for name, value in scope.items() if name != PROJECT}


def list_links(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[PortalLink]:  # fmt: skip
    """A page of links, with those that work no more until they are removed. Raises Invalid."""
    span = Span.of_ids("wpl", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = portal_queries.list_links(session, team_id=team_id, span=span)
        return cut([_view(row[0], live=row[1]) for row in rows], span)


def get_link(link_id: str, *, team_id: str) -> PortalLink:
    """A link. Raises NotFound."""
    with transaction() as session:
        return _found(session, link_id, team_id=team_id)


def _found(session: Session, link_id: str, *, team_id: str, lock: bool = False) -> PortalLink:
    found = portal_queries.find_link(session, team_id=team_id, link_id=link_id, lock=lock)
    if found is None:
        raise NotFound(f"there is no portal link {link_id}")
    return _view(found[0], live=found[1])


def revoke_link(link_id: str, *, team_id: str, expected: Expected = ANYTHING) -> None:
    """Let a link and the pages that it opened work no more, from now on. A repeat changes nothing.

    Raises NotFound, PreconditionFailed.
    """
    with transaction() as session:
        before = _found(session, link_id, team_id=team_id, lock=True)
        expected.check(before)
        portal_queries.revoke_link(session, team_id=team_id, link_id=link_id)
        if before.revoked_at is None:
            audit.record(session, "webhook.link.revoked", link_id, team_id=team_id, before=_told(before))


def find_by_token(token: str) -> PortalLink | None:
    """The link of a token, whatever its state; None when no link has it."""
    if not TOKEN.fullmatch(token):
        return None
    with transaction() as session:
        found = portal_queries.find_link_by_hash(session, digest=_digest(token))
        return None if found is None else _view(found[0], live=found[1])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _told(link: PortalLink) -> dict[str, Any]:
    """A link as the audit log tells of it."""
    return {
        "label": link.label, "scope": link.scope, "read_only": link.read_only, "expires_at": link.expires_at,
    }  # fmt: skip


def _view(row: PortalLinkRow, *, live: bool) -> PortalLink:
    status = LinkState.REVOKED if row.revoked_at else LinkState.OPEN if live else LinkState.EXPIRED
    return PortalLink(
        id=row.id, team_id=row.team_id, label=row.label, scope=row.scope, read_only=row.read_only, status=status,
        created_at=row.created_at, expires_at=row.expires_at, revoked_at=row.revoked_at,
    )  # fmt: skip
