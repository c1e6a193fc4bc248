"""Budgets: what a job may spend, and what becomes of it when it has spent more.

A budget is looked at where a step ends and before it goes on to pay: the call that goes over is let through, so that
nobody pays for a result that is thrown away; nothing begins after it. docs/decisions/0010 has the reasons.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy.orm import Session

from agora.errors import Invalid, invalid_field
from agora.ids import new_id
from agora.jobs import budget_queries
from agora.jobs.decide import Decision, Failure
from agora.jobs.record import Try
from agora.jobs.states import JobState, StepState
from agora.jobs.types import Budget

FAIL, ASK = "fail", "ask"
APPROVAL: Final = "approval"
"""The kind of suspension, and what the event says that the job waits for."""
LIMITS: Final = ("max_tokens", "max_cost_usd", "max_run_seconds")
MOST: Final[Mapping[str, int]] = {
    "max_tokens": 10**15, "max_cost_usd": 10**9, "max_run_seconds": 10**9, "queue_timeout": 10**9,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Excess:
    """A limit that a job went over: which one, its value, and what was used. Money is the text of an exact decimal."""

    limit: str
    allowed: int | float | str
    used: int | float | str

    def failure(self) -> Failure:
        """Why the job fails."""
        message = f"the job used {self.used}, its {self.limit} is {self.allowed}"
        return Failure(
            code="budget-exceeded", type="Budget", message=message, retryable=False, more={"budget": asdict(self)}
        )


def check(budget: Budget, pointer: str = "/budget") -> None:
    """Raise Invalid, naming the field, unless a budget is acceptable."""
    given = {name: value for name in MOST if (value := getattr(budget, name)) is not None}
    if not given:
        raise invalid_field(pointer, "some-limit", f"a budget needs one of {', '.join(MOST)}")
    for name, value in given.items():
        if not 0 < value <= MOST[name]:
            message = f"{name} must be more than 0 and at most {MOST[name]}"
            raise invalid_field(f"{pointer}/{name}", "range", message, str(value))
    if budget.on_exceeded not in {FAIL, ASK}:
        message = f"on_exceeded must be {FAIL} or {ASK}"
        raise invalid_field(f"{pointer}/on_exceeded", "enum", message, budget.on_exceeded)


def as_row(budget: Budget) -> dict[str, Any]:
    """What the job's row holds of a budget."""
    made = {name: value for name, value in asdict(budget).items() if value is not None}
    return made | ({"max_cost_usd": as_text(budget.max_cost_usd)} if budget.max_cost_usd is not None else {})


def from_row(budget: Mapping[str, Any]) -> Budget:
    """The budget that a row holds, as it was given."""
    cost = budget.get("max_cost_usd")
    return Budget(**{**budget, "max_cost_usd": None if cost is None else Decimal(cost)})


def afresh(budget: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The budget of a new job that takes over from another one: what that began with."""
    if budget is None:
        return None
    kept = {name: value for name, value in budget.items() if name not in {"initial", "approved"}}
    return {**kept, **budget.get("initial", {})}


def as_text(amount: Decimal) -> str:
    """An amount of money as it is told: plain digits."""
    return f"{amount:f}"


def used_of(usage: Mapping[str, Any], run_seconds: float) -> dict[str, Decimal]:
    """What was used of each limit."""
    return {
        "max_tokens": Decimal(usage.get("tokens", 0)),
        "max_cost_usd": Decimal(usage.get("cost_usd", 0)),
        "max_run_seconds": Decimal(str(round(run_seconds, 3))),
    }


def excess_of(budget: Mapping[str, Any], usage: Mapping[str, Any], run_seconds: float) -> Excess | None:
    """The first limit that a job is over; None while it is within its budget."""
    for name, used in used_of(usage, run_seconds).items():
        if name in budget and used > Decimal(str(budget[name])):
            return Excess(limit=name, allowed=budget[name], used=_told(name, used))
    return None


def _told(name: str, value: Decimal) -> int | float | str:
    if name == "max_tokens":
        return int(value)
    return as_text(value) if name == "max_cost_usd" else float(value)


def queue_timeout(seconds: float) -> str:
    """Why a job fails that did not begin in time, as its row holds it."""
    message = f"no step began within the queue_timeout of {seconds:g} s"
    return json.dumps(Failure(code="queue-timeout", type="Budget", message=message, retryable=False).as_json())


def find_excess(session: Session, *, team_id: str, job_id: str) -> Excess | None:
    """The first limit that a job is over now."""
    row = budget_queries.find_budget(session, team_id=team_id, job_id=job_id)
    return excess_of(row["budget"], row["usage"], row["run_seconds"]) if row and row["budget"] else None


def heed(session: Session, attempt: Try) -> Try:
    """The same try, or one after which its job does not go on: it has gone over its budget.

    To be asked in the transaction that records it. Of a map, the step itself is looked at, when its items have ended.
    """
    goes_on = attempt.decision.next_step is not None or attempt.decision.step_status is StepState.READY
    if not goes_on or attempt.at.item:
        return attempt
    row = budget_queries.find_budget(session, team_id=attempt.job.team_id, job_id=attempt.job.id)
    over = excess_of(row["budget"], row["usage"], row["run_seconds"]) if row and row["budget"] else None
    if row is None or over is None:
        return attempt
    asks = row["budget"]["on_exceeded"] == ASK
    return replace(attempt, decision=halted(attempt.decision, over, asks=asks, at=row["at"]), lease=None)


def halted(decision: Decision, over: Excess, *, asks: bool, at: datetime) -> Decision:
    """The same ending of a step, but nothing follows: the job fails, or waits for approval before it goes on.

    What the step has come to is kept: its result if it succeeded, its error if it is to be tried again.
    """
    if not asks:
        ended = decision.step_status if decision.next_step is not None else StepState.FAILED
        return replace(
            decision, step_status=ended, next_step=None, retry_in=0.0, job_status=JobState.FAILED,
            job_error=over.failure(),
        )  # fmt: skip
    suspension = {"kind": APPROVAL, "id": new_id("apr"), "since": at.isoformat(), "budget": asdict(over)}
    if decision.next_step is not None:
        following = replace(decision.next_step, suspension=suspension)
        return replace(decision, next_step=following, job_status=JobState.WAITING)
    return replace(
        decision, step_status=StepState.SUSPENDED, suspension=suspension, retry_in=0.0, job_status=JobState.WAITING
    )


def raised(
    budget: Mapping[str, Any], wanted: Mapping[str, Any], usage: Mapping[str, Any], run_seconds: float
) -> dict[str, Any]:
    """The budget with which an approved job goes on.

    ``wanted`` has new limits; none may be below what was used. Without any, each limit that the job is over grants
    what it granted at first once more, from where the job stands.

    Raises:
        Invalid: the job would be over its budget at once.
    """
    # An approval may have added a limit that the job began without: what it was first set to is what it grants.
    first = {**wanted, **budget, **budget.get("initial", {})}
    initial = {name: first[name] for name in LIMITS if name in first}
    made = {**budget, "initial": initial, **wanted}
    used = used_of(usage, run_seconds)
    if not wanted:
        for name in LIMITS:
            if name in made and used[name] > Decimal(str(made[name])):
                made[name] = _told(name, used[name] + Decimal(str(initial[name])))
    over = excess_of(made, usage, run_seconds)
    if over is not None:
        message = f"{over.limit} must be at least {over.used}, which the job has used"
        field = invalid_field(f"/budget/{over.limit}", "at-least-used", message, str(over.allowed))
        raise Invalid(message, errors=field.errors)
    return made
