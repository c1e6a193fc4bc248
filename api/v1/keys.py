"""API keys of the caller's team."""

from collections.abc import Sequence
from typing import Any

from agora.errors import Forbidden
from agora.identity import service
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected
from api.schemas.common import Problem
from api.schemas.keys import KeyIn, KeyOut, KeyPatch, KeysOut, NewKeyOut, RotationIn
from api.versions.negotiate import version_for_new_key

blueprint = Blueprint("keys", __name__, url_prefix="/api/v1/keys", description="API keys.")


@blueprint.post("")
@scope("keys:manage")
@blueprint.arguments(KeyIn)
@blueprint.response(201, NewKeyOut)
def create_key(fields: dict[str, Any]) -> Any:
    """Make a key. Its text is shown this once. A key cannot make one that may do more than itself."""
    _check_givable(fields["scopes"])
    return service.create_key(
        team_id(), fields["name"], fields["scopes"], fields["expires_at"], fields["requests_per_minute"],
        created_by=principal().actor_id, api_version=fields["api_version"] or version_for_new_key(),
    )  # fmt: skip


def _check_givable(scopes: Sequence[str]) -> None:
    beyond = [name for name in scopes if name in service.SCOPES and not principal().may_give(name)]
    if beyond:
        raise Forbidden(f"you cannot give the scopes {', '.join(beyond)}")


@blueprint.get("")
@scope("keys:manage")
@blueprint.response(200, KeysOut)
def list_keys() -> Any:
    """List keys, newest first; never their text."""
    return {"items": service.list_keys(team_id())}


@blueprint.get("/<key_id>")
@scope("keys:manage")
@blueprint.response(200, KeyOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such key.")
def get_key(key_id: str) -> Any:
    """A key, also one that is valid no more; never its text."""
    return service.get_key(team_id(), key_id)


@blueprint.patch("/<key_id>")
@scope("keys:manage")
@blueprint.arguments(KeyPatch)
@blueprint.response(200, KeyOut)
@blueprint.guarded
@blueprint.alt_response(404, schema=Problem, description="The team has no such valid key.")
def pin_key(fields: dict[str, Any], key_id: str) -> Any:
    """Pin a key to another version of the API. Back works as well."""
    return service.pin_key(team_id(), key_id, fields["api_version"], expected=expected())


@blueprint.post("/<key_id>/rotate")
@scope("keys:manage")
@blueprint.arguments(RotationIn)
@blueprint.response(201, NewKeyOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such valid key.")
def rotate_key(fields: dict[str, Any], key_id: str) -> Any:
    """Make a key like this one, which works for `overlap_seconds` more. The text of the new one is shown this once."""
    _check_givable(service.scopes_of(team_id(), key_id))
    return service.rotate_key(team_id(), key_id, overlap=fields["overlap"], created_by=principal().actor_id)


@blueprint.delete("/<key_id>")
@scope("keys:manage")
@blueprint.guarded
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description="The team has no such valid key.")
def revoke_key(key_id: str) -> None:
    """Revoke a key: the next request with it is refused."""
    service.revoke_key(team_id(), key_id, expected=expected())
