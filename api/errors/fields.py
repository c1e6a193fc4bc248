"""What is wrong with the fields of a request: pointer, rule, value and class of the value, one form for all layers.

The framework's schemas tell of a failed field in words only. Which rule it broke is found out here, by asking the
field and its validators once more.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import marshmallow as ma

from agora.errors import NOT_TOLD, FieldError

MOST_TOLD = 100
"""Errors of one request that are told: a body can have more wrong fields than anybody wants to read."""
MAX_VALUE = 200
"""Characters of a value that is told; a longer one is told by its class only."""
SENSITIVE = ("secret", "pass", "token", "authorization", "headers", "code", "otp", "credential")
"""What a pointer must not contain for its value to be told."""
VALIDATORS = {
    ma.validate.Length: "length", ma.validate.Range: "range", ma.validate.OneOf: "enum",
    ma.validate.ContainsOnly: "enum", ma.validate.Regexp: "pattern", ma.validate.Equal: "enum",
}  # fmt: skip
KEYS = {"required": "required", "null": "not-null", "validator_failed": "schema"}
"""Rules of those messages of fields that tell of no wrong type."""
MISSING = object()


def class_of(value: Any) -> str:
    """The JSON type of a value: null, boolean, integer, number, string, array or object."""
    for kind, name in (
        (type(None), "null"), (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"),
        (Mapping, "object"), (list | tuple | set | frozenset, "array"),
    ):  # fmt: skip
        if isinstance(value, kind):
            return name
    return "string"  # such as a time, which JSON has as text


def as_told(error: FieldError) -> dict[str, Any]:
    """A field error as a member of ``errors``."""
    told = {"pointer": error.pointer, "rule": error.rule, "message": error.message}
    return told | _value_of(error.pointer, error.value)


def _value_of(pointer: str, value: Any) -> dict[str, Any]:
    if value is MISSING or value is NOT_TOLD:
        return {}
    told: dict[str, Any] = {"value_class": class_of(value)}
    hidden = not pointer.strip("/") or any(word in pointer.lower() for word in SENSITIVE)
    if not hidden and not isinstance(value, Mapping | list | tuple) and len(str(value)) <= MAX_VALUE:
        told["value"] = value
    return told


def step(name: Any) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def of_schema(messages: Mapping[str, Any], schema: ma.Schema | None, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The errors of a request that its schema refused.

    ``messages`` and ``given`` have the location first: json, query, headers.
    """
    root = None if schema is None else ma.fields.Nested(schema)
    every = (
        told
        for location, inner in messages.items()
        for told in _leaves(inner, "", root, given.get(location, MISSING), of_all=not isinstance(inner, Mapping))
    )
    return list(islice(every, MOST_TOLD))


def _named(schema: ma.Schema | None, name: Any) -> Any:
    if schema is None:
        return None
    return next((field for field in schema.fields.values() if field.data_key == name), None)


def _leaves(
    messages: Any, pointer: str, field: Any, value: Any, *, of_all: bool = False
) -> Iterator[dict[str, Any]]:  # fmt: skip
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            if name == "_schema":
                yield from _leaves(inner, pointer, None, value, of_all=True)
            elif isinstance(field, ma.fields.Dict) and isinstance(inner, Mapping) and {"key", "value"} & inner.keys():
                for part, below in inner.items():
                    of = field.key_field if part == "key" else field.value_field
                    yield from _leaves(below, pointer + step(name), of, name if part == "key" else _inside(value, name))
            else:
                yield from _leaves(inner, pointer + step(name), _below(field, name), _inside(value, name))
        return
    for message in messages if isinstance(messages, list) else [messages]:
        rule = "schema" if of_all else rule_of(field, value, str(message))
        told = {"pointer": pointer or "/", "rule": rule, "message": f"{pointer or '/'}: {message}"}
        if rule == "unknown-field":  # a name that is only misspelt may stand for a secret
            yield told | ({} if value is MISSING else {"value_class": class_of(value)})
        else:
            yield told | _value_of(pointer, MISSING if rule == "required" else value)


def _below(field: Any, name: Any) -> Any:
    if isinstance(field, ma.fields.Nested):
        schema = field.schema
        return _named(schema, name) or schema.fields.get(name)
    return field.inner if isinstance(field, ma.fields.List) else None


def _inside(value: Any, name: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, MISSING)
    if isinstance(value, list) and isinstance(name, int) and name < len(value):
        return value[name]
    return MISSING


def rule_of(field: Any, value: Any, message: str) -> str:
    """The rule that a value of a field broke, given what the field said."""
    if field is None:
        return "unknown-field"
    for key, rule in KEYS.items():
        if field.error_messages.get(key) == message:
            return rule
    for validator in field.validators:
        if isinstance(validator, tuple(VALIDATORS)) and _refuses(validator, field, value, message):
            return next(rule for kind, rule in VALIDATORS.items() if isinstance(validator, kind))
    if isinstance(field, ma.fields.AwareDateTime):
        return "date-time"
    return "type"


def _refuses(validator: Any, field: Any, value: Any, message: str) -> bool:
    try:
        read = field._deserialize(value, None, None)  # noqa: SLF001  # deserialize() would also validate
    except (ma.ValidationError, TypeError, ValueError):
        return False
    try:
        validator(read)
    except ma.ValidationError as error:
        return message in error.messages
    return False
