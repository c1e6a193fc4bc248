"""A running step's view of its job's budget: read once, then kept up by what the step itself spends."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from agora import outcomes
from agora.db.session import transaction
from agora.jobs import budget_queries
from agora.jobs.budgets import ASK, Excess, excess_of
from agora.jobs.claim import Claim


class Meter:
    """What the job may spend, and what it has. Safe for the threads of a step."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._lock = threading.Lock()
        self._budget: Mapping[str, Any] | None = None
        self._usage: Mapping[str, Any] = {}
        self._run_seconds = self._read_at = 0.0

    def over(self) -> Excess | None:
        """The limit that the job is over now, this try's run time included; None without a budget."""
        if not self._claim.budgeted:
            return None
        with self._lock:
            if self._budget is None:
                self._read()
            if self._claim.position.item and (self._budget or {}).get("on_exceeded") == ASK:
                return None  # an item cannot wait: its step is looked at when all of them have ended
            ran = self._run_seconds + time.monotonic() - self._read_at
            return excess_of(self._budget or {}, self._usage, ran)

    def heed(self) -> None:
        """Raise BudgetExceeded when the job is over its budget."""
        if self.over() is not None:
            raise outcomes.BudgetExceeded

    def note(self, usage: Mapping[str, Any]) -> None:
        """The job's sums, as the write of this step's usage left them."""
        with self._lock:
            self._usage = usage

    def _read(self) -> None:
        job = self._claim.job
        with transaction() as session:
            row = budget_queries.find_budget(session, team_id=job.team_id, job_id=job.id)
        self._read_at = time.monotonic()
        if row is not None:
            self._budget, self._usage, self._run_seconds = row["budget"] or {}, row["usage"], float(row["run_seconds"])
