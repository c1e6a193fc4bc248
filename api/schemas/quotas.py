"""Tiers and quotas."""

import marshmallow as ma

from agora.quotas.models import MOST
from agora.quotas.tiers import LARGEST
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


def _amount(least: int = 0, most: int = LARGEST) -> ma.fields.Integer:
    return ma.fields.Integer(strict=True, allow_none=True, validate=ma.validate.Range(least, most))


class QuotasIn(Schema):
    """What is otherwise for a team than for others in its tier; null: as much as it likes."""

    projects = _amount()
    members = _amount()
    jobs_per_day = _amount()
    requests_per_minute = _amount(1, MOST)
    storage_bytes = _amount()


class TierIn(Schema):
    """Which tier a team is in."""

    tier = ma.fields.String(required=True, validate=ma.validate.Length(1, 40))
    otherwise = ma.fields.Nested(QuotasIn, load_default=dict)


class TierOut(Schema):
    """What teams in a tier, or one team, may have; null: as much as they like."""

    tier = ma.fields.String()
    projects = ma.fields.Integer(allow_none=True)
    members = ma.fields.Integer(allow_none=True)
    jobs_per_day = ma.fields.Integer(allow_none=True)
    requests_per_minute = ma.fields.Integer(allow_none=True)
    storage_bytes = ma.fields.Integer(allow_none=True)


OTHERWISE = ma.fields.Dict(
    values=ma.fields.Integer(allow_none=True),
    metadata={"description": "what is unlike what others in its tier may have", "example": {"projects": 7}},
)


class TeamTierOut(TierOut):
    """What one team may have."""

    team_id = ma.fields.String()
    otherwise = OTHERWISE


class TiersOut(Schema):
    """Every tier."""

    items = ma.fields.List(ma.fields.Nested(TierOut))
