"""The catalogue as a page for people: docs/events.md is what this returns."""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from agora.events.catalogue import CATALOGUE
from agora.events.declare import EventType
from agora.events.limits import MAX_BYTES

HEAD: Final = f"""# Events

Written by `make docs` from `platform/agora/events/catalogue*.py`; a test keeps this page and the code together. The
same, with the JSON Schema (draft 2020-12) of every payload: `GET /api/v1/event-types`, `agora event-types`.

A payload is `{{"type", "timestamp", "data"}}`, as Standard Webhooks 1.0.0 has it. It is thin: ids, states and links,
never an input, an output or the wording of a specification. An optional field (`?`) is left out when it has no value.
What would make the data larger than {MAX_BYTES:,} bytes (metadata, a long message, what agents emit) is left out too,
and named in `truncated`: follow `links.self` for it.

`*` and beginnings such as `job.*` cover every type but those that say otherwise. Where nothing is said of the version,
it is 1.
"""


def as_markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    for category, kinds in groupby(CATALOGUE.values(), key=lambda one: one.category):
        parts.append(f"## {category}\n")
        parts += [_about(one) for one in kinds]
    return "\n".join(parts)


def _about(one: EventType) -> str:
    notes = [] if one.by_wildcard else ["A wildcard does not cover it."]
    if one.version != 1:
        notes.append(f"Version {one.version}.")
    rows = "\n".join(f"| {' | '.join(row)} |" for row in fields_of(one))
    example = json.dumps(one.payload, ensure_ascii=False, indent=2)
    return (
        f"### `{one.name}`\n\n{' '.join([one.description, *notes])}\n\n"
        f"| field of `data` | type | |\n| --- | --- | --- |\n{rows}\n\n```json\n{example}\n```\n"
    )


def fields_of(one: EventType) -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of each field of a type's data, but for ``truncated``; an optional one has a ``?``."""
    data, parts = one.schema["properties"]["data"], one.schema["$defs"]
    for name, field in data["properties"].items():
        if name != "truncated":
            mark = "" if name in data["required"] else "?"
            yield f"`{name}`{mark}", _type_of(field, parts), _meaning_of(field, parts)


def _type_of(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "$ref" in field:
        named = parts[field["$ref"].rpartition("/")[2]]
        return f"object: {', '.join(f'`{name}`' for name in named['properties'])}"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(_type_of(inner, parts) for inner in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type_of(field['items'], parts)}"
    return {"date-time": "time"}.get(field.get("format", ""), str(field.get("type", "any JSON")))


def _meaning_of(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    named = parts.get(field.get("$ref", "").rpartition("/")[2], {})
    return str(field.get("description") or named.get("description", ""))
