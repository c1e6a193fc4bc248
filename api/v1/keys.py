"""API keys of the caller's team."""

from typing import Any

from agora.errors import Forbidden
from agora.identity import service
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.keys import KeyIn, KeysOut, NewKeyOut

blueprint = Blueprint("keys", __name__, url_prefix="/api/v1/keys", description="API keys.")


@blueprint.post("")
@scope("keys:manage")
@blueprint.arguments(KeyIn)
@blueprint.response(201, NewKeyOut)
def create_key(fields: dict[str, Any]) -> Any:
    """Make a key. Its text is shown this once. A key cannot make one that may do more than itself."""
    beyond = [name for name in fields["scopes"] if not principal().may(name)]
    if beyond:
        raise Forbidden(f"this key cannot give the scopes {', '.join(beyond)}")
    return service.create_key(team_id(), fields["name"], fields["scopes"], fields["expires_at"])


@blueprint.get("")
@scope("keys:manage")
@blueprint.response(200, KeysOut)
def list_keys() -> Any:
    """List keys, newest first; never their text."""
    return {"items": service.list_keys(team_id())}


@blueprint.delete("/<key_id>")
@scope("keys:manage")
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description="The team has no such valid key.")
def revoke_key(key_id: str) -> None:
    """Revoke a key. Web processes that checked it just now may take it for a few seconds more."""
    service.revoke_key(team_id(), key_id)
