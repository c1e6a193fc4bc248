"""When a request is sent again, and after how long."""

from datetime import UTC
from email.utils import parsedate_to_datetime

from tenacity import RetryCallState

from agora.client.errors import Busy, Unreachable
from agora.clock import now

TRIES = 5
LONGEST_PAUSE = 10.0
"""Seconds, of the client's own accord; it rests for longer when it is asked to, up to the following."""
LONGEST_ASKED = 60.0
BUSY = frozenset({429, 502, 503, 504})
NOT_DONE = frozenset({429, 503})
"""Agora gives these before it does anything. 502 and 504 are a proxy's, which may have passed the request on."""


def may_pass(error: BaseException, *, again: bool) -> bool:
    """Whether a request that ended so is worth sending again; ``again``: it may be, though it was perhaps done.

    None that its caller had better decide about: a day's quota is used up, say.
    """
    if isinstance(error, Busy):
        return error.retry_after <= LONGEST_ASKED and (again or error.error.status in NOT_DONE)
    return again and isinstance(error, Unreachable)


def pause(state: RetryCallState) -> float:
    """Seconds to rest before a request is sent again: as many as the API asks for, or more from try to try."""
    error = state.outcome.exception() if state.outcome else None
    return _rest(error, 0.1 * 2 ** (state.attempt_number - 1))


def pause_of_stream(cut: Unreachable | Busy, failures: int) -> float:
    """Seconds to rest before a stream is taken up, after so many failures in a row.

    Little at first, for a line that broke; a quarter of a minute in all, for a server that starts again.
    """
    return _rest(cut, 0.25 * 4 ** (failures - 1))


def _rest(error: BaseException | None, grown: float) -> float:
    asked = error.retry_after if isinstance(error, Busy) else 0.0
    return max(asked, min(LONGEST_PAUSE, grown))


def seconds_asked(retry_after: str | None) -> float:
    """Seconds that a Retry-After header asks for, which may be a date; none for junk, or a time that has passed."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now()).total_seconds())
