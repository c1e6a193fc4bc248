"""The order in which due steps are rung and taken: fair between teams, by place within a team. SQL, shared.

A step's place is its ``run_at`` less a minute for each level of its priority (a generated column). A higher priority is
a head start in time, so whatever waits is overtaken for nine minutes at most: nothing starves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping

TEAMS = 32
"""Teams that one look compares. The next look begins behind them, so that none is left out."""

FAIR_ORDER = f"""
RECURSIVE walk (team_id, first, n) AS (
    -- A loose index scan: one probe of the due index for each team that waits, round the circle from :after.
    SELECT CAST(:after AS text) COLLATE "C", CAST(NULL AS text) COLLATE "C", 0
    UNION ALL
    SELECT f.team_id, COALESCE(w.first, f.team_id), w.n + 1
    FROM walk w, LATERAL (
        (SELECT team_id FROM due_steps
         WHERE queue = :queue AND team_id > w.team_id
         ORDER BY team_id LIMIT 1)
        UNION ALL
        (SELECT team_id FROM due_steps
         WHERE queue = :queue
         ORDER BY team_id LIMIT 1)
        LIMIT 1
    ) f
    WHERE w.n < {TEAMS} AND f.team_id IS DISTINCT FROM w.first
), load AS MATERIALIZED (
    SELECT team_id, count(*) AS n
    FROM (
        SELECT team_id FROM steps WHERE queue = :queue AND status = 'running'
        UNION ALL
        SELECT team_id FROM steps WHERE queue = :queue AND status = 'ready' AND rung_at IS NOT NULL
    ) busy
    GROUP BY team_id
), front AS (
    -- What a team has in flight counts as if it had been served already. With one team nobody needs to count.
    SELECT d.id, d.place, d.nth + busy.n AS turn
    FROM walk w, LATERAL (
        SELECT CASE WHEN (SELECT count(*) FROM walk) > 2
                    THEN COALESCE((SELECT n FROM load l WHERE l.team_id = w.team_id), 0) ELSE 0 END AS n
        OFFSET 0
    ) busy, LATERAL (
        SELECT id, place, row_number() OVER (ORDER BY place, id) AS nth FROM due_steps
        WHERE queue = :queue AND team_id = w.team_id
        ORDER BY place, id
        LIMIT (SELECT 2 + :most / GREATEST(1, count(*) - 1) FROM walk)
    ) d
    WHERE w.n > 0
    ORDER BY turn, place, id
),
"""
"""CTEs from which a statement picks: ``front (id, place, turn)``, to be ordered by turn, place, id.

Whoever joins ``front`` with steps again writes ``held || '' IS NULL``, which the due index cannot serve: the id
shall find the row. While statistics are from an empty queue, Postgres takes that index to hold one row, and walks all.

Takes ``queue``; ``after``, the team behind which the look begins; ``most``, about how many steps to look at.
"""


class Rounds:
    """Where a process begins its next look at a queue's teams. Any start is fair; only the same one for ever is not."""

    def __init__(self) -> None:
        self._after: dict[str, str] = {}

    def after(self, queue: str) -> str:
        """The team behind which to begin."""
        return self._after.get(queue, "")

    def note(self, queue: str, rows: Sequence[Mapping[str, Any] | RowMapping]) -> None:
        """These steps were picked: the next look begins behind the last one's team."""
        if rows:
            self._after[queue] = rows[-1]["team_id"]


rounds = Rounds()
"""Of this process."""
