"""What ActionRun does for a running try: the StepRuntime of agora.agents, in memory."""

import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agora import outcomes
from agora.agents import Step
from agora.events.types import OWN_PREFIX
from agora.jobs.conclude import encode
from agora.jobs.decide import Position
from agora.testing.faults import FailOnce, Fault, LoseWorker
from agora.usage import Spent


class WorkerDied(BaseException):
    """The injected death of the worker, in the middle of the step."""


@dataclass(kw_only=True)
class TryRuntime:
    """One running try. ``hit`` takes a fault out of the run's list when it happens."""

    at: Position
    clock: Callable[[], datetime]
    deadline: datetime | None
    notes: MutableMapping[str, Any]
    faults: list[Fault]
    hit: Callable[[Fault], None]
    find_result: Callable[[str], Any]
    report: Callable[[float, str], None]
    record: Callable[[str, Mapping[str, Any]], None]
    cancelled: Callable[[], bool]
    spend: Callable[[Spent], None]
    show: Callable[[Any], None]
    started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def result(self, step: Step[Any, Any]) -> Any:
        """The recorded result of an earlier step. Raises LookupError."""
        return self.find_result(step.name)

    def progress(self, fraction: float, message: str) -> None:
        """Record progress of the step."""
        self.report(fraction, message)

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Record an event of the step's own."""
        self.record(kind if kind.startswith(OWN_PREFIX) else OWN_PREFIX + kind, data)

    def use(self, spent: Spent) -> None:
        """Count what a call cost."""
        self.spend(spent)

    def partial(self, value: Any) -> None:
        """Keep a value as the job's output so far."""
        self.show(value)

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The noted value, computed and noted first when there is none."""
        if key in self.notes:
            return json.loads(self.notes[key])
        for fault in self.faults:
            if isinstance(fault, FailOnce) and fault.key == key:
                self._happens(fault)
                raise fault.error
        value = compute()
        noted = encode(value, f"the note {key!r}")
        for fault in self.faults:
            if isinstance(fault, LoseWorker) and fault.in_once == key:
                self._happens(fault)
                raise WorkerDied
        self.notes[key] = noted
        return value

    def _happens(self, fault: Fault) -> None:
        self.faults.remove(fault)
        self.hit(fault)

    def check(self) -> None:
        """Raise Interrupted when the step should end now."""
        if self.cancelled():
            raise outcomes.Cancelled
        if self.overdue() or (self.deadline is not None and self.clock() >= self.deadline):
            raise outcomes.TimeExceeded

    def overdue(self, grace: float = 0.0) -> bool:
        """Whether the step has taken longer than its time-out and ``grace`` (seconds) allow, on the run's clock."""
        timeout = self.at.step.timeout
        return timeout is not None and (self.clock() - self.started).total_seconds() > timeout + grace
