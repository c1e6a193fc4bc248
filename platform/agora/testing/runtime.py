"""What a running try of a job in memory sees: its context, and the StepRuntime of agora.agents behind it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agora import outcomes
from agora.agents import ItemContext, MapStep, Step, StepContext, TransactionContext
from agora.events.types import job_event, own_event
from agora.gathered import Item
from agora.jobs.conclude import WorkerDied, encode
from agora.jobs.decide import Position
from agora.jobs.states import JobState
from agora.telemetry import get_logger
from agora.testing.faults import FailOnce, Fault, LoseWorker
from agora.testing.rows import JobRows
from agora.testing.state import StepRecord
from agora.usage import Spent

log = get_logger(__name__)


@dataclass(kw_only=True)
class TryRuntime:
    """One running try. ``faults`` are those that name it; one that happens is taken out of the job's."""

    job: JobRows
    step: StepRecord
    at: Position
    faults: list[Fault]
    started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.job.clock()

    def result(self, step: Step[Any, Any]) -> Any:
        """The recorded result of an earlier step. Raises LookupError."""
        return self.job.find_result(step.name, self.at.iteration)

    def items(self, name: str, *, iteration: int, start: int) -> Sequence[Item]:
        """The ended items of a map step from index ``start`` on, in order."""
        return self.job.items(name, iteration=iteration, start=start)

    def progress(self, fraction: float, message: str) -> None:
        """Record progress of the step, each time."""
        self.job.progress.append((self.at.step.name, fraction, message))
        overall = (self.at.index + fraction) / len(self.at.action.steps)
        self._tell("job.progressed", progress=round(overall, 4), message=message[:500])

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Record an event of the step's own. Raises ValueError."""
        own = json.loads(encode(dict(data), "the event"))
        self.job.record([own_event(kind, job_id=self.job.ref.id, step=self.at.step.name, data=own)])

    def use(self, spent: Spent) -> None:
        """Count what was spent; under a key, once over all tries of the step."""
        if spent.key in self.step.paid:
            return
        if spent.key is not None:
            self.step.paid.add(spent.key)
        self.job.usage = self.job.usage.plus(spent)

    def partial(self, value: Any) -> None:
        """Keep the output so far, each time."""
        self.job.partial = encode(value, "the partial output")
        size = len(json.dumps({"v": json.loads(self.job.partial)}, separators=(",", ":"), ensure_ascii=False))
        self._tell("job.partial", size=size)

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The noted value, computed and noted first when there is none."""
        if key in self.step.notes:
            return json.loads(self.step.notes[key])
        for fault in self.faults:
            if isinstance(fault, FailOnce) and fault.key == key:
                self.happens(fault)
                raise fault.error
        value = compute()
        noted = encode(value, f"the note {key!r}")
        for fault in self.faults:
            if isinstance(fault, LoseWorker) and fault.in_once == key:
                self.happens(fault)
                raise WorkerDied
        self.step.notes[key] = noted
        return value

    def check(self) -> None:
        """Raise Interrupted when the step should end now."""
        if self.job.cancel_requested:
            raise outcomes.Cancelled
        if self.overdue() or (self.job.deadline is not None and self.job.clock() >= self.job.deadline):
            raise outcomes.TimeExceeded

    def overdue(self, grace: float = 0.0) -> bool:
        """Whether the step has taken longer than its time-out and ``grace`` (seconds) allow, on the run's clock."""
        timeout = self.at.step.timeout
        return timeout is not None and (self.job.clock() - self.started).total_seconds() > timeout + grace

    def happens(self, fault: Fault) -> None:
        """A fault happens once."""
        self.faults.remove(fault)
        self.job.faults.remove(fault)

    def _tell(self, kind: str, **more: Any) -> None:
        self.job.record([job_event(kind, self.job.ref, status=JobState.RUNNING, step=self.at.step.name, **more)])


def context_of(runtime: TryRuntime) -> StepContext[Any] | TransactionContext[Any]:
    """The context that the step's function is called with, as the engine would make it."""
    job, row, step = runtime.job, runtime.step, runtime.job.action.named(runtime.at.step.name)
    common: dict[str, Any] = {
        "input": job.action.input.model_validate(json.loads(job.input)), "team_id": job.ref.team_id,
        "job_id": job.ref.id, "root_job_id": job.ref.id, "step_name": step.name, "attempt": row.attempt,
        "iteration": row.iteration, "item": row.index, "carry": json.loads(row.carry or "null"), "log": log,
        "runtime": runtime,
    }  # fmt: skip
    job.files.scope = f"{job.ref.id}:{step.name}:{row.iteration}" + (f":{row.item}" if row.item else "")
    outside: dict[str, Any] = {"files": job.files, "clock": job.clock, "ports": job.ports}
    context: StepContext[Any] | TransactionContext[Any]
    if row.spec.transactional and job.session is not None:
        context = TransactionContext(**common, session=job.session)
    elif isinstance(step, MapStep):
        value = step.over.element.validate_python(json.loads(row.value or "null"))
        context = ItemContext(**common, **outside, value=value)
    else:
        context = StepContext(**common, **outside)
    row.idempotency_key = context.idempotency_key
    return context
