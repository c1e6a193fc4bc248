"""What every operation can answer besides its own, and in which form: added to the OpenAPI document in one place."""

from typing import Any

from apispec import BasePlugin
from flask_smorest import Api

from agora.api_versions import HEADER, NEWEST
from api.versions.registry import V1

JSON, PROBLEM = "application/json", "application/problem+json"
ANY = {
    401: "No valid API key or access token was sent.",
    403: "The key lacks the scope, or the user's role the permission.",
    429: "Too many requests or open streams; Retry-After says when to come back.",
    500: "A fault of the server; it is logged under the request's id.",
    503: "A database is away, or the process is full; Retry-After says when to come back.",
}
VERSION = "AgoraVersion"
VERSION_HEADER = {
    "description": "The version that the program speaks. This document describes the one that is named here; /versions "
    "tells how others differ. Without it, what the API key is pinned to; without a key, the oldest.",
    "schema": {"type": "string", "enum": [NEWEST]},
}
WITH_INPUT = {422: "A field is not acceptable; `errors` names field, rule and value."}
WITH_BODY = {
    400: "The body is no JSON, or the request no HTTP.",
    413: "The body is longer than it may be.",
    415: "The body has a media type that is not accepted.",
}


class Problems(BasePlugin):
    """Documents problems as problem+json and those that any operation may answer; the version, and what it dropped."""

    def operation_helper(self, path: Any = None, operations: Any = None, **kwargs: Any) -> None:
        """Complete the operations of one path."""
        del path
        rule = kwargs.get("rule")
        for operation in (operations or {}).values():
            operation.setdefault("parameters", []).append(VERSION)
            if rule is not None and rule.endpoint in V1.removed:
                operation["deprecated"] = True
            _complete(operation)


def _complete(operation: dict[str, Any]) -> None:
    expected = dict(ANY)
    if operation.get("parameters") or "requestBody" in operation:
        expected |= WITH_INPUT
    if "requestBody" in operation:
        expected |= WITH_BODY
    responses = operation.setdefault("responses", {})
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
