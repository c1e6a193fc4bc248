"""``/errors``: the catalogue, for people and programs. Open to everybody: it is where a problem's ``type`` leads."""

from dataclasses import asdict

from flask import Blueprint, Response

from agora.errors import NotFound
from api.errors.catalogue import CATALOGUE, ErrorType
from api.pages import page_or_json

blueprint = Blueprint("errors", __name__, template_folder="../templates")
PAGE = "errors.html"


@blueprint.get("/errors")
def list_errors() -> Response:
    """Every error that the API answers with."""
    entries = list(CATALOGUE.values())
    return page_or_json(PAGE, {"items": [_told(one) for one in entries]}, entries=entries)


@blueprint.get("/errors/<code>")
def show_error(code: str) -> Response:
    """One error: status, meaning, what to do. Raises NotFound."""
    entry = CATALOGUE.get(code)
    if entry is None:
        raise NotFound(f"there is no error {code}")
    return page_or_json(PAGE, _told(entry), entries=[entry])


def _told(entry: ErrorType) -> dict[str, object]:
    return {"type": f"/errors/{entry.code}", **asdict(entry)}
