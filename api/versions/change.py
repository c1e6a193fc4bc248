"""What a version is made of: changes, and the small transformers that undo them."""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

Body = dict[str, Any]
POSITION = f"{secrets.token_hex(16)}:"
"""Before a position in place of a cursor, for versions whose cursors were positions. Nobody outside the process can
know it, so nobody gets around a signature by it."""
Transformer = Callable[[Body], Body]
"""Makes a body into another. It must not change what it gets, and gives back the very same when nothing concerns it:
that is how uses are told from mere requests."""


def same(body: Body) -> Body:
    """Changes nothing."""
    return body


@dataclass(frozen=True, slots=True)
class Renamed:
    """A field at the top of a body that had another name before.

    The two names are exchanged, both ways: so the newer name is as unknown in an older request as it was then, and what
    is said of either field is said of the right one.
    """

    older: str
    newer: str

    def __call__(self, body: Body) -> Body:
        """The body with the names exchanged."""
        if self.older not in body and self.newer not in body:
            return body
        return {self._other(name): value for name, value in body.items()}

    def pointer(self, pointer: str) -> str:
        """A JSON pointer into the one body as one into the other."""
        first, slash, rest = pointer.removeprefix("/").partition("/")
        return f"/{self._other(first)}{slash}{rest}" if pointer.startswith("/") else pointer

    def words(self, text: str) -> str:
        """A sentence about the one field as one about the other."""
        either = "|".join(re.escape(name) for name in (self.older, self.newer))
        return re.sub(rf"\b(?:{either})\b", lambda found: self._other(found[0]), text)

    def schema(self, schema: Body) -> Body:
        """The schema of the one body as that of the other."""
        renamed = {self._other(name): value for name, value in schema["properties"].items()}
        needed = {"required": sorted(map(self._other, schema["required"]))} if "required" in schema else {}
        return schema | {"properties": renamed} | needed

    def _other(self, name: str) -> str:
        return {self.older: self.newer, self.newer: self.older}.get(name, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One change of a version, as its users see it.

    ``operations`` are endpoint names; nothing else pays for it. ``asked`` are fields of requests that were renamed, by
    which errors find back to what the caller sent. ``request``, ``query`` and ``response`` do what renaming cannot do;
    ``event`` is for each event of a job, in lists and in streams. ``removes`` are operations that only older versions
    have: the change is that they are gone. ``older_status`` is what a success used to be; 204 has no body. Where an
    operation has several successes, ``newer_status`` says in whose place it is.

    ``request_schema``, ``response_schema`` and ``parameters`` (schemas by name) say the same to the OpenAPI document of
    the version before: there renaming and ``older_status`` are seen to.
    """

    name: str
    description: str
    operations: frozenset[str] = frozenset()
    removes: frozenset[str] = frozenset()
    asked: tuple[Renamed, ...] = ()
    request: Transformer = same
    query: Transformer = same
    response: Transformer = same
    event: Transformer = same
    older_status: int | None = None
    newer_status: int | None = None
    request_schema: Transformer = same
    response_schema: Transformer = same
    parameters: Mapping[str, Body] = field(default_factory=dict)

    def newer_request(self, body: Body) -> Body:
        """A body of the version before as this version wants it."""
        for renamed in self.asked:
            body = renamed(body)
        return self.request(body)

    def older_request(self, body: Body) -> Body:
        """A body of this version with the names that the version before had."""
        for renamed in reversed(self.asked):
            body = renamed(body)
        return body

    def older_request_schema(self, schema: Body) -> Body:
        """The schema of a request as it was in the version before."""
        for renamed in reversed(self.asked):
            schema = renamed.schema(schema)
        return self.request_schema(schema)

    def older_error(self, error: Body) -> Body:
        """A member of ``errors`` as the version before would have told it."""
        for renamed in reversed(self.asked):
            pointer, message = renamed.pointer(error["pointer"]), renamed.words(error["message"])
            error = error | {"pointer": pointer, "message": message}
        return error

    def older_words(self, text: str) -> str:
        """A sentence for people, likewise."""
        for renamed in reversed(self.asked):
            text = renamed.words(text)
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A dated version. ``sunset``: the first day on which it may be refused; None while that is not decided."""

    date: str
    changes: tuple[Change, ...] = ()
    sunset: str | None = None


def moment_of(day: str) -> datetime:
    """The beginning of a day, in UTC."""
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), tzinfo=UTC)


def all_operations(changes: Iterable[Change]) -> frozenset[str]:
    """The endpoint names that changes concern."""
    return frozenset().union(*(change.operations | change.removes for change in changes))
