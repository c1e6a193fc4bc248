"""What operators watch of webhooks, from Postgres: the same from any process, and gone with none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from agora.clock import now
from agora.db.session import transaction
from agora.ids import floor_id
from agora.webhooks import watch_queries

RECENT = timedelta(minutes=1)
STATES = ("well", "failing", "resting", "draining", "paused", "disabled")
QUANTILES = ("0.5", "0.95", "0.99")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tries:
    """Tries of the last minute with one outcome; ``seconds`` are their p50, p95 and p99."""

    outcome: str
    count: int
    seconds: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """Endpoints by state, seconds by which the first is late, and the tries of the last minute."""

    endpoints: Mapping[str, int]
    lag_seconds: float
    tries: Sequence[Tries]


def look() -> Watched:
    """How webhooks are doing."""
    with transaction() as session:
        rows = watch_queries.list_tries(session, since=floor_id("wha", now() - RECENT))
        tries = [
            Tries(outcome=row["outcome"], count=row["n"], seconds=[ms / 1000 for ms in row["quantiles"]])
            for row in rows
        ]
        return Watched(
            endpoints=watch_queries.count_endpoints(session), lag_seconds=watch_queries.find_lag(session), tries=tries
        )
