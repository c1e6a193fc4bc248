"""The catalogue of event types as clients see it: over HTTP, through the Python client, on the command line."""

import json

import jsonschema_rs
import pytest

from agora.cli import run
from agora.client import Agora, ApiError
from agora.events.catalogue import CATALOGUE
from agora.events.page import as_markdown
from tests.support.caller import Caller
from tests.support.server import served


def test_every_type_is_listed_with_schema_example_and_version(caller):
    answer = caller.get("/api/v1/event-types")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "private, max-age=300")
    assert [one["type"] for one in answer.json["items"]] == list(CATALOGUE)
    for one in answer.json["items"]:
        assert set(one) == {
            "type", "version", "category", "description", "of_job", "by_wildcard", "schema", "example",
        }  # fmt: skip
        assert one["version"] == 1
        jsonschema_rs.Draft202012Validator(one["schema"]).validate(one["example"])
    shown = {one["type"]: one for one in answer.json["items"]}
    assert [kind for kind, one in shown.items() if not one["by_wildcard"]] == ["job.progressed"]
    assert (shown["step.failed"]["category"], shown["step.failed"]["of_job"]) == ("step", True)
    assert (shown["quality.changed"]["category"], shown["quality.changed"]["of_job"]) == ("quality", False)


def test_one_type_is_shown_and_what_agents_emit_belongs_to_its_family(caller):
    one = caller.get("/api/v1/event-types/job.failed")
    assert one.json in caller.get("/api/v1/event-types").json["items"]
    assert one.headers["Cache-Control"] == "private, max-age=300"
    for name in ("agent.*", "agent.probe.done"):
        assert caller.get(f"/api/v1/event-types/{name}").json["type"] == "agent.*"
    missing = caller.get("/api/v1/event-types/job.finished")
    assert (missing.status_code, missing.json["code"]) == (404, "not-found")
    assert "job.finished" in missing.json["detail"]
    assert missing.headers["Cache-Control"] == "no-store"


def test_any_key_may_read_it_and_nobody_without_one(app):
    for scope in ("files:read", "queues:write"):
        assert Caller(app, scopes=(scope,)).get("/api/v1/event-types").status_code == 200
    assert app.test_client().get("/api/v1/event-types").status_code == 401
    assert app.test_client().get("/api/v1/event-types/job.failed").status_code == 401


def test_the_openapi_document_has_examples_of_it(app):
    paths = app.test_client().get("/api/v1/openapi.json").json["paths"]
    one = paths["/api/v1/event-types/{type}"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    several = paths["/api/v1/event-types"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert several == {"items": [one]}
    assert one["example"]["type"] == one["type"] == "job.succeeded"


@pytest.fixture
def platform(app):
    with served(app) as url:
        yield url, Caller(app, scopes=("files:read",)).key


def test_the_client_reads_it(platform):
    with Agora(*platform) as api:
        found = api.event_types()
        assert [one["type"] for one in found] == list(CATALOGUE)
        assert api.event_type("job.failed") in found
        with pytest.raises(ApiError) as refused:
            api.event_type("job/failed")
        assert refused.value.status == 404


def test_the_command_line_shows_it(platform, capsys):
    def agora(*arguments):
        code = run(["--url", platform[0], "--key", platform[1], "event-types", *arguments])
        return code, capsys.readouterr()

    code, listed = agora()
    lines = listed.out.splitlines()
    assert (code, len(lines), lines[0].split()) == (0, len(CATALOGUE) + 1, ["TYPE", "VERSION", "BY", "*", "WHEN"])
    assert lines[4].split()[:3] == ["job.progressed", "1", "no"]
    assert json.loads(agora("--json")[1].out)[0]["type"] == "job.created"
    code, shown = agora("job.failed")
    assert code == 0
    assert shown.out.startswith("job.failed  version 1  by *: yes\nA job has failed.\n\nexample:\n{")
    example, schema = shown.out.split("example:\n")[1].split("\nschema:\n")
    jsonschema_rs.Draft202012Validator(json.loads(schema)).validate(json.loads(example))
    assert json.loads(agora("agent.seen", "--json")[1].out)["type"] == "agent.*"
    code, missing = agora("job.finished")
    assert (code, missing.err) == (3, "agora: there is no event type job.finished (not-found, HTTP 404)\n")


def test_the_page_is_printed_without_a_platform(capsys, tmp_path):
    assert run(["--data-dir", str(tmp_path), "event-types", "--markdown"]) == 0
    assert capsys.readouterr().out == as_markdown()
    for more in ("job.failed", "--json"):
        assert run(["--data-dir", str(tmp_path), "event-types", "--markdown", more]) == 2
        assert "--markdown prints the whole page" in capsys.readouterr().err
