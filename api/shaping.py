"""What callers choose of an answer: ``fields`` of each item, ``include`` of what belongs to it, the order of a list."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from flask import g, request
from webargs.fields import DelimitedList

from agora.errors import invalid_field
from agora.paging import BY_CREATION, Page, seal, unseal
from api import conditions
from api.auth import team_id
from api.schemas.common import Schema
from api.versions.change import POSITION

DEEPEST = 3
"""Levels of nesting that ``fields`` reaches."""
NO_FILTERS = frozenset({"cursor", "limit", "fields", "include"})
"""Parameters of a list that may change from page to page."""

Tree = dict[str, Any]


class Names(DelimitedList):
    """Names of a list of known ones, separated by commas or given one by one."""

    is_multiple = True  # else only the first of several would be heard

    def __init__(self, known: Sequence[str], *, rule: str, **options: Any) -> None:
        super().__init__(ma.fields.String(validate=ma.validate.OneOf(known)), load_default=list, **options)
        self.known, self.rule = known, rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        del data, kwargs
        given = value if isinstance(value, list) else [value]
        names = [name.strip() for text in given for name in str(text).split(",")]
        unknown = [name for name in names if name not in self.known]
        if unknown:
            message = f"{attr}: there is no {unknown[0]!r} here; known are {', '.join(self.known)}"
            raise invalid_field(f"/{attr}", self.rule, message, unknown[0])
        return names


def fields_of(schema: ma.Schema, depth: int = DEEPEST) -> Iterator[str]:
    """The fields of an answer, those of nested objects with dots."""
    for name, field in schema.fields.items():
        yield name
        inner = field.inner if isinstance(field, ma.fields.List) else field
        if isinstance(inner, ma.fields.Nested) and depth > 1:
            yield from (f"{name}.{below}" for below in fields_of(inner.schema, depth - 1))


def _chosen(item: type[ma.Schema], include: Sequence[str]) -> dict[str, ma.fields.Field[Any]]:
    said: dict[str, Any] = {"description": "only these, a part of the schema's fields; of nested objects with dots"}
    found: dict[str, ma.fields.Field[Any]] = {
        "fields": Names(tuple(fields_of(item())), rule="unknown-field", metadata=said)
    }
    if include:
        said = {"description": "also what belongs to each and is left out by default"}
        found["include"] = Names(include, rule="enum", metadata=said)
    return found


def one(item: type[ma.Schema], *, include: Sequence[str] = ()) -> type[ma.Schema]:
    """The parameters of an operation that answers with one object."""
    return Schema.from_dict(_chosen(item, include), name=f"One{item.__name__}Args")


def listed(
    args: type[ma.Schema], item: type[ma.Schema], *, orders: Sequence[str] = BY_CREATION, include: Sequence[str] = ()
) -> type[ma.Schema]:  # fmt: skip
    """The parameters of a list, those of ``args`` among them. Each order has an index; the first is the default."""
    sort = ma.fields.String(
        load_default=orders[0], validate=ma.validate.OneOf(orders),
        metadata={"description": "the order; with - the other way round"},
    )  # fmt: skip
    return args.from_dict({**_chosen(item, include), "sort": sort}, name=f"{item.__name__}ListArgs")


def tree_of(names: Sequence[str]) -> Tree:
    """Dotted names as a tree; an empty branch stands for all below it."""
    tree: Tree = {}
    for name in sorted(names):  # what stands for all comes before its parts
        at, parts = tree, name.split(".")
        for place, part in enumerate(parts):
            known = part in at
            at = at.setdefault(part, {})
            if known and not at:
                break
            if place == len(parts) - 1:
                at.clear()
    return tree


def pick(data: Any, tree: Tree) -> Any:
    """Of some JSON what a tree names."""
    if not tree or not isinstance(data, Mapping | list):
        return data
    if isinstance(data, list):
        return [pick(one_, tree) for one_ in data]
    return {name: pick(value, tree[name]) for name, value in data.items() if name in tree}


def opened(query: dict[str, Any]) -> dict[str, Any]:
    """The parameters as a view takes them: a cursor as a position, ``fields`` kept for the answer. Raises Invalid."""
    if "cursor" in query:
        filters = {name: _same(value) for name, value in query.items() if name not in NO_FILTERS}
        path = request.url_rule.rule if request.url_rule else request.path
        g.list_of = [team_id(), path, request.view_args, filters]
        if query["cursor"] is not None:
            query["cursor"] = _position(query["cursor"])
    if query.get("fields"):
        g.tree = tree_of(query["fields"])
    query.pop("fields", None)
    return query


def _position(cursor: str) -> str:
    if cursor.startswith(POSITION):
        return cursor.removeprefix(POSITION)
    return unseal(cursor, g.list_of)


def _same(value: Any) -> Any:
    """A filter in the one form that all ways to write it have."""
    if isinstance(value, datetime):
        return str(value.astimezone(UTC))
    return sorted(value) if isinstance(value, list) else value


def noted(found: Any) -> Any:
    """What a view answers with: its edition is noted, and where its next page begins is signed."""
    conditions.note(found)
    if isinstance(found, Page):
        g.paged = True
        if found.next_cursor is not None:
            return replace(found, next_cursor=seal(found.next_cursor, g.list_of))
    return found


def wanted(name: str) -> bool:
    """Whether a field of the answer is wanted: what is not need not be looked up."""
    return "tree" not in g or name in g.tree


def shaped(data: Any) -> Any:
    """The answer with the chosen fields only."""
    if "tree" not in g:
        return data
    if "paged" in g:
        return {**data, "items": pick(data["items"], g.tree)}
    return pick(data, g.tree)
