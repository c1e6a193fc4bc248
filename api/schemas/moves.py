"""Moves to another version."""

import marshmallow as ma

from api.schemas.common import Schema

VERSION = ma.validate.Range(1, 1_000_000)


class MoveIn(Schema):
    """Where to."""

    version = ma.fields.Integer(strict=True, required=True, validate=VERSION)


class MoveAllIn(MoveIn):
    """Which jobs, and where to."""

    action = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    before = ma.fields.Integer(
        strict=True, required=True, validate=VERSION, metadata={"description": "the version that they are on"}
    )


class RefusedOut(Schema):
    """A job that was not moved."""

    job_id = ma.fields.String()
    code = ma.fields.String()
    detail = ma.fields.String()


class MovedOut(Schema):
    """What became of the jobs."""

    moved = ma.fields.Integer()
    refused = ma.fields.List(ma.fields.Nested(RefusedOut))
    more = ma.fields.Boolean(metadata={"description": "whether there are jobs that were not looked at: call again"})
