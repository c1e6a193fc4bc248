"""Agents' JSON Schemas make nobody call out."""

import jsonschema_rs
import pytest

from agora.errors import Invalid
from agora.jobs.catalogue import compile_schema, raise_faults
from tests.support.receiver import Receiver


@pytest.fixture
def bystander():
    made = Receiver()
    made.behave("/schema.json", 200)
    yield made
    made.close()


@pytest.mark.parametrize(
    "refer",
    [
        lambda url: {"$ref": url},
        lambda url: {"$ref": f"{url}#/$defs/a"},
        lambda url: {"$schema": url},
        lambda url: {"properties": {"a": {"$dynamicRef": f"{url}#a"}}},
        lambda url: {"$id": url, "items": {"$ref": "schema.json/other"}},
    ],
)
def test_a_schema_that_refers_elsewhere_is_refused_unread(bystander, refer):
    with pytest.raises(jsonschema_rs.ValidationError, match=r"schema\.json"):
        compile_schema(refer(bystander.url("/schema.json")))
    assert bystander.got == {}


def test_a_schema_may_refer_to_itself():
    schema = {"$defs": {"name": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/name"}}}
    raise_faults(compile_schema(schema), {"a": "b"}, "/input")
    with pytest.raises(Invalid, match="/input/a"):
        raise_faults(compile_schema(schema), {"a": 1}, "/input")
