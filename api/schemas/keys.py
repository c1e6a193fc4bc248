"""API keys."""

import marshmallow as ma

from agora.api_versions import NEWEST
from api.schemas.common import Moment, Schema, maybe

PINNED = "the version of the API that its requests speak which name none"


class KeyIn(Schema):
    """A key to be made."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    scopes = ma.fields.List(
        ma.fields.String(), required=True, validate=ma.validate.Length(1, 20),
        metadata={"description": "what it may do; `*`: all that a key of a team may"},
    )  # fmt: skip
    expires_at = Moment(
        load_default=None,
        metadata={"description": "no later than the key that makes it, if one does, and left out as that one"},
    )
    api_version = ma.fields.String(
        load_default=None, validate=ma.validate.Length(1, 50),
        metadata={"description": PINNED + "; what this request speaks, if it says so, else the newest"},
    )  # fmt: skip
    requests_per_minute = ma.fields.Integer(
        strict=True, load_default=None, allow_none=True, validate=ma.validate.Range(1, 10_000_000),
        metadata={"description": "of this key alone, beside the limit of its team"},
    )  # fmt: skip


class RotationIn(Schema):
    """How long the present key works beside the new one, and how long that one."""

    overlap_seconds = ma.fields.Float(
        attribute="overlap", load_default=86_400.0, metadata={"description": "0: it ends at once"}
    )
    expires_at = Moment(
        metadata={"description": "of the new key; left out, as the present one; no later than a key that rotates it"}
    )


class KeyPatch(Schema):
    """What is to change of a key."""

    api_version = ma.fields.String(
        required=True, validate=ma.validate.Length(1, 50),
        metadata={"description": PINNED, "example": NEWEST},
    )  # fmt: skip


class KeyOut(Schema):
    """A key, without its text."""

    id = ma.fields.String()
    name = ma.fields.String()
    prefix = ma.fields.String()
    scopes = ma.fields.List(ma.fields.String())
    api_version = ma.fields.String(metadata={"description": PINNED})
    created_at = Moment()
    created_by = ma.fields.String(
        allow_none=True, metadata={"description": "id of the user or key that made it; null: the operator"}
    )
    last_used_at = Moment(allow_none=True)
    expires_at = Moment(allow_none=True)
    revoked_at = Moment(allow_none=True)
    requests_per_minute = ma.fields.Integer(allow_none=True)


class NewKeyOut(KeyOut):
    """A new key, with its text."""

    secret = ma.fields.String(
        attribute="plain", metadata=maybe("the text of the key; shown this once, and not in the answer to a repeat")
    )


class KeysOut(Schema):
    """The team's keys."""

    items = ma.fields.List(ma.fields.Nested(KeyOut))
