"""SQL about the jobs of all teams together, for administrators of the platform: counts only, no content."""

from datetime import datetime

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.ids import floor_id

COUNT = text("""
SELECT status, count(*) AS jobs, count(DISTINCT team_id) AS teams,
       COALESCE(sum(CAST(usage ->> 'tokens' AS bigint)), 0)::bigint AS tokens,
       CAST(trim_scale(COALESCE(sum(CAST(usage ->> 'cost_usd' AS numeric)), 0)) AS text) AS cost_usd
FROM jobs WHERE id >= :first GROUP BY status ORDER BY status
""")


def count_jobs(session: Session, *, since: datetime) -> list[RowMapping]:
    """Jobs that were made since then, by status, with how many teams made them and what they spent."""
    return list(session.execute(COUNT, {"first": floor_id("job", since)}).mappings())
