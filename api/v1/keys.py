"""API keys of the caller's team."""

from typing import Any

from flask import Response, json

from agora.identity import service
from agora.identity.service import ApiKey
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected, note
from api.idempotency import idempotency_key, mark_replayed
from api.schemas.common import Problem
from api.schemas.keys import KeyIn, KeyOut, KeyPatch, KeysOut, NewKeyOut, RotationIn
from api.versions.negotiate import version_for_new_key

blueprint = Blueprint("keys", __name__, url_prefix="/api/v1/keys", description="API keys.")
CREATED = 201

_new = NewKeyOut()


@blueprint.post("")
@scope("keys:manage")
@blueprint.arguments(KeyIn)
@blueprint.response(CREATED, NewKeyOut)
def create_key(fields: dict[str, Any]) -> Response:
    """Make a key. Its text is shown this once. A key cannot make one that may do more than itself."""
    made = service.create_key(
        team_id(), fields["name"], fields["scopes"], fields["expires_at"], fields["requests_per_minute"],
        created_by=principal().actor_id, api_version=fields["api_version"] or version_for_new_key(),
        idempotency=idempotency_key("POST /api/v1/keys"),
    )  # fmt: skip
    return _shown(made)


def _shown(made: ApiKey) -> Response:
    """A key that was just made; in the answer to a repeat it has no text, which nobody knows any more."""
    note(made)
    shown = _new.dump(made)
    if made.plain is None:
        del shown["secret"]
    answer = Response(json.dumps(shown), status=CREATED, content_type="application/json")
    return mark_replayed(answer, made.plain is None)


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
@blueprint.response(CREATED, NewKeyOut)
@blueprint.alt_response(404, schema=Problem, description="The team has no such valid key.")
def rotate_key(fields: dict[str, Any], key_id: str) -> Response:
    """Make a key like this one, which works for `overlap_seconds` more. The text of the new one is shown this once."""
    made = service.rotate_key(
        team_id(), key_id, created_by=principal().actor_id, idempotency=idempotency_key(f"POST rotation of {key_id}"),
        **fields,
    )  # fmt: skip
    return _shown(made)


@blueprint.delete("/<key_id>")
@scope("keys:manage")
@blueprint.guarded
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description="The team has no such valid key.")
def revoke_key(key_id: str) -> None:
    """Revoke a key: the next request with it is refused."""
    service.revoke_key(team_id(), key_id, expected=expected())
