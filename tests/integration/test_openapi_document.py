"""The OpenAPI document by itself: valid, complete, its examples fit their schemas, its links lead somewhere."""

import json
import re
from collections import Counter

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from agora.api_versions import OLDEST
from agora.events.catalogue import CATALOGUE as EVENTS
from agora.quotas import tiers
from api.app import create_app
from api.auth import OPEN_ENDPOINTS
from api.openapi_document import SIGNED, operation_id
from api.openapi_examples import REQUESTS
from api.openapi_headers import ALWAYS, DEPRECATING
from api.openapi_links import LINKS
from tests.support.routes import ROUTES

SPEC = json.loads(json.dumps(create_app().extensions["agora-api"].spec.to_dict()))
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = {
    (method, path): item[method] for path, item in SPEC["paths"].items() for method in METHODS if method in item
}
BY_ID = {operation["operationId"]: (where, operation) for where, operation in OPERATIONS.items()}
BODILESS = {"204", "202"}


def accepted(schema, value):
    """What a schema of the document has against a value."""
    whole = {
        "$ref": "#/components/schemas/X",
        "components": {"schemas": {**SPEC["components"]["schemas"], "X": schema}},
    }
    return [error.message for error in jsonschema_rs.Draft202012Validator(whole, offline=True).iter_errors(value)]


def test_it_is_valid_openapi_3_1():
    assert [error.message for error in OpenAPIV31SpecValidator(SPEC).iter_errors()] == []


def test_it_has_every_route_of_the_api():
    wanted = {
        (route.method, route.rule.replace("<", "{").replace(">", "}"))
        for route in ROUTES
        if route.rule.startswith("/api/v1/") and route.endpoint != "api-docs.openapi_json"
    }
    assert OPERATIONS.keys() == wanted


def no_name(_, operation):
    return not operation.get("operationId")


def no_summary(_, operation):
    return not operation.get("summary", "").strip()


def no_known_tag(_, operation):
    tags = {tag["name"] for tag in SPEC["tags"] if tag.get("description")}
    return len(operation.get("tags", [])) != 1 or operation["tags"][0] not in tags


def undeclared_parameter(where, operation):
    declared = operation.get("parameters", []) + SPEC["paths"][where[1]].get("parameters", [])
    return {one["name"] for one in declared if one.get("in") == "path"} != {
        part.strip("{}") for part in where[1].split("/") if part.startswith("{")
    }


def no_success(_, operation):
    return not any(status.startswith(("2", "302")) for status in operation["responses"])


def answer_without_words(_, operation):
    return any(not answer.get("description", "").strip() for answer in operation["responses"].values())


def success_without_schema(_, operation):
    return any(
        not answer.get("content") and status not in BODILESS
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    )


def error_that_is_no_problem(_, operation):
    return any(
        list(answer.get("content", {})) != ["application/problem+json"]
        for status, answer in operation["responses"].items()
        if status >= "400"
    )


def answer_without_example(_, operation):
    return any(
        "example" not in media
        for answer in operation["responses"].values()
        for kind, media in answer.get("content", {}).items()
        if kind.endswith("json")
    )


def body_without_example(_, operation):
    bodies = operation.get("requestBody", {}).get("content", {})
    return any("example" not in media for kind, media in bodies.items() if kind == "application/json")


def missing_refusals(_, operation):
    statuses = operation["responses"].keys()
    wanted = {"401", "429", "500", "503"} | ({"400", "413", "415", "422"} if "requestBody" in operation else set())
    return not wanted <= statuses


def no_word_of_a_foreign_team(_, operation):
    """Whoever has credentials may name a team that they are not in."""
    return operation.get("security") != [] and "404" not in operation["responses"]


def waiting_without_a_time(_, operation):
    return any("Retry-After" not in operation["responses"][status]["headers"] for status in ("429", "503"))


def answer_without_its_headers(_, operation):
    return any(not ALWAYS.keys() <= answer.get("headers", {}).keys() for answer in operation["responses"].values())


def page_without_cursor(_, operation):
    answer = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    schema = answer.get("schema", {})
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    paged = "next_cursor" in SPEC["components"]["schemas"].get(name, {}).get("properties", {})
    return paged and not {"limit", "cursor"} <= {one.get("name") for one in operation.get("parameters", [])}


def made_that_leads_nowhere(_, operation):
    """What answers with an id leads to what takes it. No path takes a team's, nor that of who is not signed in."""
    media = [operation["responses"].get(status, {}).get("content", {}) for status in ("201", "202")]
    schemas = [one["application/json"]["schema"].get("$ref", "") for one in media if "application/json" in one]
    made = [SPEC["components"]["schemas"].get(name.rsplit("/", 1)[-1], {}).get("properties", {}) for name in schemas]
    linked = any("links" in answer for answer in operation["responses"].values())
    nowhere = operation["operationId"] in {"teams_create_team", "sign_in_accept_as_new"}
    return any("id" in fields for fields in made) and linked is nowhere


RULES = (
    no_name, no_summary, no_known_tag, undeclared_parameter, no_success, answer_without_words, success_without_schema,
    error_that_is_no_problem, answer_without_example, body_without_example, missing_refusals,
    no_word_of_a_foreign_team, waiting_without_a_time, answer_without_its_headers, page_without_cursor,
    made_that_leads_nowhere,
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_no_operation_breaks_a_rule(rule):
    assert [where for where, operation in OPERATIONS.items() if rule(where, operation)] == []


def test_what_is_said_of_headers_is_what_answers_have(caller):
    tiers.move_team("t", None, {"requests_per_minute": 100})
    newest = caller.get("/api/v1/jobs").headers
    assert ALWAYS.keys() <= set(newest.keys())
    assert not DEPRECATING.keys() & set(newest.keys())
    assert DEPRECATING.keys() - {"Sunset"} <= set(
        caller.get("/api/v1/jobs", headers={"Agora-Version": OLDEST}).headers.keys()
    )


def test_names_are_unique():
    every = [one["operationId"] for one in OPERATIONS.values()]
    every += [item["post"]["operationId"] for item in SPEC["webhooks"].values()]
    assert [name for name, count in Counter(every).items() if count > 1] == []


def test_what_needs_no_credentials_says_so_and_nothing_else_does():
    opened = {operation_id(one) for one in OPEN_ENDPOINTS}
    for name, (_, operation) in BY_ID.items():
        assert (operation.get("security") == []) is (name in opened), name
    assert SPEC["security"] == [{"key": []}, {"user": []}]


def test_every_example_is_what_its_schema_says():
    wrong = {}
    for where, operation in OPERATIONS.items():
        answers = [media for answer in operation["responses"].values() for media in answer.get("content", {}).values()]
        for media in [*answers, *operation.get("requestBody", {}).get("content", {}).values()]:
            if "example" in media and (errors := accepted(media["schema"], media["example"])):
                wrong[where] = errors
    assert wrong == {}


LACKED = {
    "BudgetOut": {"max_tokens", "max_cost_usd", "max_run_seconds", "queue_timeout", "initial"},
    "FieldProblem": {"value", "value_class"},
    "JobOut": {"deliveries"},
    "NewKeyOut": {"secret"},
    "Problem": {"errors"},
    "SubmittedOut": {"deliveries", "deduplicated", "webhook_secret"},
    "UsageOut": {"tokens_in", "tokens_out", "tokens", "cost_usd", "run_seconds", "children"},
    "WaitsOut": {"queue", "until", "ahead", "more", "limit", "detail", "version", "approval", "budget"},
}
"""Fields that an answer may lack. A field that joins them must be of a new answer: clients rely on all others."""


def schemas_of(part):
    """Names of the schemas that every operation's part refers to, and those that these refer to."""
    found, waiting = set(), [operation.get(part) for operation in OPERATIONS.values()]
    while waiting:
        named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(waiting.pop()))) - found
        found |= named
        waiting += [SPEC["components"]["schemas"][name] for name in named]
    return found


def test_answers_have_all_of_their_fields_but_for_these():
    schemas, answered = SPEC["components"]["schemas"], schemas_of("responses")
    assert len(answered) > 100
    assert not answered & schemas_of("requestBody"), "what is required of an answer would be of a request"
    lacked = {name: schemas[name]["properties"].keys() - schemas[name].get("required", ()) for name in answered}
    assert {name: fields for name, fields in lacked.items() if fields} == LACKED


def test_every_written_example_and_link_belongs_to_an_operation():
    names = {route.endpoint for route in ROUTES}
    assert REQUESTS.keys() <= names
    assert LINKS.keys() <= names
    assert {one for targets in LINKS.values() for one in targets} <= names


def test_links_lead_to_operations_that_take_what_they_give():
    count = 0
    for _, operation in BY_ID.values():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                (_, path), target = BY_ID[link["operationId"]]
                declared = target.get("parameters", []) + SPEC["paths"][path].get("parameters", [])
                assert link["parameters"].keys() <= {one.get("name") for one in declared}
                count += 1
    assert count > 90


def test_every_event_is_a_webhook_with_its_schema_example_and_signature():
    assert SPEC["webhooks"].keys() == EVENTS.keys()
    for name, item in SPEC["webhooks"].items():
        operation = item["post"]
        media = operation["requestBody"]["content"]["application/json"]
        assert accepted(media["schema"], media["example"]) == [], name
        assert {one["name"] for one in operation["parameters"]} == {head for head, _ in SIGNED}
        assert operation["summary"]
        assert operation["security"] == []


def test_a_schema_of_an_event_refuses_what_is_none():
    media = SPEC["webhooks"]["job.failed"]["post"]["requestBody"]["content"]["application/json"]
    data = media["example"]["data"]
    for wrong in ({}, data | {"links": {}}, data | {"error": {"code": 3}}):
        assert accepted(media["schema"], media["example"] | {"data": wrong}), wrong


def test_schemas_of_events_have_names_of_their_own_that_a_generator_of_types_follows():
    bodies = [one["post"]["requestBody"]["content"] for one in SPEC["webhooks"].values()]
    named = {body["application/json"]["schema"]["$ref"] for body in bodies}
    assert {"#/components/schemas/EventJobSucceeded", "#/components/schemas/EventWebhookEndpointFailing"} < named
    assert len(named) == len(EVENTS)
    assert "$defs" not in json.dumps({**SPEC["webhooks"], **SPEC["components"]["schemas"]})
