"""Legal holds."""

import marshmallow as ma

from api.schemas.common import Moment, PageArgs, Schema, page_of


class HoldIn(Schema):
    """A hold to be made."""

    name = ma.fields.String(required=True, validate=ma.validate.Length(1, 200))
    metadata = ma.fields.Dict(
        required=True, keys=ma.fields.String(validate=ma.validate.Length(1, 100)),
        metadata={"description": "jobs whose metadata contains all of it are kept", "minProperties": 1},
    )  # fmt: skip


class HoldsArgs(PageArgs):
    """Which holds to list."""

    released = ma.fields.Boolean(load_default=False, metadata={"description": "also those that have ended"})


class HoldOut(Schema):
    """A hold; in force while `released_at` is null."""

    id = ma.fields.String()
    name = ma.fields.String()
    metadata = ma.fields.Dict()
    created_by = ma.fields.String(allow_none=True, metadata={"description": "id of an API key"})
    created_at = Moment()
    released_by = ma.fields.String(allow_none=True, metadata={"description": "id of an API key"})
    released_at = Moment(allow_none=True)


HoldPage = page_of(HoldOut, "HoldPage")
