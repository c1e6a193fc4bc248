"""The client's methods about budgets."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from agora.client.wire import Json, Wire


def as_sent(budget: Mapping[str, Any]) -> Json:
    """A budget as the API takes it: money is text."""
    return {name: str(value) if name == "max_cost_usd" else value for name, value in budget.items()}


class BudgetMethods(Wire):
    """Approve that jobs go on."""

    def approve(self, job_id: str, *, budget: Mapping[str, Any] | None = None, approval: str | None = None) -> Json:
        """Let a job go on that is over its budget, with new limits or as much again as it had at first.

        ``approval`` is the id that the job's ``waits`` and its event name: then this approves nothing else, however
        often it is sent. Costs are text or numbers.
        """
        optional: Json = {"budget": as_sent(budget) if budget else None, "approval": approval}
        body = {name: value for name, value in optional.items() if value is not None}
        return self._json("POST", f"/jobs/{quote(job_id, safe='')}/approve", body)
