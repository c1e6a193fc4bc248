"""``/versions``: every version, what changed in it, until when it is answered. For people and programs, open to all."""

from typing import Any

from flask import Blueprint, Response

from agora.errors import NotFound
from api.pages import page_or_json
from api.schemas.common import told
from api.versions.change import Version
from api.versions.registry import V1

blueprint = Blueprint("versions", __name__, template_folder="../templates")
PAGE = "versions.html"


@blueprint.get("/versions")
def list_versions() -> Response:
    """Every version, the newest first."""
    found = [_told(version) for version in V1.versions]
    return page_or_json(PAGE, {"items": found}, versions=found, newest=V1.newest)


@blueprint.get("/versions/<date>")
def show_version(date: str) -> Response:
    """One version. Raises NotFound."""
    found = next((_told(version) for version in V1.versions if version.date == date), None)
    if found is None:
        raise NotFound(f"there is no version {date}")
    return page_or_json(PAGE, found, versions=[found], newest=V1.newest)


def _told(version: Version) -> dict[str, Any]:
    deprecated = V1.deprecated(version.date)
    return {
        "version": version.date,
        "deprecated_at": None if deprecated is None else told(deprecated.since),
        "sunset_at": None if deprecated is None or deprecated.sunset is None else told(deprecated.sunset),
        "successor": None if deprecated is None else deprecated.successor,
        "changes": [{"name": one.name, "description": one.description} for one in version.changes],
    }
