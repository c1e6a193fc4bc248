"""When a delivery is tried again, and what an answer means. Pure: no clock, no database.

Only 2xx is a success. The n-th entry of a schedule is the pause in seconds before the n-th try.
"""

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

JITTER = 0.2
LONGEST_RETRY_AFTER = 24 * 3600.0
MAX_TRIES = 20
LONGEST_PAUSE = 7 * 24 * 3600.0

GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})


class Outcome(StrEnum):
    """What one try came to."""

    DELIVERED = "delivered"
    FAILED = "failed"  # the receiver answered, but not with 2xx: it lives
    SLOWED = "slowed"  # it asks for less: 429, 502, 503, 504
    UNREACHED = "unreached"  # no answer: refused, DNS, connect, TLS, time-out, broken connection
    GONE = "gone"  # 410: it wants no more, ever


def classify(status: int | None) -> Outcome:
    """The outcome of a try that ended with this HTTP status; None: without any answer."""
    if status is None:
        return Outcome.UNREACHED
    if 200 <= status < 300:  # noqa: PLR2004  # the class of success
        return Outcome.DELIVERED
    if status == GONE:
        return Outcome.GONE
    return Outcome.SLOWED if status in SLOW_DOWN else Outcome.FAILED


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, at most 24 h; None for none, junk, or a time that has passed."""
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text[:12])
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def next_try(
    schedule: Sequence[float],
    tries: int,
    *,
    retry_after: float | None = None,
    rng: Callable[[], float] = random.random,
) -> float | None:
    """Seconds until the next try, after ``tries`` of them; None when the schedule is spent.

    The pause is jittered by up to 20 % either way, and is never shorter than ``retry_after``.
    """
    if tries >= len(schedule):
        return None
    pause = schedule[tries] * (1 + JITTER * (2 * rng() - 1))
    return max(pause, retry_after or 0.0)


def fault_of_schedule(schedule: Sequence[float]) -> str | None:
    """What is wrong with an endpoint's own schedule; None when nothing is."""
    if not 1 <= len(schedule) <= MAX_TRIES:
        return f"schedule must have 1 to {MAX_TRIES} entries, one per try"
    for pause in schedule:
        if not math.isfinite(pause) or not 0 <= pause <= LONGEST_PAUSE:
            return f"schedule: each pause must be 0 to {LONGEST_PAUSE:.0f} seconds, {pause} is not"
    return None
