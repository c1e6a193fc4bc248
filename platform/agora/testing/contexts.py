"""Contexts for plain unit tests of one step."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from agora.agents import Files, MapStep, Step, StepContext, TransactionContext
from agora.events.types import own_event
from agora.gathered import Item
from agora.ids import new_id
from agora.jobs.conclude import encode
from agora.jobs.decide import failure_of
from agora.outcomes import Interrupted
from agora.telemetry import get_logger
from agora.testing.clock import FakeClock
from agora.testing.files import MemoryFiles
from agora.usage import Spent

I = TypeVar("I", bound=BaseModel)  # noqa: E741  # the input model

Results = Mapping[Step[Any, Any] | str, Any]
"""What earlier steps returned: values by step, JSON values by a step's name. A map step's is a list of its items'
results, an exception for an item that failed."""

log = get_logger(__name__)


class MemoryRuntime:
    """What the engine does for a step, in memory. Set ``interrupt`` to what ``ctx.check()`` shall raise."""

    def __init__(self, results: Results | None = None) -> None:
        self.results: dict[str, Any] = {}
        self.gathered: dict[str, list[Item]] = {}
        for step, value in (results or {}).items():
            if isinstance(step, MapStep):
                self.gathered[step.name] = found = [_item(step, index, one) for index, one in enumerate(value)]
                failures = sum(one.error is not None for one in found)
                self.results[step.name] = {"count": len(found), "failed": failures, "iteration": 0}
            else:
                self.results[_name(step)] = _stored(step, value)
        self.reported: list[tuple[float, str]] = []
        self.emitted: list[tuple[str, Mapping[str, Any]]] = []
        self.notes: dict[str, Any] = {}
        self.spent: list[Spent] = []
        self.shown: list[Any] = []
        self.interrupt: Interrupted | None = None

    def result(self, step: Step[Any, Any]) -> Any:
        """The given result of an earlier step. Raises LookupError."""
        if step.name not in self.results:
            raise LookupError(f"step {step.name} has no result yet")
        return self.results[step.name]

    def items(self, name: str, *, iteration: int, start: int) -> Sequence[Item]:
        """The given items of a map step from index ``start`` on."""
        del iteration
        return self.gathered[name][start:]

    def progress(self, fraction: float, message: str) -> None:
        """Keep what was reported."""
        self.reported.append((fraction, message))

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Keep what was emitted. Raises ValueError, as the engine does."""
        own_event(kind, job_id="", step="", data=data)
        self.emitted.append((kind, data))

    def use(self, spent: Spent) -> None:
        """Keep what was spent."""
        self.spent.append(spent)

    def partial(self, value: Any) -> None:
        """Keep what was shown."""
        self.shown.append(json.loads(encode(value, "the partial output")))

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The noted value, computed at the first call."""
        if key not in self.notes:
            self.notes[key] = compute()
            encode(self.notes[key], f"the note {key!r}")
        return self.notes[key]

    def check(self) -> None:
        """Raise ``interrupt`` if it is set."""
        if self.interrupt is not None:
            raise self.interrupt


def _name(step: Step[Any, Any] | str) -> str:
    return step if isinstance(step, str) else step.name


def _stored(step: Step[Any, Any] | str, value: Any) -> Any:
    """A result as it comes back from the database: through JSON. Raises when the step may not return it."""
    return json.loads(encode(value if isinstance(step, str) else step.dump(value), f"the result of {_name(step)}"))


def _item(step: MapStep[Any, Any], index: int, value: Any) -> Item:
    """An item's result, or for an exception its failure."""
    if isinstance(value, Exception):
        return Item(index=index, error=failure_of(value).as_json())
    return Item(index=index, value=_stored(step, value))


def step_context(
    input: I,
    *,
    results: Results | None = None,
    ports: Mapping[type, Any] | None = None,
    files: Files | None = None,
    clock: Callable[[], datetime] | None = None,
    runtime: MemoryRuntime | None = None,
    **more: Any,
) -> StepContext[I]:
    """A context to call one step with: ``my_step.run(step_context(Order(number="A-1")))``.

    ``more`` sets other fields of StepContext: attempt, iteration, item, carry, step_name, team_id, job_id,
    root_job_id. What the step reported, emitted, noted, spent and showed is in ``context.runtime``, a MemoryRuntime.
    """
    return StepContext(
        **_common(more, results, runtime), input=input, files=files or MemoryFiles(), clock=clock or FakeClock(),
        ports=ports or {},
    )  # fmt: skip


def transaction_context(
    input: I, session: Session, *, results: Results | None = None, runtime: MemoryRuntime | None = None, **more: Any
) -> TransactionContext[I]:
    """A context to call one transactional step with; whoever gave ``session`` commits or rolls back."""
    return TransactionContext(**_common(more, results, runtime), input=input, session=session)


def _common(more: Mapping[str, Any], results: Results | None, runtime: MemoryRuntime | None) -> dict[str, Any]:
    if runtime is not None and results is not None:
        raise ValueError("give results or a runtime that has them, not both")
    job_id = more.get("job_id") or new_id("job")
    made = {"team_id": new_id("team"), "job_id": job_id, "root_job_id": job_id, "step_name": "step", "attempt": 1}
    return made | {"log": log, "runtime": runtime or MemoryRuntime(results)} | dict(more)
