"""``/versions``: every version, what changed in it, until when it is answered. For people and programs, open to all."""

from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request

from agora.errors import NotFound
from api.schemas.common import told
from api.versions.change import Version
from api.versions.registry import V1

blueprint = Blueprint("versions", __name__, template_folder="../templates")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HTML, JSON = "text/html", "application/json"


@blueprint.get("/versions")
def list_versions() -> Response:
    """Every version, the newest first."""
    found = [_told(version) for version in V1.versions]
    return _shown(found, {"items": found})


@blueprint.get("/versions/<date>")
def show_version(date: str) -> Response:
    """One version. Raises NotFound."""
    found = next((_told(version) for version in V1.versions if version.date == date), None)
    if found is None:
        raise NotFound(f"there is no version {date}")
    return _shown([found], found)


def _told(version: Version) -> dict[str, Any]:
    deprecated = V1.deprecated(version.date)
    return {
        "version": version.date,
        "deprecated_at": None if deprecated is None else told(deprecated.since),
        "sunset_at": None if deprecated is None or deprecated.sunset is None else told(deprecated.sunset),
        "successor": None if deprecated is None else deprecated.successor,
        "changes": [{"name": one.name, "description": one.description} for one in version.changes],
    }


def _shown(versions: list[dict[str, Any]], body: dict[str, Any]) -> Response:
    if request.accept_mimetypes.best_match([JSON, HTML]) == HTML:
        html = render_template("versions.html", versions=versions, newest=V1.newest)
        response = Response(html, content_type=f"{HTML}; charset=utf-8")
        response.headers["Content-Security-Policy"] = POLICY
    else:
        response = jsonify(body)
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
