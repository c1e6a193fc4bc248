"""The catalogue of event types: what webhooks can tell of, and in which shape."""

from typing import Any

from flask import Response, json

from agora.events.catalogue import CATALOGUE, find_type
from api.auth import ANY_KEY, scope
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.event_types import EventTypeOut, EventTypesOut

CACHE = "private, max-age=300"
"""It changes with a release only."""

blueprint = Blueprint(
    "event-types",
    __name__,
    url_prefix="/api/v1/event-types",
    description="Types of events, each with the JSON Schema of its payload and an example.",
)
_shown = EventTypeOut()
_example: Any = _shown.dump(CATALOGUE["job.succeeded"])


@blueprint.get("")
@scope(ANY_KEY)
@blueprint.response(200, EventTypesOut, example={"items": [_example]})
def list_event_types() -> Response:
    """Every type of event that there is. Any key may read it."""
    return _answer({"items": _shown.dump(CATALOGUE.values(), many=True)})


@blueprint.get("/<type>")
@scope(ANY_KEY)
@blueprint.response(200, EventTypeOut, example=_example)
@blueprint.alt_response(404, schema=Problem, description="There is no such event type.")
def get_event_type(type: str) -> Response:  # the word of the URL
    """One type of event; what an agent emits belongs to `agent.*`."""
    return _answer(_shown.dump(find_type(type)))


def _answer(body: Any) -> Response:
    response = Response(json.dumps(body), content_type="application/json")
    response.headers["Cache-Control"] = CACHE
    return response
