"""API keys."""

import marshmallow as ma

from api.schemas.common import Moment, Schema


class KeyIn(Schema):
    """A key to be made."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    scopes = ma.fields.List(ma.fields.String(), load_default=lambda: ["*"], validate=ma.validate.Length(1, 20))
    expires_at = Moment(load_default=None)
    requests_per_minute = ma.fields.Integer(
        strict=True, load_default=None, allow_none=True, validate=ma.validate.Range(1, 10_000_000),
        metadata={"description": "of this key alone, beside the limit of its team"},
    )  # fmt: skip


class RotationIn(Schema):
    """How long the present key works beside the new one."""

    overlap = ma.fields.Float(load_default=86_400.0, metadata={"description": "seconds; 0: it ends at once"})


class KeyOut(Schema):
    """A key; ``plain`` is there only in the answer to its making."""

    id = ma.fields.String()
    name = ma.fields.String()
    prefix = ma.fields.String()
    scopes = ma.fields.List(ma.fields.String())
    created_at = Moment()
    last_used_at = Moment(allow_none=True)
    expires_at = Moment(allow_none=True)
    revoked_at = Moment(allow_none=True)
    requests_per_minute = ma.fields.Integer(allow_none=True)


class NewKeyOut(KeyOut):
    """A new key, with its text."""

    plain = ma.fields.String()


class KeysOut(Schema):
    """The team's keys."""

    items = ma.fields.List(ma.fields.Nested(KeyOut))
