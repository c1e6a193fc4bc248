"""The catalogue of event types."""

import marshmallow as ma

from api.schemas.common import Schema


class EventTypeOut(Schema):
    """A type of event. `agent.*` stands for all that agents emit."""

    type = ma.fields.String(attribute="name")
    version = ma.fields.Integer(metadata={"description": "of what its payload looks like"})
    category = ma.fields.String(metadata={"description": "what it is about: the first part of its name"})
    description = ma.fields.String(metadata={"description": "when it happens"})
    of_job = ma.fields.Boolean(metadata={"description": "whether it is in a job's own stream"})
    by_wildcard = ma.fields.Boolean(
        metadata={"description": "whether `*` and `job.*` cover it; if not, a filter must name it in full"}
    )
    schema = ma.fields.Dict(metadata={"description": "JSON Schema (draft 2020-12) of its payload"})
    example = ma.fields.Dict(attribute="payload", metadata={"description": "a payload that the schema accepts"})


class EventTypesOut(Schema):
    """Every type of event."""

    items = ma.fields.List(ma.fields.Nested(EventTypeOut), required=True)
