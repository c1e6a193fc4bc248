"""The audit log."""

import marshmallow as ma

from agora.audit.acting import ActorKind
from api.schemas.common import Moment, PageArgs, Schema, page_of

TEXT = ma.validate.Length(1, 300)


class AuditFilter(Schema):
    """Which entries; all of what is given must fit."""

    actor = ma.fields.String(
        load_default=None, validate=TEXT, metadata={"description": "id of the key, user or portal link that acted"}
    )
    action = ma.fields.String(
        load_default=None, validate=TEXT,
        metadata={"description": "an action, or the beginning of some with * at its end", "example": "key.*"},
    )  # fmt: skip
    object_type = ma.fields.String(load_default=None, validate=TEXT, metadata={"example": "job"})
    object_id = ma.fields.String(load_default=None, validate=TEXT)
    address = ma.fields.String(load_default=None, validate=TEXT, metadata={"description": "where it came from"})
    since = Moment(load_default=None, metadata={"description": "not before"})
    until = Moment(load_default=None, metadata={"description": "before"})


class AuditArgs(PageArgs, AuditFilter):
    """Which entries, and where in their list."""


class EntryOut(Schema):
    """An entry: who did what to which object, from where, and what changed."""

    id = ma.fields.String()
    at = Moment()
    actor_kind = ma.fields.String(validate=ma.validate.OneOf(list(ActorKind)))
    actor_id = ma.fields.String(allow_none=True)
    actor_name = ma.fields.String(metadata={"description": "what they were called then: a key's name, an address"})
    action = ma.fields.String()
    object_type = ma.fields.String()
    object_id = ma.fields.String()
    address = ma.fields.String(allow_none=True)
    request_id = ma.fields.String(allow_none=True)
    before = ma.fields.Dict(metadata={"description": "changed fields as they were; [hidden] for secrets"})
    after = ma.fields.Dict(metadata={"description": "changed fields as they are now"})
    seq = ma.fields.Integer(allow_none=True, metadata={"description": "place in the chain; null until it is chained"})
    hash = ma.fields.String(allow_none=True, metadata={"description": "SHA-256 in hex; docs/audit.md says of what"})


EntryPage = page_of(EntryOut, "AuditPage")
