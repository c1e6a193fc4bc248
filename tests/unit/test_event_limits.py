"""Payloads below 20 kB: whatever an event says, its ids, status and links are in what is sent."""

import json
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.events.catalogue import CATALOGUE, find_type
from agora.events.limits import KEPT, MAX_BYTES, MOST_NAMED, REST, bounded
from agora.ids import new_id
from agora.webhooks.queries import body_of
from tests.support.payloads import check_data

MOMENT = CATALOGUE["job.failed"].payload["timestamp"]
LARGE = "\N{GRINNING FACE}" * 2_000
"""The longest message of an error: 24,000 bytes when it is written in ASCII."""


def size(data):
    return len(json.dumps(data, separators=(",", ":")))


def body_size(kind, data):
    return len(body_of(kind, data, datetime.fromisoformat(MOMENT)))


def job(**more):
    return dict(CATALOGUE["job.failed"].example) | more


def test_what_is_small_stays_as_it_is():
    data = job(metadata={"x": "y" * 16_000})
    assert bounded(data) is data


def test_metadata_goes_before_a_message_that_is_shorter():
    error = {"code": "c", "type": "T", "message": "m" * 2_000, "retryable": False}
    found = bounded(job(metadata={"x": "y" * 18_000}, error=error))
    assert found == {name: value for name, value in job(error=error).items() if name != "metadata"} | {
        "truncated": ["metadata"]
    }


def test_of_an_error_its_code_stays():
    found = bounded(job(metadata={"x": "y" * 16_000}, error={**job()["error"], "message": LARGE}))
    assert found["error"] == {"code": "document-empty", "type": "Permanent", "retryable": False}
    assert found["truncated"] == ["error.message"]
    assert found["metadata"] == {"x": "y" * 16_000}


def test_what_an_agent_emitted_gets_the_link_of_its_job():
    job_id = new_id("job")
    found = bounded({"job_id": job_id, "step": "read", "found": ["x" * 100] * 1_000, "n": 1})
    assert found == {
        "job_id": job_id, "step": "read", "n": 1, "links": {"self": f"/api/v1/jobs/{job_id}"}, "truncated": ["found"],
    }  # fmt: skip
    own = {"job_id": job_id, "step": "read", "found": "x" * 20_000, "links": ["mine"]}
    assert bounded(own)["links"] == ["mine"]


def test_many_fields_are_not_named_one_by_one():
    data = {"job_id": new_id("job"), "step": "s", **{f"field {n}": n for n in range(100_000)}}
    found = bounded(data)
    assert size(found) < MAX_BYTES
    assert len(found["truncated"]) == MOST_NAMED + 1
    assert found["truncated"][-1] == REST
    assert found["job_id"] == data["job_id"]


def test_names_that_are_too_long_are_not_repeated():
    found = bounded({"job_id": new_id("job"), "step": "s", "n" * 30_000: 1, "m" * 30_000: 1})
    assert (found["truncated"], found["step"]) == ([REST], "s")


def swollen(kind):
    """The example of a type with everything in it as long as it can be, and more."""
    schema = find_type(kind).schema["properties"]["data"]
    data = dict(find_type(kind).example)
    for name, field in schema["properties"].items():
        optional = name not in schema["required"] and name != "truncated" and "pattern" not in field
        if optional and (field.get("type") == "string" or {"type": "string"} in field.get("anyOf", [])):
            data[name] = "2026-01-01T00:00:00Z" if field.get("format") else LARGE
    if "metadata" in schema["properties"]:
        data["metadata"] = {"x": "y" * 16_000}
    if "error" in data:
        data["error"] = data["error"] | {"message": LARGE}
    return data


@pytest.mark.parametrize("kind", CATALOGUE)
def test_what_is_left_of_an_event_keeps_to_its_schema(kind):
    data = swollen(kind)
    found = bounded(data)
    name = kind.replace("*", "noted")
    check_data(name, data)
    check_data(name, found)
    assert body_size(name, found) < 20_000
    assert {field: data[field] for field in KEPT & set(data)} == {field: found[field] for field in KEPT & set(data)}


def test_every_field_that_holds_an_id_is_one_that_stays():
    fields = {name for one in CATALOGUE.values() for name in one.schema["properties"]["data"]["properties"]}
    assert {name for name in fields if name.endswith("_id")} <= KEPT
    assert fields >= KEPT


long = st.builds(str.__mul__, st.characters(), st.integers(500, 9_000))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | long,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=12,
)
ids = st.sampled_from(sorted(KEPT - {"status", "links"}))
core = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["queued", "failed"]),
        "links": st.fixed_dictionaries({"self": st.from_regex(r"/api/v1/[a-z/]{1,60}", fullmatch=True)}),
    }
)


@settings(max_examples=200, deadline=None)
@given(
    core=core,
    ids=st.dictionaries(ids, st.from_regex(r"[a-z]{3}_[0-9a-z]{26}", fullmatch=True), min_size=1),
    more=st.dictionaries(st.text(max_size=30).filter(lambda name: name not in KEPT), json_values, max_size=12),
    error=st.none() | st.fixed_dictionaries({"code": long, "message": long}),
)
def test_whatever_it_is_it_fits_and_ids_status_and_links_stay(core, ids, more, error):
    data = {**more, **core, **ids} | ({"error": error} if error else {})
    found = bounded(data)
    assert size(found) < MAX_BYTES
    assert core | ids == {name: found[name] for name in core | ids}
    gone = [name for name in data if name not in found]
    assert (found == data) is (size(data) < MAX_BYTES)
    if found != data:
        assert set(gone) <= set(found["truncated"]) or REST in found["truncated"]
        assert found["truncated"] != []
        for name in set(found) - {"truncated", "error"}:
            assert found[name] == data[name]
    assert bounded(found) == found


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([*sorted(KEPT), "error", "truncated", "x", "*"]), json_values, max_size=25))
def test_names_of_ours_with_values_that_are_none_fit_too(data):
    assert size(bounded(data)) < MAX_BYTES
