"""Pages about an endpoint's signing keys: the list, rotating, adding and revoking one."""

from flask import Response, url_for
from werkzeug.wrappers import Response as AnyResponse

from agora.errors import NotFound
from agora.webhooks import portal_keys
from agora.webhooks.portal_keys import NewKey
from agora.webhooks.portal_scope import get_endpoint
from agora.webhooks.states import Algorithm
from api.portal import forms, session
from api.portal.base import blueprint, link, page
from api.portal.endpoints import lead

OVERLAPS = {0: "not at all", 3600: "for an hour", 86400: "for a day", 604800: "for a week"}


def _path(endpoint_id: str) -> str:
    return url_for("portal.keys", endpoint_id=endpoint_id)


@blueprint.get("/endpoints/<endpoint_id>/keys")
def keys(endpoint_id: str) -> Response:
    """The keys of an endpoint, and a new secret, once."""
    secret = session.find_secret(link(), endpoint_id)
    response = page(
        "keys.html", endpoint=get_endpoint(link(), endpoint_id), keys=portal_keys.list_keys(link(), endpoint_id),
        secret=secret, overlaps=OVERLAPS, algorithms=list(Algorithm),
    )  # fmt: skip
    if secret is not None:
        session.forget_secret(response, _path(endpoint_id))
    return response


def _made(key: NewKey, done: str) -> AnyResponse:
    response = lead("keys", endpoint_id=key.endpoint_id, done=done)
    session.keep_secret(response, link(), key, _path(key.endpoint_id))
    return response


@blueprint.post("/endpoints/<endpoint_id>/keys")
def add_key(endpoint_id: str) -> AnyResponse:
    """Let one more key sign."""
    return _made(portal_keys.add_key(link(), endpoint_id, algorithm=forms.text("algorithm")), "key-added")


@blueprint.post("/endpoints/<endpoint_id>/keys/rotate")
def rotate_key(endpoint_id: str) -> AnyResponse:
    """A new key for the old ones of its algorithm."""
    made = portal_keys.rotate_key(
        link(), endpoint_id, algorithm=forms.text("algorithm"), overlap=forms.seconds("overlap")
    )
    return _made(made, "key-rotated")


@blueprint.get("/endpoints/<endpoint_id>/keys/<key_id>/revoke")
def ask_revoke_key(endpoint_id: str, key_id: str) -> Response:
    """Ask before a key is revoked."""
    key = next((one for one in portal_keys.list_keys(link(), endpoint_id) if one.id == key_id), None)
    if key is None:
        raise NotFound(f"there is no webhook key {key_id}")
    return page("revoke_key.html", endpoint=get_endpoint(link(), endpoint_id), key=key)


@blueprint.post("/endpoints/<endpoint_id>/keys/<key_id>/revoke")
def revoke_key(endpoint_id: str, key_id: str) -> AnyResponse:
    """Let a key sign no more."""
    portal_keys.revoke_key(link(), endpoint_id, key_id)
    return lead("keys", endpoint_id=endpoint_id, done="key-revoked")
