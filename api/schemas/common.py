"""What all resources share."""

import datetime as dt
from typing import Any

import marshmallow as ma

MAYBE = "x-maybe"
"""Marks fields that an answer may lack, until the document says so. All others are always there, if only as null."""


def maybe(description: str = "") -> dict[str, str | bool]:
    """The metadata of a field that an answer may lack."""
    return {MAYBE: True} | ({"description": description} if description else {})


class Schema(ma.Schema):
    """Unknown fields are refused; fields keep their order."""

    class Meta:
        """Marshmallow's settings."""

        unknown = ma.RAISE


def told(moment: dt.datetime) -> str:
    """An RFC 3339 time in UTC with a Z."""
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


class Moment(ma.fields.AwareDateTime):
    """An RFC 3339 time; answered in UTC with a Z."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", default_timezone=None, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dt.datetime:
        found = super()._deserialize(value, attr, data, **kwargs)
        try:
            found.astimezone(dt.UTC)
        except OverflowError:  # a time of another zone at the end of time
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE) from None
        return found

    def _serialize(self, value: dt.datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        del attr, obj, kwargs
        return None if value is None else told(value)


class Flag(ma.fields.Boolean):
    """True or false, and nothing that only looks like it, such as 1 or "no"."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        del attr, data, kwargs
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class PageArgs(Schema):
    """Where in a list."""

    limit = ma.fields.Integer(load_default=50, validate=ma.validate.Range(1, 200))
    cursor = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 500))


class FieldProblem(Schema):
    """What is wrong with one field."""

    pointer = ma.fields.String(metadata={"description": "JSON pointer into the request"})
    rule = ma.fields.String(metadata={"description": "which rule it broke; docs/errors.md lists them"})
    message = ma.fields.String()
    value = ma.fields.Raw(allow_none=True, metadata=maybe("what came, where it is short and no secret"))
    value_class = ma.fields.String(
        validate=ma.validate.OneOf(["null", "boolean", "integer", "number", "string", "array", "object"]),
        metadata=maybe("the JSON type of what came"),
    )


class Problem(Schema):
    """A problem document (RFC 9457); some have members of their own besides these."""

    class Meta:
        """Marshmallow's settings."""

        unknown = ma.INCLUDE

    type = ma.fields.String()
    title = ma.fields.String()
    status = ma.fields.Integer()
    detail = ma.fields.String()
    instance = ma.fields.String()
    code = ma.fields.String()
    request_id = ma.fields.String(allow_none=True)
    errors = ma.fields.List(ma.fields.Nested(FieldProblem), metadata=maybe("each wrong field, where some are"))


def links_to(**paths: str) -> ma.fields.Function:
    """Where an object leads: paths by name, with ``{id}`` for its own. An answer has all of them."""
    leads = {"type": "string", "format": "uri-reference"}
    return ma.fields.Function(
        lambda one: {name: path.format(id=one.id) for name, path in paths.items()},
        metadata={
            "type": "object",
            "properties": {name: dict(leads) for name in paths},
            "required": list(paths),
            "additionalProperties": leads,
        },
    )


def page_of(item: type[ma.Schema], name: str) -> type[ma.Schema]:
    """The schema of a page of items."""
    fields: dict[str, ma.fields.Field[Any]] = {
        "items": ma.fields.List(ma.fields.Nested(item), required=True),
        "next_cursor": ma.fields.String(allow_none=True, required=True),
    }
    return Schema.from_dict(fields, name=name)
