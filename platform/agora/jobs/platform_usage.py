"""How much the whole platform is used, for its administrators: counts over all teams."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agora.db.session import transaction
from agora.jobs import platform_queries


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCount:
    """The jobs that are in one state: how many, of how many teams, and what they spent (``cost_usd``: decimal)."""

    status: str
    jobs: int
    teams: int
    tokens: int
    cost_usd: str


def count_jobs(since: datetime) -> Sequence[JobCount]:
    """Jobs that were made since then, by status."""
    with transaction() as session:
        return [JobCount(**row) for row in platform_queries.count_jobs(session, since=since)]
