"""Queues, limits, and why a job waits."""

import marshmallow as ma

from agora.jobs.limits import MOST
from api.schemas.common import Moment, Schema, maybe


class QueueOut(Schema):
    """A queue and the steps that it holds, of all teams."""

    name = ma.fields.String()
    paused_at = Moment(allow_none=True)
    reason = ma.fields.String()
    due = ma.fields.Integer(metadata={"description": "steps that wait for a worker"})
    rung = ma.fields.Integer(metadata={"description": "steps that were offered to a worker"})
    running = ma.fields.Integer()
    held = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.Integer(),
        metadata={"description": "steps that are ready and not due, by reason: time, limit, worker"},
    )  # fmt: skip
    age_seconds = ma.fields.Float(metadata={"description": "of the oldest due step"})
    step_seconds = ma.fields.Float(allow_none=True, metadata={"description": "what steps took lately, on average"})
    work_seconds = ma.fields.Float(
        allow_none=True, metadata={"description": "what one slot of a worker would need for what is due"}
    )


class QueuesOut(Schema):
    """Every queue."""

    items = ma.fields.List(ma.fields.Nested(QueueOut))


class PauseIn(Schema):
    """Why."""

    reason = ma.fields.String(load_default="", validate=ma.validate.Length(0, 500))


class LimitIn(Schema):
    """What a limit allows; one of the first two at least."""

    max_running = ma.fields.Integer(
        strict=True, load_default=None, allow_none=True, validate=ma.validate.Range(0, MOST)
    )
    rate = ma.fields.Float(
        load_default=None, allow_none=True, validate=ma.validate.Range(0, MOST, min_inclusive=False),
        metadata={"description": "starts per second"},
    )  # fmt: skip
    burst = ma.fields.Integer(strict=True, load_default=None, allow_none=True, validate=ma.validate.Range(1, MOST))


class LimitOut(Schema):
    """A limit, with the caller's jobs that run and wait there."""

    target = ma.fields.String(metadata={"description": "`*`, an agent, or agent.action"})
    owner = ma.fields.String(validate=ma.validate.OneOf(["team", "operator"]))
    max_running = ma.fields.Integer(allow_none=True)
    rate = ma.fields.Float(allow_none=True)
    burst = ma.fields.Integer(allow_none=True)
    running = ma.fields.Integer()
    waiting = ma.fields.Integer()
    updated_at = Moment()


class LimitsOut(Schema):
    """The limits that concern the caller's team."""

    items = ma.fields.List(ma.fields.Nested(LimitOut))


class LimitStopOut(Schema):
    """The limit that stops a job."""

    target = ma.fields.String(allow_none=True, metadata={"description": "`*`, an agent, agent.action; null for a key"})
    key = ma.fields.String(allow_none=True, metadata={"description": "the concurrency key"})
    owner = ma.fields.String(validate=ma.validate.OneOf(["team", "operator"]))
    max_running = ma.fields.Integer(allow_none=True)
    rate = ma.fields.Float(allow_none=True)
    running = ma.fields.Integer()
    holders = ma.fields.List(ma.fields.String(), metadata={"description": "jobs of the team that run under it"})


class WaitsOut(Schema):
    """Why a job does not go on. The reason says which of the other fields are there."""

    reason = ma.fields.String(
        metadata={
            "description": "queue, concurrency, rate, paused, no-worker, scheduled, retry, approval, "
            "input, snooze, items, children"
        }
    )
    since = Moment()
    step = ma.fields.String()
    queue = ma.fields.String(metadata=maybe())
    until = Moment(metadata=maybe())
    ahead = ma.fields.Integer(metadata=maybe("what is of the same team and stands before it, up to 1000"))
    more = ma.fields.Boolean(metadata=maybe("more than 1000 stand before it"))
    limit = ma.fields.Nested(LimitStopOut, metadata=maybe("the one that stops it"))
    detail = ma.fields.String(metadata=maybe())
    version = ma.fields.Integer(metadata=maybe())
    approval = ma.fields.String(metadata=maybe("the id to give to `approve`"))
    budget = ma.fields.Dict(metadata=maybe("the limit that was exceeded: limit, allowed, used"))
