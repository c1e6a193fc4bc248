"""What the OpenAPI document says of answers: which fields are always there."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from api.schemas.common import MAYBE

Operation = dict[str, Any]
Schemas = Mapping[str, dict[str, Any]]


def require(operations: Collection[Operation], schemas: Schemas) -> None:
    """Mark each field of an answer that is always there as ``required``, in schemas that no request has."""
    asked = set(_reached([operation.get("requestBody", {}) for operation in operations], schemas))
    for name in set(_reached([operation["responses"] for operation in operations], schemas)) - asked:
        there = [field for field, schema in schemas[name].get("properties", {}).items() if MAYBE not in schema]
        if there:
            schemas[name]["required"] = there
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            field.pop(MAYBE, None)


def _reached(parts: Any, schemas: Schemas) -> Iterator[str]:
    """Names of the schemas that parts of a document refer to, and those that these refer to."""
    found: set[str] = set()
    waiting = list(_named(parts))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_named(schemas[name]))
            yield name


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for one in part:
            yield from _named(one)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref" and value.startswith("#/components/schemas/"):
                yield value.rsplit("/", 1)[-1]
            else:
                yield from _named(value)
