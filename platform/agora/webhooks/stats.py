"""How an endpoint does: success rates, times, its last error, what it is still to get, when it will be disabled."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from agora.clock import now
from agora.db.session import transaction
from agora.errors import NotFound, invalid_field
from agora.settings import get_settings
from agora.webhooks import queries, stats_queries
from agora.webhooks.models import EndpointRow
from agora.webhooks.operation_types import Failure, Stats
from agora.webhooks.states import DeliveryState, EndpointState

SHORTEST_WINDOW, LONGEST_WINDOW = 60.0, 30 * 24 * 3600.0
WINDOW = 24 * 3600.0


def endpoint_stats(ref: str, *, team_id: str, window: float = WINDOW) -> Stats:
    """How an endpoint did over its deliveries of the last ``window`` seconds, and how it stands.

    Raises:
        NotFound: the team has no such endpoint.
        Invalid: the window is too short or too long.
    """
    if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
        message = f"window must be {SHORTEST_WINDOW:.0f} to {LONGEST_WINDOW:.0f} seconds"
        raise invalid_field("/window", "range", message, window)
    moment = now()
    since = moment - timedelta(seconds=window)
    with transaction() as session:
        row = queries.find_endpoint(session, team_id=team_id, ref=ref)
        if row is None:
            raise NotFound(f"there is no webhook endpoint {ref}")
        lately = stats_queries.look_at_latest(session, team_id=team_id, endpoint_id=row.id, since=since)
        still = stats_queries.count_open(session, team_id=team_id, endpoint_id=row.id)
    found = {status.value: lately["statuses"].get(status, 0) for status in DeliveryState}
    seen, tries = sum(found.values()), lately["tries"]
    succeeded, exhausted = found[DeliveryState.SUCCEEDED], found[DeliveryState.EXHAUSTED]
    return Stats(
        endpoint_id=row.id, window=window, since=lately["since"], deliveries=seen,
        complete=seen < stats_queries.LOOKED_AT, statuses=found,
        delivery_success_rate=_ratio(succeeded, succeeded + exhausted),
        tries=tries, try_success_rate=_ratio(lately["delivered"], tries),
        tries_per_delivery=_ratio(tries, lately["tried"]), p50_ms=lately["p50_ms"], p95_ms=lately["p95_ms"],
        last_success_at=_latest(lately["last_success_at"], row.last_success_at),
        last_failure=_failure(lately["last_failure"]), pending=still["pending"], held=still["held"],
        in_flight=still["in_flight"], **_standing(row, moment),
    )  # fmt: skip


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _latest(*moments: datetime | None) -> datetime | None:
    return max((one for one in moments if one is not None), default=None)


def _failure(found: Mapping[str, Any] | None) -> Failure | None:
    return None if found is None else Failure(**{**found, "at": datetime.fromisoformat(found["at"])})


def _standing(row: EndpointRow, moment: datetime) -> dict[str, Any]:
    watched = row.status == EndpointState.ACTIVE and row.kind == "endpoint" and row.failing_since is not None
    after = timedelta(days=get_settings().webhook_disable_days)
    return {
        "status": row.status, "status_reason": row.status_reason,
        "open_until": row.open_until if row.open_until is not None and row.open_until > moment else None,
        "allowance": min(row.allowance, row.max_in_flight), "max_in_flight": row.max_in_flight,
        "draining": row.draining, "failing_since": row.failing_since,
        "disabled_at": row.failing_since + after if watched and row.failing_since is not None else None,
    }  # fmt: skip
