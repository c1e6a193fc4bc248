"""The OpenAPI document as a program of an older version needs it: the newest one, with each change since undone.

What has come since without a break is in it too, since older versions have it. Schemas that a change concerns are said
in place; names of schemas mean the same in every version.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from flask import Flask, Response, g
from flask_smorest import Api

from api.openapi import JSON, VERSION
from api.openapi_document import METHODS, operation_id
from api.versions.change import Body, Change
from api.versions.negotiate import DOCUMENT
from api.versions.registry import V1, Registry

NO_CONTENT = 204


def install(app: Flask, api: Api) -> None:
    """Let ``openapi.json`` be that of the version which is asked for."""
    written: dict[str, str] = {}

    def show() -> Response:
        if g.api_version not in written:
            written[g.api_version] = json.dumps(document_of(app, api, g.api_version), separators=(",", ":"))
        return Response(written[g.api_version], mimetype=JSON)

    app.view_functions[DOCUMENT] = show


def document_of(app: Flask, api: Api, version: str) -> Body:
    """The whole document of a version, once the app is complete."""
    newest: Body = api.spec.to_dict()
    endpoints = {operation_id(rule.endpoint): rule.endpoint for rule in app.url_map.iter_rules()}
    return newest if version == V1.newest else older(newest, version, V1, endpoints)


def older(document: Mapping[str, Any], version: str, registry: Registry, endpoints: Mapping[str, str]) -> Body:
    """The document of a version. ``document`` is the newest, ``endpoints`` those of its operations by their ids."""
    made = deepcopy(dict(document))
    made["components"]["parameters"][VERSION]["schema"] = {"type": "string", "enum": [version]}
    for operation in _operations(made):
        changes = registry.between(version, endpoints[operation["operationId"]])
        if changes:
            _undo(operation, changes, made["components"]["schemas"])
        for change in changes:
            if change.older_status is not None:
                _answer_with(operation, change.older_status, change.newer_status)
    return made


def _operations(document: Mapping[str, Any]) -> Iterator[Body]:
    for item in document["paths"].values():
        for method in METHODS:
            if method in item:
                yield item[method]


def _undo(operation: Body, changes: tuple[Change, ...], schemas: Mapping[str, Body]) -> None:
    asked = operation.get("requestBody", {}).get("content", {}).get(JSON)
    answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    told = [answer["content"][JSON] for answer in answers if JSON in answer.get("content", {})]
    for media in [one for one in (asked, *told) if one is not None]:
        media["schema"] = _in_place(media["schema"], schemas)
    for change in changes:
        if asked is not None:
            asked["schema"] = change.older_request_schema(asked["schema"])
            if "example" in asked:
                asked["example"] = change.older_request(asked["example"])
        for media in told:
            media["schema"] = change.response_schema(media["schema"])
            if "example" in media:
                media["example"] = change.response(media["example"])
        for parameter in operation.get("parameters", []):
            if parameter.get("name") in change.parameters:
                parameter["schema"] = dict(change.parameters[parameter["name"]])


def _in_place(schema: Body, schemas: Mapping[str, Body]) -> Body:
    return deepcopy(schemas[schema["$ref"].rsplit("/", 1)[-1]]) if "$ref" in schema else schema


def _answer_with(operation: Body, older: int, newer: int | None) -> None:
    """A success of an operation under another status, beside what has that status already; 204 has no body.

    Raises ValueError where the change does not say which of several it is.
    """
    answers = operation["responses"]
    successes = [status for status in answers if status.startswith("2")]
    if newer is None and len(successes) > 1:
        raise ValueError(f"{operation['operationId']} answers {', '.join(successes)}: newer_status must say which")
    answer = answers.pop(successes[0] if newer is None else str(newer))
    gone = {"content", "links"} if older == NO_CONTENT else set()
    kept = {name: value for name, value in answer.items() if name not in gone}
    beside = answers.get(str(older))
    operation["responses"] = dict(sorted({**answers, str(older): _either(beside, kept) if beside else kept}.items()))


def _either(one: Body, other: Body) -> Body:
    """Two answers that have one status."""
    made = other | one | {"description": f"{one['description']} Or: {other['description']}"}
    medias = [answer["content"][JSON] for answer in (one, other) if JSON in answer.get("content", {})]
    schemas = [media["schema"] for media in medias]
    if schemas and schemas[0] != schemas[-1]:
        made["content"] = one["content"] | {JSON: medias[0] | {"schema": {"anyOf": schemas}}}
    return made
