"""``/errors``: the catalogue, for people and programs. Open to everybody: it is where a problem's ``type`` leads."""

from dataclasses import asdict

from flask import Blueprint, Response, jsonify, render_template, request

from agora.errors import NotFound
from api.errors.catalogue import CATALOGUE, ErrorType

blueprint = Blueprint("errors", __name__, template_folder="../templates")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HTML, JSON = "text/html", "application/json"


@blueprint.get("/errors")
def list_errors() -> Response:
    """Every error that the API answers with."""
    return _shown(list(CATALOGUE.values()), {"items": [_told(one) for one in CATALOGUE.values()]})


@blueprint.get("/errors/<code>")
def show_error(code: str) -> Response:
    """One error: status, meaning, what to do. Raises NotFound."""
    entry = CATALOGUE.get(code)
    if entry is None:
        raise NotFound(f"there is no error {code}")
    return _shown([entry], _told(entry))


def _told(entry: ErrorType) -> dict[str, object]:
    return {"type": f"/errors/{entry.code}", **asdict(entry)}


def _shown(entries: list[ErrorType], told: dict[str, object]) -> Response:
    if request.accept_mimetypes.best_match([JSON, HTML]) == HTML:
        response = Response(render_template("errors.html", entries=entries), content_type=f"{HTML}; charset=utf-8")
        response.headers["Content-Security-Policy"] = POLICY
    else:
        response = jsonify(told)
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
