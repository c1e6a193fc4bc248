"""Retries and forks."""

import marshmallow as ma

from api.schemas.common import Moment, Schema


class GoOnIn(Schema):
    """What the new job has of its own; what is not given is as in the old one."""

    version = ma.fields.Integer(strict=True, load_default=None, validate=ma.validate.Range(1, 1_000_000))
    priority = ma.fields.Integer(strict=True, load_default=None, validate=ma.validate.Range(0, 9))
    deadline = Moment(load_default=None, metadata={"description": "of the new job; the old one's is not taken over"})
    metadata = ma.fields.Dict(keys=ma.fields.String(validate=ma.validate.Length(1, 100)), load_default=None)


class RetryIn(GoOnIn):
    """How to retry."""

    from_step = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(1, 100),
        metadata={"description": "begin at this step; default: where the job ended"},
    )


class ForkIn(GoOnIn):
    """Where to fork, and with what."""

    from_step = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    input = ma.fields.Dict(
        keys=ma.fields.String(), load_default=None, metadata={"description": "the whole input of the new job"}
    )
