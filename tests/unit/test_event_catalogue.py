"""The catalogue of event types: what it promises, pinned, and held against the code that records events.

A difference from a golden file is a change of the contract: write the new one with `GOLDEN=write pytest <this file>`,
and say so in the changelog.
"""

import ast
import json
import os
import re
from pathlib import Path
from typing import get_args

import jsonschema_rs
import pytest

from agora.errors import NotFound
from agora.events import catalogue_jobs, catalogue_product
from agora.events.catalogue import CATALOGUE, EVENT_TYPES, TERMINAL, find_type, matches_some
from agora.events.types import JobRef, job_event, own_event, step_event
from agora.jobs.states import JOB_ENDED, JobState
from agora.language import ports
from agora.projects.states import ConflictState, Phase, ProjectState, SpecificationState
from tests.support.payloads import check_data

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "event_types"
NOT_RECORDED_YET = {
    "webhook.endpoint.failing": "recorded by what judges endpoints",
    "webhook.endpoint.disabled": "recorded by what judges endpoints",
    "webhook.endpoint.recovered": "recorded by what judges endpoints",
    "webhook.delivery.exhausted": "recorded by what settles deliveries",
}
CHOSEN_AT_RUN_TIME = {
    "agora/dispatcher/duties.py": {f"job.{state}" for state in JOB_ENDED - {JobState.SUCCEEDED}},
    "agora/jobs/record.py": {
        "job.waiting", "job.resumed", "job.succeeded", "job.failed", "job.cancelled", "step.succeeded", "step.failed",
        "step.retrying",
    },
    "agora/events/types.py": {"agent.*"},  # the functions that make events, and what agents emit
    "agora/webhooks/service.py": {"webhook.test"},
    "agora/testing/runtime.py": {"job.progressed", "job.partial"},
    "agora/testing/rows.py": {f"job.{state}" for state in JOB_ENDED},
}  # fmt: skip
"""Modules in which a type is no literal, and what it can be there."""


def validator_of(kind):
    return jsonschema_rs.Draft202012Validator(CATALOGUE[kind].schema, validate_formats=True)


def literal_of(call):
    """The event type in a call that makes an event; None when it is chosen at run time, False for other calls."""
    name = getattr(call.func, "id", None)
    if name not in {"NewEvent", "job_event", "step_event"}:
        return False
    given = [word.value for word in call.keywords if word.arg == "type"] if name == "NewEvent" else call.args[:1]
    return given[0].value if given and isinstance(given[0], ast.Constant) else None


def types_in_code():
    """Every type that the code can record, by module."""
    for path in sorted((ROOT / "platform" / "agora").rglob("*.py")):
        name = str(path.relative_to(ROOT / "platform"))
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        found = {literal for call in calls if (literal := literal_of(call)) is not False}
        if None in found:
            assert name in CHOSEN_AT_RUN_TIME, f"{name} chooses the type of an event at run time: say which"
            found = (found - {None}) | CHOSEN_AT_RUN_TIME[name]
        else:
            assert name not in CHOSEN_AT_RUN_TIME, f"{name} chooses no type any more"
        yield from found


def test_what_the_code_records_is_in_the_catalogue_and_the_reverse():
    recorded = set(types_in_code())
    assert recorded | set(NOT_RECORDED_YET) == set(CATALOGUE)
    assert recorded & set(NOT_RECORDED_YET) == set()


@pytest.mark.parametrize("kind", CATALOGUE)
def test_every_type_has_a_schema_an_example_and_a_version_as_the_golden_file_says(kind):
    one = CATALOGUE[kind]
    shown = {"version": one.version, "description": one.description, "example": one.payload, "schema": one.schema}
    text = json.dumps(shown, indent=2) + "\n"
    path = GOLDEN / f"{kind.removesuffix('.*')}.json"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_there_is_no_golden_file_of_a_type_that_is_gone():
    assert {path.stem for path in GOLDEN.iterdir()} == {kind.removesuffix(".*") for kind in CATALOGUE}


@pytest.mark.parametrize("kind", CATALOGUE)
def test_examples_are_valid_and_schemas_refuse_what_they_do_not_say(kind):
    one = CATALOGUE[kind]
    jsonschema_rs.meta.validate(one.schema)
    assert one.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    validator = validator_of(kind)
    validator.validate(one.payload)
    one.model.model_validate(dict(one.example))
    for wrong in (
        one.payload | {"type": "job.unknown"},
        one.payload | {"timestamp": "yesterday"},
        one.payload | {"more": 1},
        one.payload | {"data": {}},
    ):
        assert not validator.is_valid(wrong)
    assert validator.is_valid(one.payload | {"data": one.payload["data"] | {"colour": 1}}) is one.is_family


@pytest.mark.parametrize("kind", CATALOGUE)
def test_every_field_is_explained(kind):
    def walk(schema):
        for name, field in schema.get("properties", {}).items():
            speaks = {"description", "const", "enum", "$ref", "$defs"} & set(field)
            assert speaks, f"{name} of {kind} has no description"
            walk(field)

    walk(CATALOGUE[kind].schema)
    for part in CATALOGUE[kind].schema["$defs"].values():
        walk(part)
    assert CATALOGUE[kind].description.endswith(".")


def test_the_states_in_the_catalogue_are_those_of_the_state_machines():
    def said(kind, field="status"):
        found = CATALOGUE[kind].schema["properties"]["data"]["properties"][field]
        return set(found.get("enum", [found.get("const")]))

    assert set(get_args(catalogue_jobs.State)) == set(JobState)
    assert {f"job.{state}" for state in JOB_ENDED} == TERMINAL
    assert set(get_args(catalogue_product.Phase)) == set(Phase)
    assert said("project.updated") == set(ProjectState)
    assert said("conflict.opened") | said("conflict.resolved") == set(ConflictState)
    assert said("specification.updated") | said("specification.superseded") == (
        set(SpecificationState) - {SpecificationState.REJECTED}
    )
    assert said("conflict.opened", "kind") == set(get_args(ports.ConflictKind))
    assert said("conflict.opened", "subject") == set(get_args(ports.Subject))
    assert said("conflict.opened", "severity") == set(get_args(ports.Severity))


def test_only_progress_must_be_named_in_full():
    assert [kind for kind, one in CATALOGUE.items() if not one.by_wildcard] == ["job.progressed"]


def test_types_are_found_by_name_and_those_of_agents_by_their_family():
    assert find_type("job.failed").category == "job"
    assert find_type("agent.*") is find_type("agent.probe.Done-2") is CATALOGUE["agent.*"]
    for unknown in ("job", "job.*", "*", "agent.", "agent", "agent.a b", "agents.x", "Job.failed", ""):
        with pytest.raises(NotFound, match="there is no event type"):
            find_type(unknown)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True), ("job.*", True), ("webhook.endpoint.*", True), ("agent.*", True), ("agent.probe.*", True),
        ("agent.mine", True), *[(kind, True) for kind in EVENT_TYPES], ("job", False), ("job.succeeded.*", False),
        ("jobs.*", False), ("agent", False), ("agents.*", False), ("webhook.portal.*", False),
    ],
)  # fmt: skip
def test_a_filter_must_match_some_type(pattern, matches):
    assert matches_some(pattern) is matches


def test_events_as_the_engine_makes_them_keep_to_their_schemas():
    job = JobRef(id=catalogue_jobs.JOB, team_id="t", agent="a", action="b", version=1, metadata={"x": [None]})
    step = {"step": "s", "iteration": 0, "attempt": 1}
    for event in (
        job_event("job.started", job, status=JobState.RUNNING),
        job_event("job.cancelled", job, status=JobState.CANCELLED, reason=None),
        step_event("step.failed", job, **step, error=None),
        own_event("agent.seen", job_id=job.id, step="s", data={"n": 1}),
    ):
        check_data(event.type, json.loads(json.dumps(event.data)))


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("", {}, "kind must be at most 100"),
        ("a..b", {}, "not 'a..b'"),
        ("a b", {}, "not 'a b'"),
        ("x" * 101, {}, "kind must be at most 100"),
        ("seen", {"job_id": "mine"}, "may not have job_id: the engine sets it, got 'mine'"),
        ("seen", {"step": 3}, "may not have step"),
    ],
)
def test_what_agents_emit_can_be_named_and_takes_no_field_of_ours(kind, data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        own_event(kind, job_id="job_x", step="s", data=data)
