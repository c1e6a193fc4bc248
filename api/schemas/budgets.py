"""Budgets and approvals."""

from decimal import Decimal
from typing import Any

import marshmallow as ma

from agora.jobs.budgets import ASK, FAIL
from agora.jobs.types import Budget
from api.schemas.common import Schema, maybe


def money() -> ma.fields.String:
    """An exact amount in US dollars, as text: a number in JSON would be rounded on its way."""
    exact = ma.validate.Regexp(r"^[0-9]{1,10}(\.[0-9]{1,18})?$", error="Not an amount in plain digits, such as 2.50.")
    return ma.fields.String(validate=exact, metadata={"description": "US dollars, an exact decimal as text"})


class LimitsIn(Schema):
    """New limits of a job's budget; each must be above what the job has used."""

    max_tokens = ma.fields.Integer(strict=True, validate=ma.validate.Range(1, 10**15))
    max_cost_usd = money()
    max_run_seconds = ma.fields.Float(validate=ma.validate.Range(0, 10**9, min_inclusive=False))


class BudgetIn(LimitsIn):
    """What a job may spend. Over it, the job fails, or waits for approval before its next step."""

    queue_timeout = ma.fields.Float(
        validate=ma.validate.Range(0, 10**9, min_inclusive=False),
        metadata={"description": "seconds after `run_at` within which the first step must have begun"},
    )
    on_exceeded = ma.fields.String(load_default=FAIL, validate=ma.validate.OneOf([FAIL, ASK]))

    @ma.post_load
    def _make(self, fields: dict[str, Any], **_: Any) -> Budget:
        cost = fields.pop("max_cost_usd", None)
        return Budget(max_cost_usd=None if cost is None else Decimal(cost), **fields)


class BudgetOut(Schema):
    """What a job may spend, of what is limited. `initial` has the limits that it began with, once they were raised."""

    max_tokens = ma.fields.Integer(metadata=maybe())
    max_cost_usd = ma.fields.String(metadata=maybe("an exact decimal"))
    max_run_seconds = ma.fields.Float(metadata=maybe())
    queue_timeout = ma.fields.Float(metadata=maybe())
    on_exceeded = ma.fields.String(validate=ma.validate.OneOf([FAIL, ASK]))
    initial = ma.fields.Dict(metadata=maybe())


class ApproveIn(Schema):
    """How the job goes on."""

    budget = ma.fields.Nested(LimitsIn, load_default=None)
    approval = ma.fields.String(
        load_default=None,
        validate=ma.validate.Length(1, 100),
        metadata={"description": "the id of what is approved, from `waits` or the event: never approves another"},
    )
