"""What Postgres cannot hold is refused at the door, wherever it stands, and named."""

import json

import pytest
from pydantic import BaseModel, JsonValue

from agora.agents import Agent, StepContext
from agora.errors import Invalid
from agora.jobs import values
from tests.support.rig import Rig


class Anything(BaseModel):
    value: JsonValue = None


@pytest.fixture
def rig(db, monkeypatch):
    agent = Agent("keeper")
    action = agent.action("keep", input=Anything, output=Anything)

    @action.step
    def only(ctx: StepContext[Anything]) -> Anything:
        return ctx.input

    return Rig(monkeypatch, agent)


def sent(caller, text, path="/api/v1/jobs", encoding="utf-8"):
    return caller.post(path, data=text.encode(encoding), content_type="application/json")


def job_with(part):
    return '{"agent":"keeper","action":"keep",' + part + "}"


WRONG = [
    (r'"input":{"value":"\u0000"}', "/input/value", "no-nul"),
    (r'"input":{},"metadata":{"x":["\u0000"]}', "/metadata/x/0", "no-nul"),
    (r'"input":{},"metadata":{"\u0000":1}', r"/metadata/\u0000", "no-nul"),
    (r'"input":{"value":"\ud800"}', "/input/value", "no-surrogate"),
    (r'"input":{"value":["\uDFFF and more"]}', "/input/value/0", "no-surrogate"),
    (r'"input":{},"metadata":{"\udc00":1}', r"/metadata/\udc00", "no-surrogate"),
    ('"input":{"value":NaN}', "/input/value", "finite"),
    ('"input":{"value":-Infinity}', "/input/value", "finite"),
    ('"input":{"value":1e999}', "/input/value", "finite"),
    ('"input":{"value":-1.5E+400}', "/input/value", "finite"),
    (f'"input":{{"value":{"9" * 300}e10}}', "/input/value", "finite"),
    ('"input":{},"metadata":{"a":[1,NaN]}', "/metadata/a/1", "finite"),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("part", "pointer", "rule"), WRONG)
def test_it_is_refused_wherever_it_stands(caller, rig, part, pointer, rule, encoding):
    refused = sent(caller, job_with(part), encoding=encoding)
    assert refused.status_code == 422
    assert (refused.json["errors"][0]["pointer"], refused.json["errors"][0]["rule"]) == (pointer, rule)


@pytest.mark.parametrize("path", ["/api/v1/batches", "/api/v1/schedules", "/api/v1/holds"])
def test_it_is_refused_on_every_route(caller, rig, path):
    assert sent(caller, r'{"jobs":[{"input":{"a":"\ud800"}}]}', path).json["errors"][0]["rule"] == "no-surrogate"
    assert sent(caller, '{"metadata":{"a":NaN}}', path).json["errors"][0]["rule"] == "finite"


def test_names_in_addresses_have_no_nul(caller, rig):
    assert caller.get("/api/v1/jobs?agent=%00").json["errors"][0]["pointer"] == "/agent"
    assert caller.get("/api/v1/schedules/%00").status_code == 404


RIGHT = [r"a backslash and \u0000", r"\ud800", "\U0001f600", "NaN", "1e999", "9" * 300, 1e22, -0.5, "Infinity"]


@pytest.mark.parametrize("value", RIGHT)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_only_looks_like_it_is_kept_as_it_is(caller, rig, value, ascii_only):
    body = {"agent": "keeper", "action": "keep", "input": {"value": value}, "metadata": {"same": value}}
    job = sent(caller, json.dumps(body, ensure_ascii=ascii_only)).json
    shown = caller.get(f"/api/v1/jobs/{job['id']}").json
    assert (shown["input"], shown["metadata"]) == ({"value": value}, {"same": value})


@pytest.mark.parametrize("wrong", ["\0", "\ud800", {"\udfff": 1}])
def test_a_value_of_a_step_or_of_a_program_is_refused_too(db, wrong):
    with pytest.raises(Invalid, match="the input contains"):
        values.pack(wrong, team_id="team_x", what="the input")


@pytest.mark.parametrize("wrong", [{"n": float("nan")}, {"n": [float("inf")]}, {"text": "\ud800"}, {"text": "\0"}])
def test_so_is_metadata(rig, wrong):
    with pytest.raises(Invalid) as refused:
        rig.submit("keep", metadata=wrong)
    assert [(one.pointer, one.rule) for one in refused.value.errors] == [("/metadata", "json")]
