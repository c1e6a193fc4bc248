"""Tiers and quotas."""

import marshmallow as ma

from agora.quotas.types import Quota
from api.schemas.common import Moment, Schema


class QuotaUseOut(Schema):
    """A quota. ``limit`` null: as much as the team likes; ``used`` null: see the header ``RateLimit``."""

    quota = ma.fields.String(validate=ma.validate.OneOf(list(Quota)))
    limit = ma.fields.Integer(allow_none=True)
    used = ma.fields.Integer(allow_none=True)
    resets_at = Moment(allow_none=True)


class QuotasOut(Schema):
    """What the team may have, and has."""

    tier = ma.fields.String()
    items = ma.fields.List(ma.fields.Nested(QuotaUseOut))
