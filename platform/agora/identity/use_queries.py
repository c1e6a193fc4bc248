"""SQL about uses of what is deprecated, and about the versions that keys are pinned to."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

# A team that was erased meanwhile gets no rows any more. In the order of the key, so that two processes do not wait for
# each other in a circle.
ADD = text("""
INSERT INTO deprecated_uses AS known (team_id, actor_id, feature, uses, first_used_at, last_used_at)
SELECT given.team_id, given.actor_id, given.feature, given.uses, given.last_used_at, given.last_used_at
FROM unnest(CAST(:teams AS text[]), CAST(:actors AS text[]), CAST(:features AS text[]), CAST(:uses AS bigint[]),
            CAST(:times AS timestamptz[])) AS given (team_id, actor_id, feature, uses, last_used_at)
JOIN teams ON teams.id = given.team_id
ORDER BY given.team_id, given.actor_id, given.feature
ON CONFLICT (team_id, actor_id, feature) DO UPDATE
SET uses = known.uses + excluded.uses, last_used_at = greatest(known.last_used_at, excluded.last_used_at)
""")
LIST = text("""
SELECT actor_id, feature, uses, first_used_at, last_used_at FROM deprecated_uses WHERE team_id = :team_id
ORDER BY feature, last_used_at DESC, actor_id
""")
TOTALS = text("SELECT feature, sum(uses)::bigint AS uses FROM deprecated_uses GROUP BY feature")
PINNED = text("""
SELECT api_version, count(*) AS keys FROM api_keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) GROUP BY api_version
""")


def add_uses(session: Session, *, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add uses: team, actor, feature, how many, the last one's time."""
    teams, actors, features, uses, times = (list(column) for column in zip(*rows, strict=True))
    session.execute(ADD, {"teams": teams, "actors": actors, "features": features, "uses": uses, "times": times})


def list_uses(session: Session, *, team_id: str) -> Sequence[RowMapping]:
    """The team's uses by feature, of each the latest first."""
    return session.execute(LIST, {"team_id": team_id}).mappings().all()


def total_uses(session: Session) -> dict[str, int]:
    """Uses of each feature, of all teams."""
    return {row.feature: row.uses for row in session.execute(TOTALS)}


def count_pinned(session: Session) -> dict[str, int]:
    """How many valid keys are pinned to each version, of all teams."""
    return {row.api_version: row.keys for row in session.execute(PINNED)}
