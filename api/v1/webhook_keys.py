"""Signing keys of webhook endpoints, and of the team."""

from dataclasses import asdict
from typing import Any

from flask import Response, json

from agora.webhooks import keys
from agora.webhooks.types import CreatedKey
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.idempotency import idempotency_key, mark_replayed
from api.schemas.common import Problem
from api.schemas.webhook_keys import NewWebhookKeyOut, WebhookKeyIn, WebhookKeyList, WebhookRotateIn

endpoint_keys = Blueprint(
    "webhook-endpoint-keys", __name__, url_prefix="/api/v1/webhook-endpoints/<ref>/keys",
    description="What signs the deliveries of an endpoint.",
)  # fmt: skip
team_keys = Blueprint(
    "webhook-keys", __name__, url_prefix="/api/v1/webhook-keys",
    description="What signs the webhooks of jobs that bring no secret of their own.",
)  # fmt: skip
key_rotations = Blueprint(
    "webhook-key-rotations", __name__, url_prefix="/api/v1", description="New keys in the place of old ones."
)
CREATED = 201
MISSING = "The team has no such endpoint or key."
LAST = "It is the last key that signs, there are ten already, or the team's keys sign for this endpoint."


_new = NewWebhookKeyOut()


def _shown(made: CreatedKey) -> Response:
    shown = _new.dump({**asdict(made.key), "secret": made.secret})
    return mark_replayed(
        Response(json.dumps(shown), status=CREATED, content_type="application/json"), made.secret is None
    )


@endpoint_keys.get("")
@scope("webhooks:manage")
@endpoint_keys.response(200, WebhookKeyList)
@endpoint_keys.alt_response(404, schema=Problem, description=MISSING)
def list_endpoint_keys(ref: str) -> Any:
    """List the keys that sign, newest first. A v1a key shows its public key, with which receivers verify."""
    return {"items": keys.list_keys(ref, team_id=team_id())}


@endpoint_keys.post("")
@scope("webhooks:manage")
@endpoint_keys.arguments(WebhookKeyIn, required=False)
@endpoint_keys.response(CREATED, NewWebhookKeyOut)
@endpoint_keys.alt_response(404, schema=Problem, description=MISSING)
@endpoint_keys.alt_response(409, schema=Problem, description=LAST)
@endpoint_keys.alt_response(422, schema=Problem, description="The secret is not acceptable.")
def add_endpoint_key(fields: dict[str, Any], ref: str) -> Response:
    """Let one more key sign, beside those that do. Its secret is shown this once."""
    return _shown(keys.add_key(ref, team_id=team_id(), idempotency=idempotency_key(f"POST key of {ref}"), **fields))


@key_rotations.post("/webhook-endpoints/<ref>/key-rotations")
@scope("webhooks:manage")
@key_rotations.arguments(WebhookRotateIn, required=False)
@key_rotations.response(CREATED, NewWebhookKeyOut)
@key_rotations.alt_response(404, schema=Problem, description=MISSING)
@key_rotations.alt_response(409, schema=Problem, description=LAST)
@key_rotations.alt_response(422, schema=Problem, description="The secret or the overlap is not acceptable.")
def rotate_endpoint_key(fields: dict[str, Any], ref: str) -> Response:
    """Make a new key; the others of its algorithm sign beside it until the overlap ends."""
    return _shown(
        keys.rotate_key(ref, team_id=team_id(), idempotency=idempotency_key(f"POST key rotation of {ref}"), **fields)
    )


@endpoint_keys.delete("/<key_id>")
@scope("webhooks:manage")
@endpoint_keys.response(204)
@endpoint_keys.alt_response(404, schema=Problem, description=MISSING)
@endpoint_keys.alt_response(409, schema=Problem, description=LAST)
def revoke_endpoint_key(ref: str, key_id: str) -> None:
    """Revoke a key at once: it signs no try from now on."""
    keys.revoke_key(ref, key_id, team_id=team_id())


@team_keys.get("")
@scope("webhooks:manage")
@team_keys.response(200, WebhookKeyList)
def list_team_keys() -> Any:
    """List the team's own keys that sign, newest first."""
    return {"items": keys.list_keys(None, team_id=team_id())}


@team_keys.post("")
@scope("webhooks:manage")
@team_keys.arguments(WebhookKeyIn, required=False)
@team_keys.response(CREATED, NewWebhookKeyOut)
@team_keys.alt_response(409, schema=Problem, description=LAST)
@team_keys.alt_response(422, schema=Problem, description="The secret is not acceptable.")
def add_team_key(fields: dict[str, Any]) -> Response:
    """Let one more key of the team sign. Webhooks of jobs that bring no secret are signed with it from then on."""
    return _shown(
        keys.add_key(None, team_id=team_id(), idempotency=idempotency_key("POST /api/v1/webhook-keys"), **fields)
    )


@key_rotations.post("/webhook-key-rotations")
@scope("webhooks:manage")
@key_rotations.arguments(WebhookRotateIn, required=False)
@key_rotations.response(CREATED, NewWebhookKeyOut)
@key_rotations.alt_response(409, schema=Problem, description=LAST)
@key_rotations.alt_response(422, schema=Problem, description="The secret or the overlap is not acceptable.")
def rotate_team_key(fields: dict[str, Any]) -> Response:
    """Make a new key of the team; the others of its algorithm sign beside it until the overlap ends."""
    return _shown(
        keys.rotate_key(
            None, team_id=team_id(), idempotency=idempotency_key("POST /api/v1/webhook-key-rotations"), **fields
        )
    )


@team_keys.delete("/<key_id>")
@scope("webhooks:manage")
@team_keys.response(204)
@team_keys.alt_response(404, schema=Problem, description=MISSING)
@team_keys.alt_response(409, schema=Problem, description=LAST)
def revoke_team_key(key_id: str) -> None:
    """Revoke a key of the team at once."""
    keys.revoke_key(None, key_id, team_id=team_id())
