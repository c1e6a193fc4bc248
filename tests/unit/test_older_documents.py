"""The OpenAPI documents of older versions: they say what was promised, what is answered, and nothing that is not so."""

import json
import re

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from agora.api_versions import NEWEST, OLDEST, VERSIONS
from api.app import create_app
from api.openapi_document import METHODS
from api.openapi_versions import document_of, older
from api.versions.change import Change, Renamed, Version, same
from api.versions.registry import V1, Registry
from tests.support.contract import broken, promises_of
from tests.support.recorded import FOLDER
from tests.unit.test_contract import CORRECTIONS
from tests.unit.test_contract import FOLDER as PROMISES

APP = create_app()
API = APP.extensions["agora-api"]
DOCUMENTS = {version: json.loads(json.dumps(document_of(APP, API, version))) for version in VERSIONS}
OLDER = VERSIONS[:-1]
SAME = CORRECTIONS | {
    "POST /api/v1/me/second-factor/confirm: request/code: pattern became ^[0-9]{6}$": "six digits, as ever",
}
STANDS_IN = re.compile(r"<[a-z_]+(:\d+)?>")
EXCHANGES = [
    pytest.param(exchange, id=f"{path.stem}-{number}")
    for path in sorted(FOLDER.glob("*.json"))
    for number, exchange in enumerate(json.loads(path.read_text()))
    if "response" in exchange
]


@pytest.mark.parametrize("version", OLDER)
def test_an_older_document_is_valid_and_keeps_what_was_promised(version):
    document = DOCUMENTS[version]
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    promised = json.loads((PROMISES / f"{version}.json").read_text())
    assert [one for one in map(str, broken(promised, promises_of(document))) if one not in SAME] == []


def test_a_program_may_ask_for_the_document_of_its_version():
    client = APP.test_client()
    for version, document in DOCUMENTS.items():
        answered = client.get("/api/v1/openapi.json", headers={"Agora-Version": version})
        assert (answered.json, answered.headers["Agora-Version"]) == (document, version)
        assert "Agora-Version" in answered.headers["Vary"]
    assert client.get("/api/v1/openapi.json").json == DOCUMENTS[NEWEST]
    assert client.get("/api/v1/openapi.json", headers={"Agora-Version": "1999-01-01"}).status_code == 422


def test_the_newest_document_is_not_touched():
    before = json.dumps(API.spec.to_dict())
    document_of(APP, API, OLDEST)
    assert json.dumps(API.spec.to_dict()) == before


@pytest.mark.parametrize("version", OLDER)
def test_examples_fit_their_schemas(version):
    for operation in operations(DOCUMENTS[version]).values():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media in [one for body in bodies for one in body.get("content", {}).values() if "example" in one]:
            assert faults(DOCUMENTS[version], media["schema"], media["example"]) == []


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_what_was_recorded_is_what_the_oldest_document_describes(exchange):
    """Requests that were taken, and every answer that was given."""
    asked, answered = exchange["request"], exchange["response"]
    operation = operation_of(asked["method"].lower(), asked["path"].partition("?")[0])
    if operation is None:
        assert answered["status"] in {404, 405}
        return
    described = operation["responses"][str(answered["status"])]
    if "json" in asked and "requestBody" in operation and answered["status"] < 300:
        media = operation["requestBody"]["content"]["application/json"]
        assert faults(DOCUMENTS[OLDEST], media["schema"], asked["json"]) == []
    for kind in answered["headers"].get("Content-Type", "").split(";")[:1] if described.get("content") else []:
        if kind.endswith("json"):
            assert faults(DOCUMENTS[OLDEST], described["content"][kind]["schema"], answered["body"]) == []


def operations(document):
    """By method and path."""
    return {
        (method, path): item[method] for path, item in document["paths"].items() for method in METHODS if method in item
    }


def operation_of(method, path):
    """The operation that a path is of: the one with the fewest parameters that fits."""
    parts = path.split("/")
    fitting = [
        (rule.count("{"), operation)
        for (its, rule), operation in operations(DOCUMENTS[OLDEST]).items()
        if its == method and len(rule.split("/")) == len(parts)
        and all(one == part or one.startswith("{") for one, part in zip(rule.split("/"), parts, strict=True))
    ]  # fmt: skip
    return min(fitting, key=lambda one: one[0])[1] if fitting else None


def faults(document, schema, value):
    """What a schema of a document has against a recorded value; what stands in for a time or an id is passed over."""
    schemas = {**document["components"]["schemas"], "X": schema}
    whole = {"$ref": "#/components/schemas/X", "components": {"schemas": schemas}}
    found = jsonschema_rs.Draft202012Validator(whole, offline=True, validate_formats=False).iter_errors(value)
    return [str(error) for error in found if not STANDS_IN.search(str(error))]


# --- whatever a change may be


def described(**changed):
    return Change(name="x.y", description="…", operations=frozenset({"keys.create_key"}), **changed)


def test_each_kind_of_change_reaches_the_document():
    document = API.spec.to_dict()
    ids = {one["operationId"]: one["operationId"] for one in operations(document).values()}
    ids["keys_create_key"] = "keys.create_key"

    def of(change):
        registry = Registry([Version(date="2030-01-01", changes=(change,)), Version(date="2029-01-01")])
        return older(document, "2029-01-01", registry, ids)["paths"]["/api/v1/keys"]["post"]

    def media(body):
        return body["content"]["application/json"]

    asked = media(of(described(asked=(Renamed("title", "name"),)))["requestBody"])
    assert asked["schema"]["properties"].keys() & {"title", "name"} == {"title"}
    assert "title" in asked["schema"]["required"]
    assert "title" in asked["example"]
    told = of(described(response=Renamed("plain", "secret"), response_schema=Renamed("plain", "secret").schema))
    assert "plain" in media(told["responses"]["201"])["schema"]["properties"]
    assert "plain" in media(told["responses"]["201"])["example"]
    moved = of(described(older_status=204))["responses"]
    assert "201" not in moved
    assert not moved["204"].keys() & {"content", "links"}
    kept = of(described(older_status=202))["responses"]
    assert media(kept["202"])["schema"]


def test_a_change_says_which_of_several_successes_had_another_status():
    def submitting(**changed):
        change = Change(name="x.y", description="…", operations=frozenset({"jobs.submit"}), **changed)
        registry = Registry([Version(date="2030-01-01", changes=(change,)), Version(date="2029-01-01")])
        document = API.spec.to_dict()
        ids = {one["operationId"]: one["operationId"] for one in operations(document).values()}
        made = older(document, "2029-01-01", registry, ids | {"jobs_submit": "jobs.submit"})
        answers = made["paths"]["/api/v1/jobs"]["post"]["responses"]
        return {status: one for status, one in answers.items() if status.startswith("2")}

    now = API.spec.to_dict()["paths"]["/api/v1/jobs"]["post"]["responses"]
    moved = submitting(older_status=201, newer_status=202)
    assert moved.keys() == {"200", "201"}
    assert [moved[status]["description"] for status in moved] == [now["200"]["description"], now["202"]["description"]]
    assert moved["201"]["links"] == now["202"]["links"]
    emptied = submitting(older_status=204, newer_status=200)
    assert emptied.keys() == {"202", "204"}
    assert not emptied["204"].keys() & {"content", "links"}
    both = submitting(older_status=202, newer_status=200)
    assert both.keys() == {"202"}
    assert all(now[status]["description"] in both["202"]["description"] for status in ("200", "202"))
    assert "anyOf" not in both["202"]["content"]["application/json"]["schema"]
    with pytest.raises(ValueError, match="jobs_submit answers 200, 202"):
        submitting(older_status=201)


def test_two_answers_of_one_status_are_either():
    def answer(description, **schema):
        return {"description": description, "content": {"application/json": {"schema": schema}}}

    responses = {"200": answer("Old.", type="string"), "202": answer("New.", type="integer")}
    described = {"operationId": "x", "responses": responses}
    document = {"paths": {"/x": {"get": described}}, "components": {"schemas": {}, "parameters": {"AgoraVersion": {}}}}
    change = Change(name="x.y", description="…", operations=frozenset({"x"}), older_status=202, newer_status=200)
    registry = Registry([Version(date="2030-01-01", changes=(change,)), Version(date="2029-01-01")])
    (made,) = older(document, "2029-01-01", registry, {"x": "x"})["paths"]["/x"]["get"]["responses"].items()
    assert made == ("202", answer("New. Or: Old.", anyOf=[{"type": "integer"}, {"type": "string"}]))


@pytest.mark.parametrize(
    "change", [one for version in V1.versions for one in version.changes], ids=lambda one: one.name
)
def test_what_a_change_does_to_requests_and_answers_it_tells_the_document(change):
    assert (change.request is same) or change.request_schema is not same
    assert (change.query is same) or change.parameters
    assert change.event is same  # events have no schema in the document yet: the first such change brings that along
