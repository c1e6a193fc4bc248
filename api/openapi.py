"""What every operation can answer besides its own, and in which form: added to the OpenAPI document in one place."""

from typing import Any

from apispec import BasePlugin
from flask_smorest import Api

from agora.api_versions import HEADER, NEWEST
from api.auth import OPEN_ENDPOINTS, TEAM_HEADER
from api.versions.registry import V1

CONDITIONAL = "x-conditional"
"""Marks operations that heed ``If-Match``, until their documentation says so."""
TAGS = r'^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$'
JSON, PROBLEM = "application/json", "application/problem+json"
ANY = {
    401: "No valid API key or access token was sent.",
    403: "The key lacks the scope, or the user's role the permission.",
    410: "The version that the request speaks is retired.",
    429: "Too many requests or open streams; Retry-After says when to come back.",
    500: "A fault of the server; it is logged under the request's id.",
    503: "A database is away, or the process is full; Retry-After says when to come back.",
}
OF_A_TEAM = {404: f"`{TEAM_HEADER}` names a team that the caller is not in."}
"""Of whatever needs credentials."""
VERSION = "AgoraVersion"
VERSION_HEADER = {
    "description": "The version that the program speaks. This document describes the one that is named here; sent "
    "with another, `openapi.json` describes that. Without it, what the API key is pinned to; without one, the oldest.",
    "schema": {"type": "string", "enum": [NEWEST]},
}
WITH_INPUT = {422: "A field is not acceptable; `errors` names field, rule and value."}
WITH_BODY = {
    400: "The body is no JSON, or the request no HTTP.",
    408: "The body came too slowly.",
    413: "The body is longer than it may be.",
    415: "The body has a media type that is not accepted.",
}


def _header(name: str, text: str) -> dict[str, Any]:
    return {
        "in": "header", "name": name, "required": False, "description": text,
        "schema": {"type": "string", "pattern": TAGS},
    }  # fmt: skip


IF_NONE_MATCH = _header("If-None-Match", "Tags of answers that the caller has: 304 if it is one of them.")
IF_MATCH = _header(
    "If-Match", "The `ETag` of the object as it was read: 412 if it was changed since. `*`: if there is one."
)
IF_MATCH_OF_READ = _header("If-Match", "Tags of answers: 412 unless this one has one of them. Weak ones never match.")
READ_IF = {412: "It is not, or no longer, what `If-Match` names."}
IF_NONE_THERE = {
    "in": "header", "name": "If-None-Match", "required": False, "schema": {"type": "string", "enum": ["*"]},
    "description": "`*`: only if there is none yet, else 412.",
}  # fmt: skip


class Problems(BasePlugin):
    """Documents problems as problem+json and those that any operation may answer; the version, and what it dropped."""

    def operation_helper(self, path: Any = None, operations: Any = None, **kwargs: Any) -> None:
        """Complete the operations of one path."""
        del path
        rule = kwargs.get("rule")
        for method, operation in (operations or {}).items():
            operation.setdefault("parameters", []).append(VERSION)
            if rule is not None and rule.endpoint in V1.removed:
                operation["deprecated"] = True
            _add_conditions(method, operation)
            _complete(operation, is_open=rule is not None and rule.endpoint in OPEN_ENDPOINTS)


def _add_conditions(method: str, operation: dict[str, Any]) -> None:
    """Document what conditional requests are possible, and lists that are written with commas."""
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        if isinstance(parameter, dict) and parameter.get("name") in {"fields", "include"}:
            parameter |= {"style": "form", "explode": False}
    if operation.pop(CONDITIONAL, False):
        parameters.extend([IF_MATCH, IF_NONE_THERE] if method == "put" else [IF_MATCH])
    read = operation.get("responses", {}).get("200" if "200" in operation.get("responses", {}) else 200)
    if method == "get" and isinstance(read, dict) and JSON in read.get("content", {}):
        parameters.extend([IF_NONE_MATCH, IF_MATCH_OF_READ])
        operation["responses"]["304"] = {"description": "It is what the caller has."}
    if not parameters:
        del operation["parameters"]


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    expected = ANY if is_open else ANY | OF_A_TEAM
    if operation.get("parameters") or "requestBody" in operation:
        expected |= WITH_INPUT
    if "requestBody" in operation:
        expected |= WITH_BODY
    responses = operation.setdefault("responses", {})
    if "304" in responses:
        expected |= READ_IF
    # The framework's own references to answers that are no problem documents of ours.
    own = {str(status): answer for status, answer in responses.items() if isinstance(answer, dict)}
    for status, answer in own.items():
        if status >= "400" and JSON in answer.get("content", {}):
            answer["content"] = {PROBLEM: answer["content"][JSON]}
    schema = {"$ref": "#/components/schemas/Problem"}
    common = {
        str(status): {"description": text, "content": {PROBLEM: {"schema": schema}}}
        for status, text in expected.items()
    }
    operation["responses"] = dict(sorted((common | own).items()))


def make_api() -> Api:
    """The registry of blueprints that writes the document."""
    api = Api(spec_kwargs={"extra_plugins": [Problems()]})
    api.DEFAULT_ERROR_RESPONSE_NAME = None
    return api


def document_version(api: Api) -> None:
    """Describe the header that chooses the version; before the blueprints, whose operations refer to it."""
    api.spec.components.parameter(VERSION, "header", {"name": HEADER, **VERSION_HEADER})
