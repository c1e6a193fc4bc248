"""Schedules and their runs."""

import marshmallow as ma

from agora.schedules.service import MOST_SHOWN, SHOWN
from agora.schedules.types import CATCH_UP, STATUSES
from api.schemas.budgets import BudgetIn, BudgetOut
from api.schemas.common import Flag, Moment, Schema, links_to, page_of

LABELS = ma.fields.String(validate=ma.validate.Length(1, 100))


class ScheduleFields(Schema):
    """What a schedule is made of."""

    name = ma.fields.String(
        validate=ma.validate.Regexp("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"), metadata={"example": "nightly-report"}
    )
    agent = ma.fields.String(validate=ma.validate.Length(1, 100))
    action = ma.fields.String(validate=ma.validate.Length(1, 100))
    version = ma.fields.Integer(strict=True, allow_none=True, validate=ma.validate.Range(1, 1_000_000))
    input = ma.fields.Dict(keys=ma.fields.String())
    priority = ma.fields.Integer(strict=True, validate=ma.validate.Range(0, 9))
    metadata = ma.fields.Dict(keys=LABELS)
    budget = ma.fields.Nested(
        BudgetIn, allow_none=True, metadata={"description": "what each of its jobs may spend; null: any amount"}
    )
    cron = ma.fields.String(allow_none=True, validate=ma.validate.Length(1, 200), metadata={"example": "30 6 * * 1-5"})
    timezone = ma.fields.String(validate=ma.validate.Length(1, 100), metadata={"example": "Europe/Berlin"})
    every = ma.fields.Float(allow_none=True, metadata={"description": "seconds between two fire times"})
    at = Moment(allow_none=True)
    ends_at = Moment(allow_none=True)
    catch_up = ma.fields.String(validate=ma.validate.OneOf(CATCH_UP))


class SchedulePatch(ScheduleFields):
    """What is to change."""


class ScheduleIn(ScheduleFields):
    """A schedule to be made: one of `cron`, `every` and `at`."""

    name = ma.fields.String(
        required=True,
        validate=ma.validate.Regexp("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
        metadata={"example": "nightly-report"},
    )
    agent = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    action = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    input = ma.fields.Dict(keys=ma.fields.String(), load_default=dict)
    metadata = ma.fields.Dict(keys=LABELS, load_default=dict)
    paused = Flag(load_default=False)


class ScheduleOut(Schema):
    """A schedule."""

    id = ma.fields.String()
    name = ma.fields.String()
    agent = ma.fields.String()
    action = ma.fields.String()
    version = ma.fields.Integer(allow_none=True, metadata={"description": "null: the newest at each fire time"})
    input = ma.fields.Raw()
    priority = ma.fields.Integer()
    metadata = ma.fields.Dict()
    budget = ma.fields.Nested(BudgetOut, allow_none=True)
    cron = ma.fields.String(allow_none=True)
    timezone = ma.fields.String()
    every = ma.fields.Float(allow_none=True)
    at = Moment(allow_none=True)
    ends_at = Moment(allow_none=True)
    catch_up = ma.fields.String(validate=ma.validate.OneOf(CATCH_UP))
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    paused_at = Moment(allow_none=True)
    next_fire_at = Moment(allow_none=True)
    last_fire_at = Moment(allow_none=True)
    next = ma.fields.List(Moment(), metadata={"description": "the next ten fire times"})
    failures = ma.fields.Integer(metadata={"description": "fire times in a row at which no job could be made"})
    last_error = ma.fields.Dict(allow_none=True)
    created_at = Moment()
    updated_at = Moment()
    links = links_to(
        self="/api/v1/schedules/{id}", runs="/api/v1/schedules/{id}/runs", jobs="/api/v1/jobs?schedule={id}",
    )  # fmt: skip


class NextQuery(Schema):
    """How many."""

    count = ma.fields.Integer(load_default=SHOWN, validate=ma.validate.Range(1, MOST_SHOWN))


class NextOut(Schema):
    """Fire times."""

    items = ma.fields.List(Moment())


class RunQuery(Schema):
    """Where in the list."""

    limit = ma.fields.Integer(load_default=50, validate=ma.validate.Range(1, 200))
    before = Moment(load_default=None)


class RunOut(Schema):
    """What became of a fire time."""

    fire_at = Moment()
    outcome = ma.fields.String(metadata={"description": "fired; failed: no job could be made; missed: passed over"})
    manual = ma.fields.Boolean()
    job_id = ma.fields.String(allow_none=True)
    error = ma.fields.Dict(allow_none=True)
    created_at = Moment()


class RunsOut(Schema):
    """What became of fire times."""

    items = ma.fields.List(ma.fields.Nested(RunOut))


SchedulePage = page_of(ScheduleOut, "SchedulePage")
