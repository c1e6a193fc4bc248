"""Signing keys of webhooks."""

import marshmallow as ma

from agora.webhooks.keys import LONGEST_OVERLAP, OVERLAP
from agora.webhooks.states import Algorithm
from api.schemas.common import Moment, Schema

SECRET = "whsec_ and base64 of 24 to 64 bytes (v1), or whsk_ and base64 of an ed25519 private key (v1a)"  # noqa: S105


class WebhookKeyIn(Schema):
    """A key to be added."""

    algorithm = ma.fields.String(
        load_default=None, allow_none=True, validate=ma.validate.OneOf(list(Algorithm)),
        metadata={"description": "of a new key; v1 unless the secret says otherwise"},
    )  # fmt: skip
    secret = ma.fields.String(
        load_default=None, allow_none=True, validate=ma.validate.Length(1, 200), metadata={"description": SECRET}
    )


class WebhookRotateIn(WebhookKeyIn):
    """A key that takes the place of others."""

    overlap_seconds = ma.fields.Float(
        attribute="overlap", load_default=OVERLAP, validate=ma.validate.Range(0, LONGEST_OVERLAP),
        metadata={"description": "for how long the older keys still sign; 0: they sign no more"},
    )  # fmt: skip


class WebhookKeyOut(Schema):
    """A key, without its secret."""

    id = ma.fields.String()
    algorithm = ma.fields.String(validate=ma.validate.OneOf(list(Algorithm)))
    public_key = ma.fields.String(allow_none=True, metadata={"description": "whpk_, of a v1a key: verifies"})
    created_at = Moment()
    expires_at = Moment(allow_none=True, metadata={"description": "when it stops signing; null: never"})


class NewWebhookKeyOut(WebhookKeyOut):
    """A new key, with its secret."""

    secret = ma.fields.String(
        allow_none=True, metadata={"description": "shown this once; null in the answer to a repeat of the request"}
    )


class WebhookKeyList(Schema):
    """Keys."""

    items = ma.fields.List(ma.fields.Nested(WebhookKeyOut))
