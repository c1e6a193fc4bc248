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
from api.openapi_examples import REQUESTS, SUFFIX, of_schema
from api.openapi_links import links_of

ABOUT = """Submit agent jobs, watch their steps, and be called back by signed webhooks.

**Lists** come in pages, newest first: `limit` says how many items at most, and `next_cursor` of an answer is the
`cursor` of the next request; null means that there are no more. Items that are made meanwhile move no page.

**Creates** of jobs, batches, bulk actions, schedules, holds, endpoints, webhook keys, portal links and replays take
`Idempotency-Key`: a repeat within 24 hours gets what the first one made, with `Idempotent-Replayed: true`.

**Errors** are problem documents (RFC 9457). `type` leads to their meaning, `errors` names wrong fields, and
`request_id` is also in the header `X-Request-Id` of each answer.
"""
SIGNED = (
    ("webhook-id", "The event, the same for each try of each endpoint: keep those that you have dealt with."),
    ("webhook-timestamp", "Seconds since 1970 when this try was signed: refuse what is older than five minutes."),
    ("webhook-signature", "Signatures by each key that is valid now, such as `v1,…`, with spaces between them."),
)
"""Headers of Standard Webhooks (https://www.standardwebhooks.com/)."""
ALWAYS = {
    "X-Request-Id": "The id of the request, as in logs.",
    "Agora-Version": "The version that the answer speaks.",
    "RateLimit-Policy": "The limits that the request counted for: `q` requests in `w` seconds "
    "(draft-ietf-httpapi-ratelimit-headers-09). Not there where there is none.",
    "RateLimit": "Of each, `r` is how many requests are left, and `t` the seconds until all are.",
}
"""Headers of every answer, and what they say."""
DEPRECATING = {
    "Deprecation": "Since when what the request speaks is deprecated, if it is: `@` and seconds since 1970 (RFC 9745).",
    "Sunset": "Until when it is answered at least (RFC 8594).",
    "Link": "`successor-version`: what came after it; `deprecation`: what is to be done.",
}
"""Headers of answers to what is deprecated."""
WAITING = {"Retry-After": "Seconds until to come back."}
SENT: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Idempotency-Key": (
        "A repeat with the same key and body, within 24 hours, gets what the first one made.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    TEAM_HEADER: (
        "The team that a user means; without it, their own. A key belongs to one team, and need not name it.",
        {"type": "string", "pattern": "^team_[0-7][0-9a-hjkmnp-tv-z]{25}$"},
    ),
    "Prefer": ("`wait=10`: answer once the job has ended, or after so many seconds.", {"type": "string"}),
    "traceparent": ("The trace that the work belongs to (W3C Trace Context).", {"type": "string"}),
    "Last-Event-ID": (
        "A live stream goes on behind this `id`, a number of up to ten digits. A list passes it over, whatever it is.",
        {"type": "string"},
    ),
}
"""Headers that operations take: that of the team whatever needs credentials, the others some."""
TAKEN: Mapping[str, tuple[str, ...]] = {
    "jobs.submit": ("Idempotency-Key", "Prefer", "traceparent"),
    "batches.submit_batch": ("Idempotency-Key", "traceparent"),
    "events.list_events": ("Last-Event-ID",),
} | dict.fromkeys(
    (
        "bulk.begin_bulk", "holds.create_hold", "lineage.fork_job", "lineage.retry_job", "schedules.create_schedule",
        "schedules.run_schedule", "team.invite", "teams.create_team", "webhook-endpoint-keys.add_endpoint_key",
        "webhook-endpoints.create_endpoint", "webhook-endpoints.recover_endpoint",
        "webhook-key-rotations.rotate_endpoint_key", "webhook-key-rotations.rotate_team_key",
        "webhook-keys.add_team_key", "webhook-portal-links.create_portal_link", "webhook-replays.begin_replay",
    ),
    ("Idempotency-Key",),
)  # fmt: skip
"""By endpoint."""
SCHEMAS, DEFINED = "#/components/schemas/", "#/$defs/"
METHODS = ("get", "post", "put", "patch", "delete")
OK, REDIRECT, ERROR = 200, 300, 400
LATER = frozenset({429, 503})


def complete(app: Flask, api: Api) -> None:
    """Complete the document, once all blueprints are registered."""
    spec = api.spec
    endpoints = _endpoints(app)
    names = {endpoint: operation_id(endpoint) for endpoint in endpoints.values()}
    schemas = spec.components.schemas
    for path, item in spec._paths.items():  # noqa: SLF001  # apispec has no other way to what it has
        for method in METHODS:
            if method in item:
                endpoint = endpoints[path, method]
                _complete(item[method], endpoint, names, schemas)
    for name, (text, schema) in SENT.items():
        spec.components.parameter(name, "header", {"name": name, "description": text, "schema": schema})
    for name, text in (ALWAYS | DEPRECATING | WAITING).items():
        kind = "integer" if name in WAITING else "string"
        spec.components.header(name, {"description": text, "schema": {"type": kind}})
    spec.options["info"]["description"] = ABOUT
    for name, schema in _of_events().items():
        spec.components.schema(name, schema)
    spec.options["webhooks"] = {one.name: _webhook(one) for one in EVENTS.values()}
    spec.tag({"name": "webhooks", "description": "What endpoints of webhooks are sent: one request for each event."})


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


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


def _complete(operation: dict[str, Any], endpoint: str, names: Mapping[str, str], schemas: Mapping[str, Any]) -> None:
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
        said = [*ALWAYS, *(DEPRECATING if status < ERROR else ()), *(WAITING if status in LATER else ())]
        answer["headers"] = {name: _header(name) for name in said} | answer.get("headers", {})
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
