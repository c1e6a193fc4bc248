"""The Python client held against the OpenAPI document: what each of its methods sends is an operation that there is,
with parameters, headers and a body that the operation takes."""

import inspect
import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema_rs
import pytest

from agora.client import Agora
from api.app import create_app

SPEC = json.loads(json.dumps(create_app().extensions["agora-api"].spec.to_dict()))
TIME = datetime(2099, 1, 1, tzinfo=UTC)
OF_EVERY_REQUEST = {"Authorization", "Accept", "Content-Type", "Agora-Version"}
LATER = {"wait", "wait_batch", "wait_bulk", "wait_replay"}
"""They ask what others ask, until it has ended."""
NONE_OF_THE_WIRE = {"close"}
VALUES = {
    "job_id": "job_1", "agent": "probe", "action": "double", "input": {"n": 1}, "version": 1, "priority": 5,
    "run_at": TIME, "deadline": TIME, "since": TIME, "expires_at": TIME, "metadata": {"a": "b"},
    "webhook": {"url": "https://a.test/h"}, "budget": {"max_tokens": 5}, "wait": 3,
    "concurrency_key": "k", "concurrency_limit": 2,
    "concurrency_policy": "queue", "unique": {"key": "k"}, "debounce": None, "idempotency_key": "once",
    "if_match": '"5f2c"', "if_none_match": "*", "all": True, "all_endpoints": False, "read_only": True, "dry_run": True,
    "scopes": ["jobs:read"], "requests_per_minute": 5, "overlap": 3, "api_version": "2026-11-30",
    "email": "ada@example.test", "role": "viewer", "password": "four brown owls", "status": "resolved",
    "access": "read", "days": 2, "endpoints": [{"url": "https://a.test"}],
    "jobs": [{"agent": "probe", "action": "double", "input": {}}], "scope": {"customer": "c"}, "expires_in": 60,
    "before": 1, "after": 0, "from_step": "twice", "filter": {"agent": "probe"}, "count": 2, "window": 60.0,
    "outcome": "failed", "value": 1, "source": b"text", "media_type": "text/plain", "url": "https://a.test/h",
    "event_type": "job.succeeded", "approval": "apr_1", "question": "qst_1", "phase": None, "tier": "pro",
    "target": "*",
}  # fmt: skip
"""By the name of the parameter; None: left out, since it goes with others only."""
OF_METHOD = {
    "bulk": {"action": "cancel", "all": False}, "put_limit": {"max_running": 1}, "put_team_tier": {"members": 4},
    "update_endpoint": {"description": "d"}, "update_schedule": {"priority": 3},
    "create_endpoint": {"description": "d"}, "create_schedule": {"cron": "0 0 * * *"},
    "revise_specification": {"confidence": 0.5}, "list_jobs": {"status": ["failed"], "limit": 2},
    "iter_jobs": {"agent": "probe"}, "get_job": {"include": "deliveries"},
    "replay_deliveries": {"all": False, "status": ["exhausted"]}, "list_audit": {"action": "key.*"},
    "add_webhook_key": {"algorithm": "v1a"}, "update_project": {"name": "P"}, "iter_items": {"status": "failed"},
    "iter_bulk_items": {"outcome": "failed"}, "change_role": {"role": "lead"}, "grant_admin": {"role": "support"},
    "revoke_admin": {"role": "support"}, "list_deliveries": {"limit": 2}, "schedule_runs": {"limit": 2},
    "submit": {"debounce": None}, "events": {"deadline": None}, "retry": {"from_step": "twice"},
    "rotate_webhook_key": {"algorithm": "v1"},
}  # fmt: skip
METHODS = [
    name
    for name, _ in inspect.getmembers(Agora, inspect.isfunction)
    if not name.startswith("_") and name not in LATER | NONE_OF_THE_WIRE
]


class Sent(Exception):
    """What would have gone over the wire."""


class Recorder(Agora):
    def _exchange(self, method, path, body, headers, timeout):
        raise Sent(method, path, body, headers)

    def _connect(self, timeout):
        return SimpleNamespace(close=lambda: None)

    def _send(self, connection, method, path, body, headers):
        raise Sent(method, path, body, headers)


def sent_by(name, *, optional):
    """What a method sends, with all that it takes or with what it needs."""
    method = getattr(Recorder("http://127.0.0.1:1", "agora_key"), name)
    given = {}
    for parameter in inspect.signature(method).parameters.values():
        needed = parameter.default is inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or not (needed or optional):
            continue
        value = VALUES.get(parameter.name, "x")
        if value is not None or needed:
            given[parameter.name] = value
    given = {key: value for key, value in (given | OF_METHOD.get(name, {})).items() if value is not None}
    try:
        next(iter(method(**given)))  # a generator sends once somebody asks
    except Sent as sent:
        return sent.args
    raise AssertionError(f"{name} sends nothing")


def operation_of(method, path):
    """The operation that a path is of, the one without arguments first, and all its parameters."""
    for template in sorted(SPEC["paths"], key=lambda one: one.count("{")):
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        item = SPEC["paths"][template]
        if re.fullmatch(pattern, f"/api/v1{path}") and method.lower() in item:
            found = item[method.lower()]
            every = [*item.get("parameters", []), *found.get("parameters", [])]
            return found, [resolved(one) for one in every]
    raise AssertionError(f"the document has no {method} {path}")


def resolved(one):
    return SPEC["components"]["parameters"][one["$ref"].rsplit("/", 1)[-1]] if "$ref" in one else one


def faults_of(schema, value):
    whole = {
        "$ref": "#/components/schemas/X",
        "components": {"schemas": {**SPEC["components"]["schemas"], "X": schema}},
    }
    return [error.message for error in jsonschema_rs.Draft202012Validator(whole, offline=True).iter_errors(value)]


@pytest.mark.parametrize("optional", [False, True], ids=["least", "all"])
@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_sends_is_an_operation_of_the_document(name, optional):
    method, target, body, headers = sent_by(name, optional=optional)
    parsed = urlsplit(target)
    operation, parameters = operation_of(method, unquote(parsed.path))
    query = {one["name"]: one for one in parameters if one["in"] == "query"}
    given = parse_qs(parsed.query, keep_blank_values=True)
    assert given.keys() <= query.keys()
    assert {key for key, one in query.items() if one.get("required")} <= given.keys()
    known = {one["name"] for one in parameters if one["in"] == "header"} | OF_EVERY_REQUEST
    assert set(headers) <= known
    takes = operation.get("requestBody", {}).get("content", {})
    assert body is None or takes, "it takes no body"
    if body is not None and "application/json" in takes:
        assert faults_of(takes["application/json"]["schema"], json.loads(body)) == []
