"""Whether an OpenAPI document keeps what an earlier one promised: breaking differences, each a Break.

A request may ask for no more than before, and must be taken wherever it was; an answer must say at least what it said,
in the same words. Only what our documents use of JSON Schema is understood; a keyword that is not known is a failure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete")
WORDS = frozenset({"description", "summary", "tags", "example", "examples", "title", "externalDocs", "deprecated"})
"""What is for people: changing it breaks nobody."""
BOUNDS = {
    "minimum": 1, "exclusiveMinimum": 1, "minLength": 1, "minItems": 1, "minProperties": 1,
    "maximum": -1, "exclusiveMaximum": -1, "maxLength": -1, "maxItems": -1, "maxProperties": -1,
}  # fmt: skip
"""Bounds of values, and which way makes them narrower: 1, up."""
EXACT = ("format", "pattern", "contentEncoding", "uniqueItems", "const")
"""Keywords that must stay as they are; in a request they may go, in an answer they may come."""
KNOWN = frozenset({"type", "enum", "properties", "required", "items", "additionalProperties", "propertyNames",
                   "anyOf", "oneOf", "allOf", "$ref", "default", "readOnly", "writeOnly", *BOUNDS, *EXACT})  # fmt: skip
ANY = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
ERRORS = "400"
"""From this status on an answer is an error: the catalogue of errors promises these, not the document."""


@dataclass(frozen=True, order=True)
class Break:
    """A promise that is not kept, of one operation; ``where``: in what part of it."""

    operation: str
    where: str
    what: str

    def __str__(self):
        return f"{self.operation}: {self.where}: {self.what}"


class Unknown(Exception):
    """A document has what this module does not understand."""


def shape_of(document: Any, *, words: bool = True) -> Any:
    """A document without what is for people, so that words may be improved at any time.

    Names of fields and the like are kept, whatever they are called.
    """
    if isinstance(document, list):
        return [shape_of(one) for one in document]
    if not isinstance(document, dict):
        return document
    return {
        name: shape_of(value, words=name not in {"properties", "schemas", "responses", "paths"})
        for name, value in document.items()
        if not (words and name in WORDS - {"deprecated"})
    }


def promises_of(document: Any) -> Any:
    """What of a document is kept as a golden file: operations without their errors, schemas and headers; no words."""
    shared = {part: document["components"].get(part, {}) for part in ("schemas", "headers")}
    kept = shape_of({"paths": document["paths"], "components": shared})
    parameters = shape_of(document["components"].get("parameters", {}))
    for item in kept["paths"].values():
        for part in [item, *(item[method] for method in item.keys() & METHODS)]:
            if "parameters" in part:
                part["parameters"] = _without_version(part["parameters"], parameters)
            if "responses" in part:
                part["responses"] = {status: one for status, one in part["responses"].items() if status < ERRORS}
    return kept


def _without_version(parameters: Any, shared: Any) -> list[Any]:
    """Parameters said in place; that of the version, which differs between two versions, is left out."""
    said = [shared[one["$ref"].rsplit("/", 1)[-1]] if "$ref" in one else one for one in parameters]
    return [one for one in said if one["name"] != "Agora-Version"]


def broken(before: Any, after: Any) -> list[Break]:
    """What the later promises do not keep of the earlier ones."""
    return sorted(set(_Comparison(before, after).all()))


class _Comparison:
    def __init__(self, before: Any, after: Any) -> None:
        self._before, self._after = before, after
        self._kept: set[tuple[str, str, bool]] = set()
        """Pairs of named schemas that are being compared further up, or between which nothing was found."""

    def all(self) -> Iterator[Break]:
        for path, item in self._before["paths"].items():
            now = self._after["paths"].get(path, {})
            for method in METHODS:
                if method in item:
                    label = f"{method.upper()} {path}"
                    if method not in now:
                        yield Break(label, "operation", "is gone")
                        continue
                    for where, what in self._operation(item, now, method):
                        yield Break(label, where, what)

    def _operation(self, before: Any, after: Any, method: str) -> Iterator[tuple[str, str]]:
        yield from self._parameters(_parameters(before, method), _parameters(after, method))
        yield from self._body(before[method].get("requestBody"), after[method].get("requestBody"))
        answers = after[method]["responses"]
        for status, answer in before[method]["responses"].items():
            if status not in answers:
                yield f"answer {status}", "is gone"
                continue
            yield from self._headers(answer, answers[status], f"answer {status}")
            for media, content in answer.get("content", {}).items():
                there = answers[status].get("content", {})
                if media not in there:
                    yield f"answer {status}", f"comes no longer as {media}"
                else:
                    where = f"answer {status}"
                    yield from self._schema(content.get("schema", {}), there[media].get("schema", {}), where, False)
        # 304 comes to whoever sends If-None-Match, and to nobody else.
        for status in answers.keys() - before[method]["responses"].keys() - {"304"}:
            yield f"answer {status}", "is new: clients do not expect this success"

    def _headers(self, before: Any, after: Any, where: str) -> Iterator[tuple[str, str]]:
        for name, header in before.get("headers", {}).items():
            there = after.get("headers", {})
            if name not in there:
                yield f"{where} header {name}", "is gone"
                continue
            old, new = _header(header, self._before), _header(there[name], self._after)
            yield from self._schema(old.get("schema", {}), new.get("schema", {}), f"{where} header {name}", False)

    def _parameters(self, before: Any, after: Any) -> Iterator[tuple[str, str]]:
        for key, one in before.items():
            where = "{} parameter {}".format(*key)
            if key not in after:
                yield where, "is gone"
                continue
            if after[key].get("required") and not one.get("required"):
                yield where, "is required now"
            for word in ("style", "explode"):
                if one.get(word) != after[key].get(word):
                    yield where, f"{word} became {after[key].get(word)}"
            yield from self._schema(one.get("schema", {}), after[key].get("schema", {}), where, True)
        for key in after.keys() - before.keys():
            if after[key].get("required"):
                yield "{} parameter {}".format(*key), "is new and required"

    def _body(self, before: Any, after: Any) -> Iterator[tuple[str, str]]:
        if after is not None and after.get("required") and not (before or {}).get("required"):
            yield "request", "must have a body now"
        if before is None:
            return
        if after is None:
            yield "request", "takes no body any more"
            return
        for media, content in before["content"].items():
            if media not in after["content"]:
                yield "request", f"is no longer taken as {media}"
            else:
                now = after["content"][media].get("schema", {})
                yield from self._schema(content.get("schema", {}), now, "request", True)

    def _schema(self, before: Any, after: Any, where: str, asked: bool) -> Iterator[tuple[str, str]]:
        """Compare two schemas; ``asked``: of what clients send, where narrower breaks, else wider does."""
        if "$ref" in before and "$ref" in after:
            key = before["$ref"], after["$ref"], asked
            if key in self._kept:
                return
            self._kept.add(key)
            found = list(self._said(before, after, where, asked))
            if found:
                self._kept.discard(key)
            yield from found
        else:
            yield from self._said(before, after, where, asked)

    def _said(self, before: Any, after: Any, where: str, asked: bool) -> Iterator[tuple[str, str]]:
        before, after = _resolved(before, self._before), _resolved(after, self._after)
        for schema in (before, after):
            if unknown := schema.keys() - KNOWN - WORDS:
                raise Unknown(f"{where}: {', '.join(sorted(unknown))}")
        yield from _types(before, after, where, asked)
        yield from _values(before, after, where, asked)
        yield from self._object(before, after, where, asked)
        for part in ("items", "propertyNames"):
            if part in before or part in after:
                yield from self._schema(before.get(part, {}), after.get(part, {}), f"{where}/{part}", asked)

    def _object(self, before: Any, after: Any, where: str, asked: bool) -> Iterator[tuple[str, str]]:
        old, new = before.get("properties", {}), after.get("properties", {})
        for name, inner in old.items():
            if name not in new:
                yield f"{where}/{name}", "is gone"
            else:
                yield from self._schema(inner, new[name], f"{where}/{name}", asked)
        needed, was = set(after.get("required", ())), set(before.get("required", ()))
        for name in sorted(needed - was if asked else (was - needed) & new.keys()):
            yield f"{where}/{name}", "is required now" if asked else "may be missing now"
        open_before, open_now = (one.get("additionalProperties", {}) for one in (before, after))
        if asked and open_now is False and open_before is not False:
            yield where, "takes no other fields any more"
        elif isinstance(open_before, dict) and isinstance(open_now, dict) and (open_before or open_now):
            yield from self._schema(open_before, open_now, f"{where}/*", asked)


def _parameters(item: Any, method: str) -> dict[tuple[str, str], Any]:
    every = [*item.get("parameters", []), *item[method].get("parameters", [])]
    return {(one["in"], one["name"]): one for one in every}


def _header(header: Any, document: Any) -> Any:
    if "$ref" not in header:
        return header
    return document["components"].get("headers", {}).get(header["$ref"].rsplit("/", 1)[-1], {})


def _resolved(schema: Any, document: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    if "allOf" in schema and len(schema["allOf"]) == 1:
        rest = {name: value for name, value in schema.items() if name != "allOf"}
        return _resolved(schema["allOf"][0], document) | rest
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return _with_null(schema, word, document)
    if "allOf" in schema:
        raise Unknown("allOf of several")
    return schema


def _with_null(schema: Any, word: str, document: Any) -> Any:
    """A choice between null and one schema is that schema with null as one more type; there is no other choice."""
    choices = [one for one in schema[word] if one != {"type": "null"}]
    if len(choices) != 1 or len(schema[word]) != 2:
        raise Unknown(f"{word} of several")
    found = _resolved(choices[0], document)
    rest = {name: value for name, value in schema.items() if name != word}
    return found | rest | {"type": sorted(_types_of(found) | {"null"})}


def _types_of(schema: Any) -> frozenset[str]:
    said = schema.get("type", ANY)
    found = frozenset([said] if isinstance(said, str) else said)
    return found | {"integer"} if "number" in found else found


def _types(before: Any, after: Any, where: str, asked: bool) -> Iterator[tuple[str, str]]:
    was, now = _types_of(before), _types_of(after)
    if asked and was - now:
        yield where, f"is no longer taken as {', '.join(sorted(was - now))}"
    elif not asked and now - was:
        yield where, f"may be {', '.join(sorted(now - was))} now"


def _values(before: Any, after: Any, where: str, asked: bool) -> Iterator[tuple[str, str]]:
    narrow, wide = (after, before) if asked else (before, after)
    """What must not be narrower than the other: each word of the first must be in the second."""
    if "enum" in narrow and ("enum" not in wide or set(map(str, wide["enum"])) - set(map(str, narrow["enum"]))):
        yield where, "takes fewer values" if asked else "may have other values"
    for bound, up in BOUNDS.items():
        if bound in narrow and (bound not in wide or (narrow[bound] - wide[bound]) * up > 0):
            yield where, f"{bound} became {after.get(bound)}"
    for word in EXACT:
        if word in narrow and narrow[word] != wide.get(word):
            yield where, f"{word} became {after.get(word)}"
    if asked and "default" in before and before["default"] != after.get("default"):
        yield where, f"the default became {after.get('default')}"
