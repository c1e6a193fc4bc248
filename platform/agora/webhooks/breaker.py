"""What tries tell about their endpoint: how many it may get at a time, when it rests, when it is disabled. Pure.

An endpoint's allowance starts small, grows by one with each success (so it doubles with each round) up to its
``max_in_flight``, is halved when the receiver asks for less, and falls to one when it does not answer. After a run of
failures, or a minute in which most tries failed, the endpoint rests; then it gets one probe, and grows from there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agora.webhooks.schedule import Outcome

THRESHOLD = 5
"""So many failures of the endpoint itself in a row, and it rests."""
WINDOW = timedelta(seconds=60)
ENOUGH_TRIES = 20
"""A ratio says nothing before so many tries."""
BAD_RATIO = 0.5
FIRST_REST = 30.0
LONGEST_REST = 15 * 60.0
FIRST_ALLOWANCE = 4
FAILING_ALLOWANCE = 1
"""One that does not answer holds each try until its deadline: it must not hold more than one place."""
WARNINGS = (50, 75, 90)
"""Per cent of the time to its disabling after which a team is told that its endpoint fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One try that has ended: what it came to, and the seconds of its Retry-After."""

    outcome: Outcome
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is written about an endpoint. ``rest``: seconds; ``warn``: per cent, 100 disables it."""

    failures: int
    allowance: int
    tries: int
    failed: int
    since: datetime
    rest: float | None
    delivered: bool
    healthy: bool
    gone: bool
    warn: int | None
    recovered: bool


def hurts_endpoint(outcome: Outcome) -> bool:
    """Whether the outcome says something against the endpoint as a whole, not only this delivery."""
    return outcome in {Outcome.UNREACHED, Outcome.SLOWED}


def judge(endpoint: Mapping[str, Any], tries: Iterable[Told], moment: datetime, *, disable_after: float) -> Verdict:
    """What the tries of one batch, in the order in which they ended, mean for their endpoint.

    ``endpoint`` has the columns of its row, and ``resting``. While it rests, failures of tries that were under way say
    nothing new. Before its first rest, a burst of failures counts as the threshold at most: it is one outage, not
    many. ``disable_after``: seconds without success after which it is disabled.
    """
    count = _Count.of(endpoint, moment)
    for one in tries:
        count.add(one)
    rest = count.rest()
    warn = None if count.delivered else _warning(endpoint, moment, disable_after)
    return Verdict(
        failures=count.failures, allowance=1 if rest else count.allowance, tries=count.tries, failed=count.failed,
        since=count.since, rest=rest, delivered=count.delivered, healthy=count.last is Outcome.DELIVERED,
        gone=count.gone, warn=warn, recovered=count.delivered and endpoint["warned"] > 0,
    )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class _Count:
    before: int
    failures: int
    allowance: int
    most: int
    resting: bool
    tries: int
    failed: int
    since: datetime
    asked: float = 0.0
    delivered: bool = False
    gone: bool = False
    last: Outcome | None = None

    @classmethod
    def of(cls, endpoint: Mapping[str, Any], moment: datetime) -> "_Count":
        since = endpoint["recent_since"]
        fresh = since is None or moment - since > WINDOW
        return cls(
            before=endpoint["consecutive_failures"], failures=endpoint["consecutive_failures"],
            allowance=endpoint["allowance"], most=endpoint["max_in_flight"], resting=bool(endpoint["resting"]),
            tries=0 if fresh else endpoint["recent_tries"], failed=0 if fresh else endpoint["recent_failures"],
            since=moment if fresh else since,
        )  # fmt: skip

    def add(self, told: Told) -> None:
        self.last = told.outcome
        self.delivered |= told.outcome is Outcome.DELIVERED
        self.gone |= told.outcome is Outcome.GONE
        if not hurts_endpoint(told.outcome):
            self.tries += 1
            self.failures, self.asked = 0, 0.0
            if told.outcome is Outcome.DELIVERED:
                self.allowance = min(self.allowance + 1, self.most)
        elif not self.resting:
            self.tries += 1
            self.failed += 1
            self.failures = min(self.failures + 1, max(self.before + 1, THRESHOLD))
            self.asked = max(self.asked, told.retry_after or 0.0)
            slowed = told.outcome is Outcome.SLOWED
            self.allowance = max(1, self.allowance // 2) if slowed else min(self.allowance, FAILING_ALLOWANCE)

    def rest(self) -> float | None:
        """Seconds of rest, growing with failures; None while it may go on.

        A Retry-After rests the whole endpoint, but for a quarter of an hour at most: one delivery's answer must not
        stop all others for a day. Its own delivery waits as long as asked.
        """
        if self.resting:
            return None
        grown = 0.0
        if self.failures >= THRESHOLD:
            grown = min(FIRST_REST * 2.0 ** min(self.failures - THRESHOLD, 10), LONGEST_REST)
        elif self.tries >= ENOUGH_TRIES and self.failed >= BAD_RATIO * self.tries:
            grown = FIRST_REST
            self.tries = self.failed = 0  # the next minute is counted anew
        asked = min(self.asked, LONGEST_REST)
        return max(grown, asked) or None


def _warning(endpoint: Mapping[str, Any], moment: datetime, disable_after: float) -> int | None:
    """The highest warning that is due and was not given; 100 only after the last of them."""
    since, warned = endpoint["failing_since"], endpoint["warned"]
    if since is None or endpoint["kind"] != "endpoint" or endpoint["status"] != "active":
        return None
    share = 100 * (moment - since).total_seconds() / disable_after
    if share >= 100 and warned >= WARNINGS[-1]:  # noqa: PLR2004  # all of the time
        return 100
    return next((one for one in reversed(WARNINGS) if share >= one > warned), None)
