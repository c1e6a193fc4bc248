"""Nothing breaks without a version: the OpenAPI document of now is held against what each version promised.

tests/golden/openapi has a file for each version. That of the newest grows with every addition (`make golden`); a
difference that would break a client fails here, until a new dated version tells of it (docs/versioning.md).
"""

import json
import os
import pickle
from itertools import pairwise
from pathlib import Path

import pytest

from agora.api_versions import NEWEST, VERSIONS
from api.app import create_app
from api.versions.change import all_operations
from api.versions.registry import V1
from tests.support.contract import METHODS, Unknown, broken, promises_of

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "openapi"
RECORD = os.environ.get("RECORD") == "1"
CODE = r"request/code: pattern became ^([0-9]{6}|[A-Za-z2-7]{4}(-?[A-Za-z2-7]{4}){3})$"
CORRECTIONS: dict[str, str] = {
    f"POST /api/v1/auth/sign-in: {CODE}": "six digits are taken as before, and recovery codes as well",
    f"POST /api/v1/me/second-factor/remove: {CODE}": "likewise",
}
"""Differences that break nobody, which the check cannot know: each its reason."""


@pytest.fixture(scope="module")
def app():
    return create_app()


@pytest.fixture(scope="module")
def document(app):
    return promises_of(app.test_client().get("/api/v1/openapi.json").json)


@pytest.fixture(scope="module")
def another(document):
    """Makes copies of the document."""
    kept = pickle.dumps(document)  # quicker than copy.deepcopy
    return lambda: pickle.loads(kept)


def promised(version):
    return json.loads((FOLDER / f"{version}.json").read_text())


def text_of(promises):
    return json.dumps(promises, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def test_the_newest_version_keeps_what_it_promised(document):
    path = FOLDER / f"{NEWEST}.json"
    breaks = broken(promised(NEWEST), document) if path.exists() else []
    assert not breaks, "these break clients; they need a new dated version (docs/versioning.md):\n" + "\n".join(
        map(str, breaks)
    )
    if RECORD:
        path.write_text(text_of(document))
    assert path.exists(), f"{NEWEST} has no golden file: make golden"
    assert promised(NEWEST) == document, "the document has more than was promised: make golden"


def endpoint_of(app, operation):
    method, path = operation.split(" ")
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            template = rule.rule.replace("<path:", "<").replace("<", "{").replace(">", "}")
            if template == path and method in rule.methods:
                return rule.endpoint
    return None


def undeclared(app, before, after, changes):
    """Breaks between two documents whose operation no change of the newer version names."""
    declared = all_operations(changes)
    return [
        one
        for one in broken(before, after)
        if endpoint_of(app, one.operation) not in declared and str(one) not in CORRECTIONS
    ]


@pytest.mark.parametrize(("older", "newer"), list(pairwise(VERSIONS)))
def test_what_a_version_breaks_its_changes_tell(app, older, newer):
    [version] = [one for one in V1.versions if one.date == newer]
    assert undeclared(app, promised(older), promised(newer), version.changes) == []
    assert undeclared(app, promised(older), promised(newer), ()), "a version that breaks nothing is none"


def test_corrections_are_needed():
    every = {str(one) for older, newer in pairwise(VERSIONS) for one in broken(promised(older), promised(newer))}
    assert CORRECTIONS.keys() <= every


# --- the check itself, by documents that were tampered with

KEYS, JOBS, ROTATE = "/api/v1/keys", "/api/v1/jobs", "/api/v1/keys/{key_id}/rotate"


def schema(document, name):
    return document["components"]["schemas"][name]


def set_in(name, field, **words):
    return lambda document: schema(document, name)["properties"][field].update(words)


def require(name, *fields):
    return lambda document: schema(document, name).setdefault("required", []).extend(fields)


def drop(name, field):
    return lambda document: schema(document, name)["properties"].pop(field)


def rename(name, older, newer):
    def run(document):
        fields = schema(document, name)["properties"]
        fields[newer] = fields.pop(older)

    return run


def parameter(document, path, name):
    [found] = [one for one in document["paths"][path]["get"]["parameters"] if one.get("name") == name]
    return found


def headers_of(document, method, status):
    return document["paths"][JOBS][method]["responses"][status]["headers"]


BREAKS = {
    "an operation is gone": lambda document: document["paths"][KEYS].pop("post"),
    "a path is gone": lambda document: document["paths"].pop(ROTATE),
    "a field of an answer is gone": drop("KeyOut", "prefix"),
    "a field of an answer has another name": rename("JobOut", "status", "state"),
    "a field of an answer has another type": set_in("JobOut", "priority", type="string"),
    "a field of an answer may be null": set_in("JobOut", "status", type=["string", "null"]),
    "a field deep in an answer is gone": drop("StepOut", "name"),
    "an answer may say another word": lambda document: schema(document, "JobOut")["properties"]["status"][
        "enum"
    ].append("dormant"),
    "an answer says any word": lambda document: schema(document, "JobOut")["properties"]["status"].pop("enum"),
    "a field of an answer may be missing": lambda document: schema(document, "JobPage")["required"].remove("items"),
    "a field that an answer always had may be missing": lambda document: schema(document, "JobOut")["required"].remove(
        "status"
    ),
    "a field deep in an answer may be missing": lambda document: schema(document, "AttemptOut")["required"].remove(
        "outcome"
    ),
    "a link of an answer may be missing": lambda document: schema(document, "JobOut")["properties"]["links"][
        "required"
    ].remove("events"),
    "a status is gone": lambda document: document["paths"][KEYS]["post"]["responses"].pop("201"),
    "another success comes": lambda document: document["paths"][KEYS]["post"]["responses"].update(
        {"202": {"description": "later"}}
    ),
    "an answer has another media type": lambda document: document["paths"][KEYS]["get"]["responses"]["200"].update(
        content={"text/csv": {"schema": {"type": "string"}}}
    ),
    "a header of an answer is gone": lambda document: headers_of(document, "post", "202").pop("Location"),
    "a header of an answer has another type": lambda document: document["components"]["headers"]["Location"].update(
        schema={"type": "integer"}
    ),
    "a request must say more": require("JobIn", "metadata"),
    "a request may not say something any more": drop("JobIn", "priority"),
    "a field of a request has another type": set_in("JobIn", "priority", type="string"),
    "a field of a request may be null no more": set_in("EndpointIn", "uid", type="string"),
    "a request may say fewer words": lambda document: schema(document, "JobIn")["properties"]["concurrency_policy"][
        "enum"
    ].remove("reject"),
    "a request may say only some words": set_in("JobIn", "agent", enum=["probe"]),
    "a number may be less big": set_in("JobIn", "priority", maximum=8),
    "a number must be bigger": set_in("JobIn", "priority", minimum=1),
    "a text may be less long": set_in("KeyIn", "name", maxLength=50),
    "a text must have a form": set_in("KeyIn", "name", pattern="^[a-z]+$"),
    "a default is another": set_in("JobIn", "priority", default=4),
    "a parameter is gone": lambda document: document["paths"][JOBS]["get"]["parameters"].remove(
        parameter(document, JOBS, "agent")
    ),
    "a parameter is required": lambda document: parameter(document, JOBS, "agent").update(required=True),
    "a new parameter is required": lambda document: document["paths"][JOBS]["get"]["parameters"].append(
        {"in": "query", "name": "since", "required": True, "schema": {"type": "string"}}
    ),
    "a parameter may be less big": lambda document: parameter(document, JOBS, "limit")["schema"].update(maximum=100),
    "a body is required": lambda document: document["paths"]["/api/v1/jobs/{job_id}/cancel"]["post"][
        "requestBody"
    ].update(required=True),
    "a body has another media type": lambda document: document["paths"][KEYS]["post"]["requestBody"].update(
        content={"application/xml": {"schema": {"type": "object"}}}
    ),
    "a request takes no other fields": lambda document: schema(document, "Problem").update(additionalProperties=False)
    or schema(document, "JobIn")["properties"]["metadata"].update(additionalProperties=False),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_a_client_is_seen(document, another, name):
    after = another()
    BREAKS[name](after)
    assert broken(document, after), name


def add_operation(document):
    document["paths"]["/api/v1/new"] = {"get": {"responses": {"200": {"description": "new"}}}}


KEEPS = {
    "nothing": lambda document: None,
    "an operation more": add_operation,
    "a field more in an answer": lambda document: schema(document, "JobOut")["properties"].update(
        colour={"type": "string"}
    ),
    "a field more in a request": lambda document: schema(document, "JobIn")["properties"].update(
        colour={"type": "string"}
    ),
    "a word more in a request": lambda document: schema(document, "JobIn")["properties"]["concurrency_policy"][
        "enum"
    ].append("wait"),
    "a word less in an answer": lambda document: schema(document, "JobOut")["properties"]["status"]["enum"].remove(
        "waiting"
    ),
    "a field of an answer that is always there": require("JobOut", "deliveries"),
    "a field of a request that need not be there": lambda document: schema(document, "JobIn")["required"].remove(
        "input"
    ),
    "a longer text in a request": set_in("KeyIn", "name", maxLength=500),
    "a shorter text in an answer": set_in("KeyOut", "name", maxLength=100),
    "null in a request": set_in("JobIn", "priority", type=["integer", "null"]),
    "another word for people": set_in("JobOut", "id", description="which one"),
    "a parameter more": lambda document: document["paths"][JOBS]["get"]["parameters"].append(
        {"in": "query", "name": "colour", "schema": {"type": "string"}}
    ),
    "a header more in an answer": lambda document: headers_of(document, "post", "202").update(
        {"Last-Modified": {"schema": {"type": "string"}}}
    ),
    "an error more": lambda document: document["paths"][JOBS]["get"]["responses"].update(
        {"418": {"description": "tea"}}
    ),
    "a deprecated operation": lambda document: document["paths"][KEYS]["get"].update(deprecated=True),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEPS)
def test_what_breaks_nobody_passes(document, another, name):
    after = another()
    KEEPS[name](after)
    assert broken(document, promises_of(after)) == [], name


def test_a_keyword_that_the_check_does_not_know_is_a_failure(document, another):
    after = another()
    set_in("JobIn", "agent", contains={"type": "string"})(after)
    with pytest.raises(Unknown):
        broken(document, after)


def test_every_operation_is_looked_at(document, another):
    after = another()
    for item in after["paths"].values():
        for method in item.keys() & set(METHODS):
            for status in [one for one in item[method]["responses"] if one < "400"]:
                del item[method]["responses"][status]
    every = {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item.keys() & set(METHODS)
    }
    assert {one.operation for one in broken(document, after)} == every


def test_a_break_without_a_version_fails(app, document, another):
    after = another()
    drop("LimitOut", "rate")(after)
    changes = V1.versions[0].changes
    assert {one.operation for one in undeclared(app, document, after, changes)} == {
        "GET /api/v1/limits", "GET /api/v1/limits/{target}", "PUT /api/v1/limits/{target}",
    }  # fmt: skip
