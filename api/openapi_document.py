"""What the OpenAPI document has besides what each view says: names, examples, links, webhooks."""

import re
from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask_smorest import Api

from agora.events.catalogue import CATALOGUE as EVENTS
from agora.events.declare import EventType
from api.auth import OPEN_ENDPOINTS, TEAM_HEADER
from api.errors.catalogue import BY_STATUS
from api.openapi import JSON, PROBLEM
from api.openapi_answers import require
from api.openapi_examples import REQUESTS, SUFFIX, of_schema
from api.openapi_headers import SENT, TAKEN, described, headers_of
from api.openapi_links import links_of

ABOUT = """Submit agent jobs, watch their steps, and be called back by signed webhooks.

**Lists** come in pages, newest first: `limit` says how many items at most, and `next_cursor` of an answer is the
`cursor` of the next request; null means that there are no more. Items that are made meanwhile move no page.

**Creates** that have `Idempotency-Key` among their parameters answer a repeat with the same key, within 24 hours, with
what the first one made, and `Idempotent-Replayed: true`.

**Errors** are problem documents (RFC 9457). `type` leads to their meaning, `errors` names wrong fields, and
`request_id` is also in the header `X-Request-Id` of each answer.
"""
SIGNED = (
    ("webhook-id", "The event, the same for each try of each endpoint: keep those that you have dealt with."),
    ("webhook-timestamp", "Seconds since 1970 when this try was signed: refuse what is older than five minutes."),
    ("webhook-signature", "Signatures by each key that is valid now, such as `v1,…`, with spaces between them."),
)
"""Headers of Standard Webhooks (https://www.standardwebhooks.com/)."""
SCHEMAS, DEFINED = "#/components/schemas/", "#/$defs/"
METHODS = ("get", "post", "put", "patch", "delete")
OK, REDIRECT = 200, 300


def complete(app: Flask, api: Api) -> None:
    """Complete the document, once all blueprints are registered."""
    spec = api.spec
    endpoints = _endpoints(app)
    names = {endpoint: operation_id(endpoint) for endpoint in endpoints.values()}
    schemas = spec.components.schemas
    paths = spec._paths  # noqa: SLF001  # apispec has no other way to what it has
    operations = {(path, method): item[method] for path, item in paths.items() for method in METHODS if method in item}
    require(operations.values(), schemas)
    for where, operation in operations.items():
        _complete(operation, where[1], endpoints[where], names, schemas)
    for name, (text, schema) in SENT.items():
        spec.components.parameter(name, "header", {"name": name, "description": text, "schema": schema})
    for name, header in described().items():
        spec.components.header(name, header)
    spec.options["info"]["description"] = ABOUT
    for name, schema in _of_events().items():
        spec.components.schema(name, schema)
    spec.options["webhooks"] = {one.name: _webhook(one) for one in EVENTS.values()}
    spec.tag({"name": "webhooks", "description": "What endpoints of webhooks are sent: one request for each event."})


def operation_id(endpoint: str) -> str:
    """The name of an operation, for generators of clients: unique, since endpoints are."""
    return endpoint.replace("-", "_").replace(".", "_")


def _endpoints(app: Flask) -> dict[tuple[str, str], str]:
    found = {}
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<", "{").replace(">", "}")
        for method in rule.methods or ():
            found[path, method.lower()] = rule.endpoint
    return found


def _complete(
    operation: dict[str, Any], method: str, endpoint: str, names: Mapping[str, str], schemas: Mapping[str, Any]
) -> None:  # fmt: skip
    operation["operationId"] = names[endpoint]
    if endpoint in OPEN_ENDPOINTS:
        operation["security"] = []
    of_team = () if endpoint in OPEN_ENDPOINTS else (TEAM_HEADER,)
    for name in (*of_team, *TAKEN.get(endpoint, ())):
        operation.setdefault("parameters", []).append({"$ref": f"#/components/parameters/{name}"})
    for media in operation.get("requestBody", {}).get("content", {}).values():
        if endpoint in REQUESTS:
            media.setdefault("example", REQUESTS[endpoint])
    for code, answer in operation["responses"].items():
        status = int(code)
        answer["headers"] = headers_of(endpoint, method, status, operation)
        for kind, media in answer.get("content", {}).items():
            if kind == PROBLEM:
                media.setdefault("example", _problem(status, answer["description"]))
            elif kind == JSON and "schema" in media:
                media.setdefault("example", of_schema(media["schema"], schemas))
        if OK <= status < REDIRECT and (links := links_of(endpoint, _fields(answer, schemas), names)):
            answer["links"] = links


def _fields(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> frozenset[str]:
    """The fields of an answer's object."""
    schema = answer.get("content", {}).get(JSON, {}).get("schema", {})
    return frozenset(schemas.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema).get("properties", {}))


def _problem(status: int, description: str) -> dict[str, Any]:
    entry = BY_STATUS[status]
    told: dict[str, Any] = {
        "type": f"/errors/{entry.code}", "title": entry.title, "status": status, "detail": description,
        "instance": "/api/v1/…", "code": entry.code, "request_id": f"req{SUFFIX}",
    }  # fmt: skip
    if entry.code == "invalid":
        told["errors"] = [
            {"pointer": "/priority", "rule": "range", "message": "/priority: must be 0 to 9", "value": 12,
             "value_class": "integer"}
        ]  # fmt: skip
    return told


def schema_of(name: str) -> str:
    """The name of the schema of an event, or of a part that several have: `job.succeeded` is `EventJobSucceeded`."""
    return "Event" + "".join(part[0].upper() + part[1:] for part in re.split(r"[._]", name.replace("*", "any")))


def _of_events() -> dict[str, Any]:
    """The schemas of all events by name, with the parts that several have. Raises ValueError for two of one name."""
    found: dict[str, Any] = {}
    for event in EVENTS.values():
        parts = event.schema["$defs"]
        whole = {name: one for name, one in event.schema.items() if name not in {"$defs", "$schema"}}
        for name, schema in {**parts, event.name: whole}.items():
            if found.setdefault(schema_of(name), _rooted(schema)) != _rooted(schema):
                raise ValueError(f"{event.name}: {name} is another schema elsewhere")
    return found


def _webhook(event: EventType) -> dict[str, Any]:
    headers = [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in SIGNED
    ]
    body = {"schema": {"$ref": f"{SCHEMAS}{schema_of(event.name)}"}, "example": event.payload}
    return {
        "post": {
            "operationId": f"webhook_{event.name.replace('.', '_').replace('*', 'any')}",
            "tags": ["webhooks"],
            "summary": event.description,
            "security": [],
            "parameters": headers,
            "requestBody": {"required": True, "content": {JSON: body}},
            "responses": {
                "2XX": {"description": "Taken: there is no other try."},
                "410": {"description": "Gone: the endpoint is disabled."},
                "default": {"description": "Not taken: there are further tries, over days."},
            },
        }
    }


def _rooted(schema: Any) -> Any:
    """A schema of an event with references to its definitions as they are seen from the root of the document."""
    if isinstance(schema, dict):
        return {
            key: SCHEMAS + schema_of(value.removeprefix(DEFINED)) if key == "$ref" and isinstance(value, str)
            else _rooted(value)
            for key, value in schema.items()
        }  # fmt: skip
    return [_rooted(one) for one in schema] if isinstance(schema, list) else schema
