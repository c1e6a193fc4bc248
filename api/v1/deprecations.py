"""What of the API is deprecated, and which of the team's keys and users still use it."""

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import Any

from agora.identity import uses
from agora.identity.uses import Use
from api.auth import scope, team_id
from api.blueprint import Blueprint
from api.schemas.deprecations import DeprecationsOut
from api.versions.registry import V1

blueprint = Blueprint(
    "deprecations", __name__, url_prefix="/api/v1/deprecations", description="What is deprecated, and who uses it."
)


@blueprint.get("")
@scope("keys:manage")
@blueprint.response(200, DeprecationsOut)
def list_deprecations() -> Any:
    """Each older version and each change since, until when it works, and who used it: those must change something.

    A key that used a version, and none of its changes, can be pinned to the newest at once. Requests are counted
    within seconds.
    """
    used = {feature: list(of) for feature, of in groupby(uses.list_uses(team_id()), key=lambda one: one.feature)}
    return {"items": [_with_uses(one, used.get(one["feature"], [])) for one in _features()]}


def _features() -> Iterator[dict[str, Any]]:
    for newer, version in pairwise(V1.versions):
        about = V1.deprecated(version.date)
        if about is None:
            continue
        common = {
            "version": version.date, "successor": about.successor, "deprecated_at": about.since,
            "sunset_at": about.sunset,
        }  # fmt: skip
        yield common | {"feature": f"version.{version.date}", "description": f"Version {version.date} of the API."}
        for change in newer.changes:
            yield common | {"feature": change.name, "description": change.description}


def _with_uses(feature: dict[str, Any], used: list[Use]) -> dict[str, Any]:
    last = max((one.last_used_at for one in used), default=None)
    return feature | {"uses": sum(one.uses for one in used), "last_used_at": last, "used_by": used}
