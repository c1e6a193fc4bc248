"""How things look on the pages: times, states, payloads, and a try's timings as a bar."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agora.webhooks.types import DeliveryAttempt

MAX_PAYLOAD = 64 * 1024
MAX_BODY = 4_000
"""Characters of a receiver's answer that are shown."""

STATES: Final[Mapping[str, str]] = {
    "active": "active",
    "paused": "paused",
    "disabled": "disabled",
    "pending": "waiting",
    "leased": "being sent",
    "succeeded": "delivered",
    "exhausted": "given up",
    "held": "held",
    "cancelled": "cancelled",
}
"""What states are called on the pages."""

DELIVERY_STATES: Final = ("pending", "leased", "succeeded", "exhausted", "held", "cancelled")

DONE: Final[Mapping[str, str]] = {
    "created": "The endpoint is made.",
    "updated": "The endpoint is changed.",
    "paused": "The endpoint is paused: what comes is held until you resume it.",
    "resumed": "The endpoint is active: what was held is delivered bit by bit.",
    "deleted": "The endpoint is deleted.",
    "tested": "A test event is on its way. Load this page again to see what became of it.",
    "resent": "The delivery is sent again, with the same id. Load this page again to see what became of it.",
    "recovering": "What was given up is being sent again, a few at a time.",
    "key-added": "The new key signs from now on, beside those that did before.",
    "key-rotated": "The new key signs from now on.",
    "key-revoked": "The key signs no more.",
}
"""What pages say after a form was taken; by the word in the address, so that nobody can put a text there."""

STAGES: Final = (
    ("dns", "look-up"), ("connect", "connection"), ("tls", "TLS"), ("first_byte", "wait for the answer")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a try: milliseconds, and where it lies within the whole, in per cent."""

    name: str
    label: str
    milliseconds: float
    start: float
    width: float


def segments(attempt: DeliveryAttempt) -> list[Segment]:
    """The parts of a try, one after the other; on a kept connection it has no first ones."""
    total = max(float(attempt.duration_ms), *attempt.timings.values(), 0.001)
    found, before = [], 0.0
    ends = [(name, label, attempt.timings[name]) for name, label in STAGES if name in attempt.timings]
    rest = "rest of the answer" if "first_byte" in attempt.timings else "until it failed"
    for name, label, end in (*ends, ("rest", rest, total)):
        length = max(0.0, end - before)
        found.append(Segment(name, label, length, 100 * before / total, 100 * length / total))
        before = max(before, end)
    return found


def moment(value: datetime | None) -> str:
    """A time as people read it; the pages say that times are UTC."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def machine(value: datetime) -> str:
    """A time for the ``datetime`` attribute."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(value: float) -> str:
    """A length of time."""
    if value >= 1000:  # noqa: PLR2004  # from a second on, seconds are easier to read
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"  # noqa: PLR2004


def state(value: str) -> str:
    """What a state is called."""
    return STATES.get(value, value)


def pretty(body: str) -> str:
    """A payload, indented; as it is when it is no JSON."""
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = body
    return capped(text, MAX_PAYLOAD)


def capped(text: str, most: int = MAX_BODY) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= most else f"{text[:most]}\n… ({len(text) - most} more characters are not shown)"


def families(types: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Event types by what their names begin with, in the order of the catalogue; those that stand alone together."""
    found: dict[str, list[str]] = {}
    for one in types:
        found.setdefault(one.partition(".")[0], []).append(one)
    alone = [listed[0] for listed in found.values() if len(listed) == 1]
    return [(name, listed) for name, listed in found.items() if len(listed) > 1] + (
        [("others", alone)] if alone else []
    )


def per_cent(rate: float | None) -> str:
    """A rate; rounded down, so that 100 % means all."""
    return "none yet" if rate is None else f"{int(rate * 1000) / 10:g} %"


def share(succeeded: int, ended: int) -> str:
    """How many of the deliveries that ended were delivered."""
    return f"{succeeded} of {ended}" if ended else "none yet"
