"""Rows into the frozen values that callers get."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import RowMapping

from agora.events.models import EventRow
from agora.events.types import JobRef
from agora.jobs.models import AttemptRow, JobRow, StepRow
from agora.jobs.states import StepState
from agora.jobs.types import Attempt, CatalogueAction, Event, ItemView, Job, Question, StepUsage, StepView
from agora.jobs.values import peek, unpack


def ref(row: JobRow) -> JobRef:
    """What events say of a job."""
    return JobRef(
        id=row.id,
        team_id=row.team_id,
        agent=row.agent,
        action=row.action,
        version=row.version,
        metadata=row.labels,
        limited=row.limited,
    )


def job(row: JobRow, steps: Sequence[StepView] = (), *, whole: bool = False) -> Job:
    """A job; ``whole`` reads large values from the file store, else their reference stands."""
    read = unpack if whole else peek
    return Job(
        id=row.id, team_id=row.team_id, agent=row.agent, action=row.action, version=row.version, status=row.status,
        priority=row.priority, input=read(row.input), output=read(row.output), error=row.error,
        progress=row.progress, progress_message=row.progress_message, usage=row.usage, metadata=row.labels,
        root_id=row.root_id, parent_id=row.parent_id, retry_of=row.retry_of,
        forked_from=row.forked_from, batch_id=row.batch_id, schedule_id=row.schedule_id, run_at=row.run_at,
        deadline=row.deadline, cancel_requested_at=row.cancel_requested_at, created_at=row.created_at,
        started_at=row.started_at, ended_at=row.ended_at, steps=steps, partial_output=read(row.partial_output),
        budget=row.budget and {name: value for name, value in row.budget.items() if name != "approved"},
        request_id=row.request_id,
    )  # fmt: skip


def tries_of(row: StepRow, ended: Sequence[Attempt]) -> Sequence[Attempt]:
    """The tries of a step. One that succeeded has no row of its own: it is told from the step's."""
    if row.status != StepState.SUCCEEDED or row.ended_at is None or (ended and ended[-1].outcome == "suspended"):
        return ended
    last = Attempt(
        number=row.attempt, outcome="succeeded", error=None, worker_id=row.worker_id, started_at=row.started_at,
        ended_at=row.ended_at,
    )  # fmt: skip
    return [*ended, last]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What is shown of a job beyond its own row: steps, tries, what the steps spent, and how long they ran.

    ``items`` counts, by step name and iteration, the states of the items of map steps.
    """

    steps: Sequence[StepRow]
    attempts: Sequence[AttemptRow]
    items: Sequence[RowMapping]
    usage: Sequence[RowMapping]
    run_seconds: float
    children: RowMapping
    waits: Mapping[str, Any] | None


def whole_job(row: JobRow, parts: Parts) -> Job:
    """A job with its steps, each with its tries and usage."""
    made = job(row, steps_of(parts.steps, parts.attempts, parts.items, parts.usage), whole=True)
    return replace(
        made,
        usage={
            **made.usage,
            "run_seconds": round(parts.run_seconds, 3),
            **({"children": dict(parts.children)} if parts.children["jobs"] else {}),
        },
        question=next(filter(None, map(question, parts.steps)), None),
        waits=parts.waits,
    )


def steps_of(
    steps: Sequence[StepRow], attempts: Sequence[AttemptRow], items: Sequence[RowMapping], usage: Sequence[RowMapping]
) -> list[StepView]:
    """The steps of one job with their tries, and with what is counted of their items and of what they spent."""
    tries: dict[str, list[Attempt]] = defaultdict(list)
    for one in attempts:
        tries[one.step_id].append(attempt(one))
    tallies: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for counted in items:
        tallies[(counted["name"], counted["iteration"])][counted["status"]] = counted["n"]
    spent: dict[tuple[str, int], list[StepUsage]] = defaultdict(list)
    for used in usage:
        own = {name: used[name] for name in StepUsage.__slots__}
        spent[(used["name"], used["iteration"])].append(StepUsage(**own))
    return [
        replace(
            step(one, tries_of(one, tries[one.id]), tallies.get((one.name, one.iteration))),
            usage=spent[(one.name, one.iteration)],
        )
        for one in steps
    ]


def question(row: StepRow) -> Question | None:
    """What a step asks now; None when it asks nothing."""
    suspension = row.suspension or {}
    if row.status != StepState.SUSPENDED or suspension.get("kind") != "input":
        return None
    return Question(
        id=row.id, step=row.name, prompt=suspension["prompt"], schema=suspension["schema"], asked_at=row.started_at,
        until=row.wake_at,
    )  # fmt: skip


def item(row: StepRow) -> ItemView:
    """One item of a map step; values that are kept in the file store stand as their references."""
    return ItemView(
        id=row.id, index=row.item - 1, status=row.status, attempt=row.attempt, lost_leases=row.lost_leases,
        value=peek(row.value), result=peek(row.result), error=row.error, started_at=row.started_at,
        ended_at=row.ended_at,
    )  # fmt: skip


def attempt(row: AttemptRow) -> Attempt:
    """One try."""
    return Attempt(
        number=row.number, outcome=row.outcome, error=row.error, worker_id=row.worker_id, started_at=row.started_at,
        ended_at=row.ended_at,
    )  # fmt: skip


def step(row: StepRow, tries: Sequence[Attempt], items: Mapping[str, int] | None = None) -> StepView:
    """One step; a result that is kept in the file store stands as its reference."""
    return StepView(
        id=row.id, name=row.name, position=row.position, iteration=row.iteration, item=row.item, status=row.status,
        queue=row.queue, attempt=row.attempt, lost_leases=row.lost_leases, run_at=row.run_at, wake_at=row.wake_at,
        suspension=row.suspension, error=row.error, result=peek(row.result), copied_from=row.copied_from,
        started_at=row.started_at, ended_at=row.ended_at, tries=tries,
        items=None if items is None else {"total": sum(items.values()), **items},
    )  # fmt: skip


def event(row: EventRow) -> Event:
    """One event."""
    return Event(
        id=row.id, job_id=row.job_id, seq=row.seq, type=row.type, version=row.version, data=row.data,
        occurred_at=row.occurred_at,
    )  # fmt: skip


def catalogue_action(row: RowMapping) -> CatalogueAction:
    """One registered action version."""
    return CatalogueAction(
        agent=row["agent"], action=row["action"], version=row["version"], description=row["description"],
        agent_description=row["agent_description"], steps=row["spec"]["steps"],
        input_schema=row["spec"]["input_schema"], output_schema=row["spec"]["output_schema"],
        registered_at=row["registered_at"], live_workers=row["live_workers"], workers=row["workers"],
    )  # fmt: skip
