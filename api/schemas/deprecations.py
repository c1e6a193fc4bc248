"""What is deprecated, and who uses it."""

import marshmallow as ma

from api.schemas.common import Moment, Schema


class UseOut(Schema):
    """How often a key, or a user, used it."""

    actor_id = ma.fields.String(metadata={"description": "of a key or a user"})
    uses = ma.fields.Integer(metadata={"description": "requests; a few may be missing"})
    first_used_at = Moment()
    last_used_at = Moment()


class DeprecationOut(Schema):
    """Something that is deprecated: a version of the API, or what a newer version changed of it."""

    feature = ma.fields.String(metadata={"description": "`version.` and its date, or the name of a change"})
    description = ma.fields.String()
    version = ma.fields.String(metadata={"description": "the newest version that still has it"})
    successor = ma.fields.String(metadata={"description": "the version that changed it"})
    deprecated_at = Moment()
    sunset_at = Moment(allow_none=True, metadata={"description": "it works until then at least; null: not decided"})
    uses = ma.fields.Integer(metadata={"description": "requests of the team"})
    last_used_at = Moment(allow_none=True)
    used_by = ma.fields.List(ma.fields.Nested(UseOut), metadata={"description": "the latest first"})


class DeprecationsOut(Schema):
    """All of it, the newest first."""

    items = ma.fields.List(ma.fields.Nested(DeprecationOut), required=True)
