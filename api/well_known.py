"""What others look for at a known place: the keys that verify our access tokens."""

from flask import Blueprint, Response, jsonify

from agora.identity import access_tokens

blueprint = Blueprint("well-known", __name__)


@blueprint.get("/.well-known/jwks.json")
def jwks() -> Response:
    """The JSON Web Key Set (RFC 7517). A key is in it a day before it signs, so it may be kept for an hour."""
    response = jsonify(access_tokens.key_set())
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
