"""What an endpoint may look like: one check per field, each with an error that names field, rule and value."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from agora.egress.policy import EgressRefused, Policy
from agora.errors import FieldError, Invalid, invalid_field
from agora.events.catalogue import CATALOGUE, matches_some
from agora.events.declare import NAME
from agora.webhooks.schedule import fault_of_schedule
from agora.webhooks.states import Order, Payload

MAX_URL = 2048
MAX_DESCRIPTION = 1000
MAX_METADATA_BYTES = 16 * 1024
MAX_HEADERS = 20
MAX_HEADER_VALUE = 4096
MAX_LIST = 100
MAX_IN_FLIGHT = 1000
SLOWEST_RATE, FASTEST_RATE = 0.01, 10_000

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_UID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PATTERN = re.compile(rf"\*|{NAME}(\.\*)?")
_VALUE = re.compile(r"[\x20-\x7e\t]*")

RESERVED_HEADERS = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "content-type", "content-encoding", "host", "user-agent",
        "expect", "accept-encoding",
    }
)  # fmt: skip
"""Hop-by-hop headers, and those that the platform sets itself."""


def check_url(url: Any) -> str:
    """A URL that the egress guard lets through as far as its form tells; it judges again at each connect."""
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
        raise invalid_field("/url", "max-length", f"url must be a text of 1 to {MAX_URL} characters")
    if "#" in url or any(letter.isspace() or ord(letter) < ord(" ") for letter in url):
        raise invalid_field("/url", "url", "url must have no fragment, spaces or control characters", url)
    try:
        Policy.of().vet_url(url)
    except EgressRefused as error:
        raise invalid_field("/url", "egress", f"url: {error}", url) from None
    return url


def check_event_types(types: Any, *, pointer: str = "/event_types") -> list[str]:
    """Types of events, or beginnings that end in ``.*``; one that nothing matches is refused."""
    chosen = _texts(types, pointer, _PATTERN, "event types such as job.succeeded, job.* or *")
    if not chosen:
        raise invalid_field(pointer, "min-items", f"{pointer[1:]} must name at least one event type")
    for pattern in chosen:
        if not matches_some(pattern):
            message = f"{pointer[1:]}: {pattern} is no event type; known are {', '.join(CATALOGUE)}"
            raise invalid_field(pointer, "event-type", message, pattern)
    return chosen


def check_headers(headers: Any) -> dict[str, str]:
    """Custom headers. Errors name the header, never its value."""
    if not isinstance(headers, Mapping) or len(headers) > MAX_HEADERS:
        raise invalid_field("/headers", "headers", f"headers must be an object of at most {MAX_HEADERS} names")
    for name, value in headers.items():
        pointer = f"/headers/{name}"
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise invalid_field(pointer, "header-name", f"headers: {name!r} is no header name")
        if name.lower() in RESERVED_HEADERS or name.lower().startswith("webhook-"):
            raise invalid_field(pointer, "reserved", f"headers: {name} is set by the platform or the connection")
        if not isinstance(value, str) or len(value) > MAX_HEADER_VALUE or not _VALUE.fullmatch(value):
            message = f"headers: the value of {name} must be printable ASCII of at most {MAX_HEADER_VALUE} characters"
            raise invalid_field(pointer, "header-value", message)
    if len({name.lower() for name in headers}) != len(headers):
        raise invalid_field("/headers", "unique", "headers: a name must come once, whatever its case")
    return dict(headers)


def check_schedule(schedule: Any) -> list[float] | None:
    """An endpoint's own pauses in seconds, one per try."""
    if schedule is None:
        return None
    if not isinstance(schedule, Sequence) or not all(_is_number(pause) for pause in schedule):
        raise invalid_field("/schedule", "schedule", "schedule must be a list of seconds, one per try", schedule)
    fault = fault_of_schedule(schedule)
    if fault:
        raise invalid_field("/schedule", "schedule", fault, list(schedule))
    return [float(pause) for pause in schedule]


def check_uid(uid: Any) -> str | None:
    """The team's own name for the endpoint; it must not look like an id of ours."""
    if uid is None:
        return None
    if not isinstance(uid, str) or not _UID.fullmatch(uid) or uid.startswith("whe_"):
        message = "uid must be 1 to 128 letters, digits, dots, dashes or underscores, and not begin with whe_"
        raise invalid_field("/uid", "uid", message, uid)
    return uid


def check_agents(agents: Any) -> list[str]:
    """Names of agents; none means all."""
    return _texts(agents, "/agents", re.compile(r"[A-Za-z0-9_.-]{1,128}"), "names of agents")


def check_description(description: Any) -> str:
    """A line for people."""
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION or "\x00" in description:
        raise invalid_field("/description", "max-length", f"description must be a text of at most {MAX_DESCRIPTION}")
    return description


def check_max_in_flight(number: Any) -> int:
    """How many deliveries may be under way to the endpoint at a time."""
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_IN_FLIGHT:
        raise invalid_field("/max_in_flight", "range", f"max_in_flight must be 1 to {MAX_IN_FLIGHT}", number)
    return number


def check_projects(projects: Any) -> list[str]:
    """Ids of projects; none means all."""
    return _texts(projects, "/projects", re.compile(r"[A-Za-z0-9_.-]{1,128}"), "ids of projects")


def check_rate_limit(rate: Any) -> float | None:
    """Deliveries per second."""
    if rate is None:
        return None
    if not _is_number(rate) or not SLOWEST_RATE <= rate <= FASTEST_RATE:
        message = f"rate_limit must be {SLOWEST_RATE} to {FASTEST_RATE} deliveries per second"
        raise invalid_field("/rate_limit", "range", message, rate)
    return float(rate)


def check_fifo(fifo: Any) -> str | None:
    """Within what deliveries keep their order; None: nothing."""
    return None if fifo is None else _one_of("fifo", fifo, Order)


def check_payload(payload: Any) -> str:
    """How much the bodies say."""
    return _one_of("payload", payload, Payload)


def _one_of(name: str, value: Any, known: type[StrEnum]) -> str:
    if not isinstance(value, str) or value not in set(known):
        raise invalid_field(f"/{name}", "enum", f"{name} must be one of {', '.join(known)}", value)
    return value


def check_metadata(metadata: Any) -> dict[str, Any]:
    """The caller's own notes."""
    return _object("metadata", metadata)


def check_metadata_filter(metadata: Any) -> dict[str, Any]:
    """What the metadata of events must contain, as Postgres's ``@>`` has it; nothing means all events."""
    return _object("metadata_filter", metadata)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(json.dumps(dict(value))) > MAX_METADATA_BYTES:
        message = f"{name} must be an object of at most {MAX_METADATA_BYTES} bytes of JSON"
        raise invalid_field(f"/{name}", "max-bytes", message)
    return dict(value)


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "url": check_url,
    "event_types": check_event_types,
    "description": check_description,
    "uid": check_uid,
    "agents": check_agents,
    "headers": check_headers,
    "schedule": check_schedule,
    "max_in_flight": check_max_in_flight,
    "projects": check_projects,
    "metadata_filter": check_metadata_filter,
    "rate_limit": check_rate_limit,
    "fifo": check_fifo,
    "payload": check_payload,
    "metadata": check_metadata,
}
"""Every field that an owner may set, but the secret."""


def check_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check each given field and report all faults at once. Raises Invalid."""
    checked: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in values.items():
        if name not in CHECKS:
            known = ", ".join(CHECKS)
            errors += invalid_field(f"/{name}", "unknown-field", f"{name} cannot be set; known are {known}").errors
            continue
        try:
            checked[name] = CHECKS[name](value)
        except Invalid as error:
            errors += error.errors
    if errors:
        raise Invalid(errors=errors)
    return checked


def _texts(values: Any, pointer: str, pattern: re.Pattern[str], what: str) -> list[str]:
    listed = isinstance(values, Sequence) and not isinstance(values, str) and len(values) <= MAX_LIST
    if not listed or not all(isinstance(value, str) and pattern.fullmatch(value) for value in values):
        raise invalid_field(pointer, "items", f"{pointer[1:]} must be a list of at most {MAX_LIST} {what}", values)
    return list(dict.fromkeys(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
