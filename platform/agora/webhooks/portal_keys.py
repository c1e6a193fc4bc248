"""What the holder of a portal link may do with an endpoint's signing keys."""

from dataclasses import dataclass

from agora.webhooks import keys
from agora.webhooks.portal_links import PortalLink
from agora.webhooks.portal_scope import get_endpoint, get_writable, note
from agora.webhooks.states import Algorithm
from agora.webhooks.types import CreatedKey, Key


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A key that was just made. ``secret`` is shown this once; a v1a key has none to show, its public key verifies."""

    endpoint_id: str
    key_id: str | None
    secret: str | None


def list_keys(link: PortalLink, endpoint_id: str) -> list[Key]:
    """The keys that sign what an endpoint gets, newest first. Raises NotFound."""
    get_endpoint(link, endpoint_id)
    return keys.list_keys(endpoint_id, team_id=link.team_id)


def add_key(link: PortalLink, endpoint_id: str, *, algorithm: str) -> NewKey:
    """Let one more key sign. Raises Forbidden, NotFound, Invalid, Conflict."""
    get_writable(link, endpoint_id)
    made = keys.add_key(endpoint_id, team_id=link.team_id, algorithm=algorithm)
    note(link, "add key", endpoint_id)
    return _new_key(endpoint_id, made)


def rotate_key(link: PortalLink, endpoint_id: str, *, algorithm: str, overlap: float) -> NewKey:
    """A new key; the old ones of its algorithm sign for ``overlap`` seconds more. Raises as add_key does."""
    get_writable(link, endpoint_id)
    made = keys.rotate_key(endpoint_id, team_id=link.team_id, algorithm=algorithm, overlap=overlap)
    note(link, "rotate key", endpoint_id)
    return _new_key(endpoint_id, made)


def _new_key(endpoint_id: str, made: CreatedKey) -> NewKey:
    secret = made.secret if made.key.algorithm == Algorithm.V1 else None
    return NewKey(endpoint_id=endpoint_id, key_id=made.key.id, secret=secret)


def revoke_key(link: PortalLink, endpoint_id: str, key_id: str) -> None:
    """Let a key sign no more. Raises Forbidden, NotFound, Conflict."""
    get_writable(link, endpoint_id)
    keys.revoke_key(endpoint_id, key_id, team_id=link.team_id)
    note(link, "revoke key", endpoint_id)
