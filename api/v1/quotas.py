"""What the tier of the caller's team allows, and how much of it is used."""

from typing import Any

from agora.quotas import room
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.schemas.quotas import QuotasOut

blueprint = Blueprint("quotas", __name__, url_prefix="/api/v1/quotas", description="What a team may have.")


@blueprint.get("")
@scope("team:read")
@blueprint.response(200, QuotasOut)
def list_quotas() -> Any:
    """What the team's tier allows, and how much of it is used. Counts end at a million."""
    allowed, items = room.use_of(team_id())
    return {"tier": allowed.tier, "items": items}
