"""What lies within a portal link: endpoints of its team whose metadata contains its scope. All else does not exist."""

from sqlalchemy.orm import Session

from agora.db.session import transaction
from agora.errors import Forbidden, NotFound
from agora.ids import is_id
from agora.telemetry import get_logger
from agora.webhooks import portal_queries, views
from agora.webhooks.models import EndpointRow
from agora.webhooks.portal_links import PortalLink
from agora.webhooks.types import Endpoint

log = get_logger(__name__)


def find_row(session: Session, link: PortalLink, endpoint_id: str) -> EndpointRow:
    """The row of an endpoint, by its id only: a uid is the team's name for it. Raises NotFound."""
    row = None
    if is_id(endpoint_id, "whe"):
        row = portal_queries.find_endpoint(session, team_id=link.team_id, scope=link.scope, endpoint_id=endpoint_id)
    if row is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    return row


def get_endpoint(link: PortalLink, endpoint_id: str) -> Endpoint:
    """An endpoint. Raises NotFound."""
    with transaction() as session:
        return views.endpoint(find_row(session, link, endpoint_id))


def check_writable(link: PortalLink) -> None:
    """Refuse a link that is for reading only. Raises Forbidden."""
    if link.read_only:
        raise Forbidden("this link is for reading only")


def get_writable(link: PortalLink, endpoint_id: str) -> Endpoint:
    """An endpoint that the link may change. Raises Forbidden, NotFound."""
    check_writable(link)
    return get_endpoint(link, endpoint_id)


def note(link: PortalLink, did: str, endpoint_id: str) -> None:
    """Log what was done through a link."""
    log.info("portal", did=did, link=link.id, team=link.team_id, endpoint=endpoint_id)
