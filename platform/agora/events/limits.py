"""How large the data of a payload may become: what does not fit is left out and named; ids, status and links stay.

Standard Webhooks 1.0.0 advises payloads below 20 kB. Of ours only a few fields have no small bound of their own:
metadata, messages of errors, prompts, and what agents emit.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

MAX_BYTES: Final = 19_800
"""Of the data as compact ASCII JSON; with its type and time around it, a body stays below 20,000 bytes."""
KEPT: Final = frozenset(
    {
        "status", "links", "job_id", "batch_id", "bulk_id", "schedule_id", "project_id", "session_id",
        "specification_id", "conflict_id", "endpoint_id", "delivery_id", "event_id", "parent_id", "retry_of",
        "forked_from", "supersedes", "superseded_by", "approval",
    }
)  # fmt: skip
MAX_KEPT: Final = 600
"""Bytes of a value that stays. A longer one under such a name is an agent's own, and no id."""
SHORT: Final = frozenset({"code", "type", "retryable"})
"""What stays of an ``error`` as long as anything else can go."""
MOST_NAMED: Final = 50
LONGEST_NAME: Final = 60
REST: Final = "*"
"""Stands in ``truncated`` for all that is not named there."""

Path = tuple[str, ...]


def bounded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same data, or what of it is below MAX_BYTES, with the names of what was left out in ``truncated``.

    The largest fields go first; of an ``error`` its message, and what is short of it last. Data of a job that has no
    links gets the link to it.
    """
    size = _size(data)
    if size < MAX_BYTES:
        return data
    kept = dict(data)
    named: list[str] = []
    if "links" not in kept and _stays("job_id", kept.get("job_id")):
        kept["links"] = {"self": f"/api/v1/jobs/{kept['job_id']}"}
        size = _size(kept)
    for path in _candidates(kept):
        if size + _size({"truncated": named}) < MAX_BYTES:
            break
        size -= _drop(kept, path)
        _name(named, ".".join(path))
    return kept | {"truncated": named}


def _candidates(data: Mapping[str, Any]) -> list[Path]:
    """What may go, the largest first."""
    sizes = {path: _size(path[-1]) + _size(value) for path, value in _optional(data)}
    return sorted(sizes, key=lambda path: (path == ("error",), -sizes[path]))


def _optional(data: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for name, value in data.items():
        if name == "error" and isinstance(value, Mapping):
            yield from (((name, inner), value[inner]) for inner in value if inner not in SHORT)
        if not _stays(name, value):
            yield (name,), value


def _stays(name: str, value: Any) -> bool:
    return name in KEPT and value is not None and _size(value) <= MAX_KEPT


def _drop(data: dict[str, Any], path: Path) -> int:
    """Take a field out of the data; returns how many bytes that spares at least."""
    whole = data.pop(path[0])
    if len(path) == 1:
        return _size(whole) + _size(path[0]) + 1
    data[path[0]] = {name: value for name, value in whole.items() if name != path[1]}
    return _size(whole) - _size(data[path[0]])


def _name(named: list[str], name: str) -> None:
    if len(named) < MOST_NAMED and _size(name) <= LONGEST_NAME and name != REST:
        named.append(name)
    elif REST not in named:
        named.append(REST)


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))
