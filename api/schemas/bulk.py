"""Bulk actions, their filters and what became of each job."""

import marshmallow as ma

from agora.bulk.types import ACTIONS, OUTCOMES, STATUSES
from api.schemas.common import Flag, Moment, PageArgs, Schema, links_to, page_of
from api.schemas.jobs import MAX_REASON, JobOut
from api.schemas.jobs import STATUSES as JOB_STATUSES

LABELS = ma.fields.String(validate=ma.validate.Length(1, 100))
NAME = ma.validate.Length(1, 100)


class BulkFilterIn(Schema):
    """Which jobs: those to which all of it applies."""

    status = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(JOB_STATUSES)), load_default=list)
    agent = ma.fields.String(load_default=None, validate=NAME)
    action = ma.fields.String(load_default=None, validate=NAME)
    error_code = ma.fields.String(load_default=None, validate=NAME)
    created_after = Moment(load_default=None)
    created_before = Moment(load_default=None)
    metadata = ma.fields.Dict(
        keys=LABELS, load_default=None, metadata={"description": "jobs whose metadata contains all of it"}
    )
    batch = ma.fields.String(load_default=None, validate=NAME)
    schedule = ma.fields.String(load_default=None, validate=NAME)


class BulkIn(Schema):
    """What is to be done to which jobs."""

    action = ma.fields.String(required=True, validate=ma.validate.OneOf(ACTIONS))
    filter = ma.fields.Nested(BulkFilterIn, required=True)
    all = Flag(load_default=False, metadata={"description": "must be true for an empty filter"})
    dry_run = Flag(load_default=False, metadata={"description": "only count, and show the newest ten"})
    reason = ma.fields.String(validate=ma.validate.Length(0, MAX_REASON), metadata={"description": "of a cancel"})
    from_step = ma.fields.String(validate=NAME, metadata={"description": "of a retry or a fork"})
    version = ma.fields.Integer(strict=True, validate=ma.validate.Range(1, 1_000_000))
    priority = ma.fields.Integer(strict=True, validate=ma.validate.Range(0, 9))
    metadata = ma.fields.Dict(keys=LABELS, metadata={"description": "of the new jobs"})
    input = ma.fields.Dict(keys=ma.fields.String(), metadata={"description": "of the new jobs; of a fork only"})


class BulkOut(Schema):
    """A bulk action."""

    id = ma.fields.String()
    action = ma.fields.String(validate=ma.validate.OneOf(ACTIONS))
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    filter = ma.fields.Dict()
    options = ma.fields.Dict()
    matched = ma.fields.Integer(metadata={"description": "jobs that the filter found at first, counted to a million"})
    done = ma.fields.Integer()
    failed = ma.fields.Integer()
    remaining = ma.fields.Integer()
    progress = ma.fields.Float()
    reasons = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.Integer(), metadata={"description": "failed ones by code"}
    )
    cancel_requested_at = Moment(allow_none=True)
    created_at = Moment()
    ended_at = Moment(allow_none=True)
    links = links_to(
        self="/api/v1/bulk/{id}", items="/api/v1/bulk/{id}/items", cancel="/api/v1/bulk/{id}/cancel",
    )  # fmt: skip


class PreviewOut(Schema):
    """What a bulk action would find."""

    dry_run = ma.fields.Boolean(dump_default=True)
    matched = ma.fields.Integer()
    sample = ma.fields.List(ma.fields.Nested(JobOut))


class BulkItemQuery(PageArgs):
    """Which items."""

    outcome = ma.fields.String(load_default=None, validate=ma.validate.OneOf(OUTCOMES))


class BulkItemOut(Schema):
    """A job that a bulk action dealt with."""

    job_id = ma.fields.String()
    outcome = ma.fields.String(validate=ma.validate.OneOf(OUTCOMES))
    new_job_id = ma.fields.String(allow_none=True)
    error = ma.fields.Dict(allow_none=True)
    created_at = Moment()


BulkPage = page_of(BulkOut, "BulkPage")
BulkItemPage = page_of(BulkItemOut, "BulkItemPage")
