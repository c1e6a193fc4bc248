"""What forms send, as values; and their errors beside the fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flask import request

from agora.errors import AgoraError, Invalid, invalid_field
from agora.webhooks.types import Endpoint

_FOR_OPERATORS = re.compile(r"(; an operator can allow it)? \(setting [A-Z_]+\)$")
"""What errors of the egress guard say to those who run the platform."""
LOCAL = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")
FIRST_TYPES = ("job.succeeded", "job.failed", "job.cancelled")


def text(name: str) -> str:
    """A field's text without blanks around it. Raises Invalid for what cannot be stored."""
    value = request.form.get(name, "").strip()
    if "\x00" in value:
        raise invalid_field(f"/{name}", "no-nul", f"{name} contains a NUL character, which cannot be stored")
    return value


def seconds(name: str) -> float:
    """A field's length of time in seconds. Raises Invalid."""
    value = request.form.get(name, "")
    if not value.isascii() or not value.isdigit() or len(value) > len("10000000"):
        raise invalid_field(f"/{name}", "seconds", f"{name} must be whole seconds", value)
    return float(value)


def moment(given: str) -> datetime | None:
    """A time in UTC as ``datetime-local`` fields send it; None for an empty one. Raises Invalid."""
    if not given:
        return None
    if not LOCAL.fullmatch(given):
        raise _no_moment(given)
    try:
        return datetime.fromisoformat(given).replace(tzinfo=UTC)
    except ValueError:
        raise _no_moment(given) from None


def _no_moment(given: str) -> Invalid:
    return invalid_field("/since", "date-time", "since must be a time such as 2030-01-31T06:00, in UTC", given)


def required_moment(name: str) -> datetime:
    """The time in a field. Raises Invalid."""
    found = moment(request.form.get(name, ""))
    if found is None:
        raise invalid_field(f"/{name}", "required", f"{name} must be given")
    return found


def written(value: datetime) -> str:
    """A time as ``datetime-local`` fields show it, to the minute."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointForm:
    """The form of an endpoint, with what was sent and what is wrong with it."""

    url: str = ""
    description: str = ""
    event_types: tuple[str, ...] = FIRST_TYPES
    algorithm: str = "v1"
    errors: Mapping[str, str] = field(default_factory=dict)


def shown(endpoint: Endpoint) -> EndpointForm:
    """The form as it is first shown for an endpoint."""
    return EndpointForm(url=endpoint.url, description=endpoint.description, event_types=tuple(endpoint.event_types))


def sent() -> EndpointForm:
    """The form as it was sent. Raises Invalid."""
    return EndpointForm(
        url=text("url"), description=text("description"), event_types=tuple(request.form.getlist("event_types")),
        algorithm=text("algorithm") or "v1",
    )  # fmt: skip


def errors_of(error: AgoraError) -> dict[str, str]:
    """What is wrong, by field; what belongs to no field of the form is under an empty name."""
    if not isinstance(error, Invalid) or not error.errors:
        return {"": str(error)}
    known = {"url", "description", "event_types", "algorithm"}
    found: dict[str, str] = {}
    for one in error.errors:
        name = one.pointer.split("/")[1] if "/" in one.pointer else ""
        found.setdefault(name if name in known else "", _FOR_OPERATORS.sub("", one.message))
    return found
