"""Requests of older versions made into those of the newest, and answers back."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, g, json

from api.versions.change import Body, Change, same

FAILED = 400
EMPTY = 204


def _changes() -> tuple[Change, ...]:
    found: tuple[Change, ...] = g.get("version_changes", ())
    return found


def newer_body(given: Any) -> Any:
    """A JSON body as the newest version has it; what is no object is left to the schema."""
    if not _changes() or not isinstance(given, dict):
        return given
    for change in reversed(_changes()):
        given = _noting(change, given, change.newer_request)
    g.newer_body = given
    return given


def newer_query(given: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """Query parameters, each with its values, as the newest version has them; the very same where nothing changed."""
    body: Body = dict(given)
    for change in reversed(_changes()):
        body = _noting(change, body, change.query)
    if body == given:
        return given
    g.newer_query = body
    return body


def body_read(given: Any) -> Any:
    """The body that the schema saw, in place of the one that was sent."""
    return g.get("newer_body", given)


def query_read(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Likewise the query."""
    newer = g.get("newer_query")
    return given if newer is None else {name: one if len(one) > 1 else one[0] for name, one in newer.items()}


def _noting(change: Change, body: Body, transformer: Callable[[Body], Body]) -> Body:
    """Transform, and note the change when it made a difference."""
    changed = transformer(body)
    if changed is not body:
        g.setdefault("used_changes", set()).add(change.name)
    return changed


def older_answer(response: Response) -> None:
    """Make an answer into one of the request's version, in place."""
    if not _changes() or not response.is_json or response.is_streamed:
        return
    before = response.get_json(silent=True)
    if not isinstance(before, dict):
        return
    make, after = (_older_problem if response.status_code >= FAILED else _older_body), before
    for change in _changes():
        after = make(change, after)
    if after is not before:
        response.set_data(json.dumps(after))
    _set_older_status(response)


def _set_older_status(response: Response) -> None:
    for change in _changes():
        moved = change.newer_status in {None, response.status_code} and response.status_code < FAILED
        if change.older_status is not None and moved:
            g.setdefault("used_changes", set()).add(change.name)
            response.status_code = change.older_status
            if response.status_code == EMPTY:
                response.set_data(b"")
                response.headers.pop("Content-Type", None)


def _older_body(change: Change, body: Body) -> Body:
    body = _noting(change, body, change.response)
    items = body.get("items")
    if _changes_events(change) and isinstance(items, list):
        body = body | {"items": [_noting(change, item, change.event) for item in items]}
    return body


def _older_problem(change: Change, problem: Body) -> Body:
    # What was refused before the schema saw it is told in the words of what was sent.
    if not change.asked or "newer_body" not in g:
        return problem
    older = problem | {"detail": change.older_words(problem["detail"])}
    return older | ({"errors": [change.older_error(one) for one in problem["errors"]]} if "errors" in problem else {})


def _changes_events(change: Change) -> bool:
    return change.event is not same


def older_event() -> Callable[[Body], Body]:
    """What makes an event of a stream into one of the request's version; it works when the request is long over."""
    changes = [one for one in _changes() if _changes_events(one)]
    if changes:
        g.setdefault("used_changes", set()).update(one.name for one in changes)

    def make(event: Body) -> Body:
        for change in changes:
            event = change.event(event)
        return event

    return make
