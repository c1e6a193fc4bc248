"""The language that agents are declared in: Agent, Action, Step, and the contexts that steps receive.

An agent is one file. An action of it is a chain of steps: source order is execution order, the function's name is the
recorded name of the step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, BinaryIO, Generic, Protocol, TypeVar, overload

from pydantic import BaseModel
from sqlalchemy.orm import Session

from agora.gathered import Gathered, Item, ItemFailed
from agora.outcomes import (
    Answer,
    Cancel,
    Child,
    ChildResult,
    Done,
    Failures,
    Permanent,
    Repeat,
    Retry,
    Snooze,
    Spawn,
    TimedOut,
    Transient,
    WaitFor,
)
from agora.steps import QUEUES, ActionSpec, MapStep, Step, StepSpec
from agora.usage import Spent, dollars

__all__ = [
    "QUEUES", "Action", "ActionSpec", "Agent", "Answer", "Cancel", "Child", "ChildResult", "Done", "Failures", "Files",
    "Gathered", "ItemContext", "ItemFailed", "MapStep", "Permanent", "Repeat", "Retry", "Snooze", "Spawn", "Step",
    "StepContext", "StepRuntime", "StepSpec", "TimedOut", "TransactionContext", "Transient", "WaitFor",
]  # fmt: skip

I = TypeVar("I", bound=BaseModel)  # noqa: E741  # the input model
O = TypeVar("O", bound=BaseModel)  # noqa: E741  # the output model
R = TypeVar("R")
P = TypeVar("P")
V = TypeVar("V")
I_co = TypeVar("I_co", bound=BaseModel, covariant=True)


class Files(Protocol):
    """The team's file store, as a step sees it."""

    def read(self, file_id: str) -> bytes:
        """The whole content. Raises NotFound."""

    def open(self, file_id: str) -> BinaryIO:
        """A stream of the content. Raises NotFound."""

    def name_of(self, file_id: str) -> tuple[str, str]:
        """File name and media type. Raises NotFound."""

    def create(self, name: str, media_type: str, data: bytes) -> str:
        """Store a file and return its id. Safe on a retry: the same step, name and data give the same id."""


class StepRuntime(Protocol):
    """What the engine does for a running step."""

    def result(self, step: "Step[Any, Any]") -> Any:
        """The recorded result of an earlier step, as JSON value. Raises LookupError when there is none."""

    def items(self, name: str, *, iteration: int, start: int) -> Sequence[Item]:
        """A page of a map step's ended items from index ``start`` on, in order; empty behind the last one."""

    def progress(self, fraction: float, message: str) -> None:
        """Record progress (throttled)."""

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Record an event of the step's own."""

    def use(self, spent: Spent) -> None:
        """Count what a call cost, under the fence."""

    def partial(self, value: Any) -> None:
        """Keep a JSON value as the job's partial output (throttled; the last one is always kept)."""

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The memoised value of ``key``; computed and stored, fenced, when there is none."""

    def check(self) -> None:
        """Raise Interrupted when the step should end now."""


@dataclass(frozen=True, kw_only=True)
class _Context(Generic[I_co]):
    input: I_co
    team_id: str
    job_id: str
    root_job_id: str
    step_name: str
    attempt: int
    iteration: int = 0
    item: int = 0
    carry: Any = None
    log: Any = None
    runtime: StepRuntime

    @property
    def idempotency_key(self) -> str:
        """The same on every try: hand it to every outside system."""
        return f"{self.root_job_id}:{self.step_name}:{self.iteration}:{self.item}"

    def result(self, step: "Step[Any, R]") -> R:
        """What an earlier step returned, typed. Raises LookupError when it has no result."""
        return step.read(self.runtime)


@dataclass(frozen=True, kw_only=True)
class StepContext(_Context[I_co]):
    """What a step sees of the world."""

    files: Files
    clock: Callable[[], datetime]
    ports: Mapping[type, Any] = field(default_factory=dict)

    def port(self, kind: type[P]) -> P:
        """The implementation of a port that the worker injects. Raises LookupError when it injects none."""
        if kind not in self.ports:
            raise LookupError(f"this worker has no {kind.__name__} port")
        found: P = self.ports[kind]
        return found

    def progress(self, fraction: float, message: str = "") -> None:
        """Report progress of this step: ``fraction`` is 0 to 1. Written at most about twice a second."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be 0 to 1, not {fraction}")
        self.runtime.progress(fraction, message)

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add an event of the agent's own to the job's stream; its type is ``agent.`` and ``kind``.

        Raises ValueError for a kind that is more than letters, digits, dashes, underscores and dots between them, and
        for data with a field that the engine sets: job_id, step, truncated.
        """
        self.runtime.emit(kind, data)

    def use(
        self, *, tokens_in: int = 0, tokens_out: int = 0, cost_usd: Decimal | float | str = 0, model: str = "",
        key: str | None = None,
    ) -> None:  # fmt: skip
        """Count what a call cost, at once: it stays counted when this try fails or its worker is lost.

        With a ``key`` it counts once over all tries of this step: for the cost of a value that ``once`` memoises. Costs
        are summed exactly. Raises ValueError for a figure that is negative, too large or no number.
        """
        cost = dollars(cost_usd)
        self.runtime.use(Spent(tokens_in=tokens_in, tokens_out=tokens_out, cost_usd=cost, model=model, key=key))

    def partial(self, value: Any) -> None:
        """Show a JSON value as the job's output so far; it stays readable when the job fails or is cancelled.

        Written at most about twice a second; the last value of a try is always written.
        """
        self.runtime.partial(value)

    def once(self, key: str, compute: Callable[[], R]) -> R:
        """Compute a JSON value once over all tries of this step: for a call that must not be paid for twice."""
        value: R = self.runtime.once(key, compute)
        return value

    def check(self) -> None:
        """Raise when the job is cancelled, out of time, or no longer this worker's."""
        self.runtime.check()


@dataclass(frozen=True, kw_only=True)
class ItemContext(StepContext[I_co], Generic[I_co, V]):
    """What a map step sees for one item: ``value`` is the item's, ``item`` its index from 0."""

    value: V


@dataclass(frozen=True, kw_only=True)
class TransactionContext(_Context[I_co]):
    """What a transactional step sees: a session whose writes commit with the checkpoint, and nothing outside."""

    session: Session


StepFunction = Callable[[Any], R | Done[R] | Repeat | Cancel]


class Action(Generic[I, O]):
    """A chain of steps with a typed input and output."""

    def __init__(
        self,
        agent: "Agent",
        name: str,
        *,
        input: type[I],
        output: type[O],
        version: int,
        max_iterations: int,  # the declared word
    ) -> None:
        self.agent, self.name, self.version, self.max_iterations = agent, name, version, max_iterations
        self.input, self.output = input, output
        self.steps: list[Step[Any, Any]] = []
        self.description = (input.__doc__ or "").strip().split("\n")[0]

    @overload
    def step(self, function: Callable[[StepContext[I]], WaitFor]) -> Step[I, Answer | TimedOut]: ...
    @overload
    def step(self, function: Callable[[StepContext[I]], Spawn]) -> Step[I, list[ChildResult]]: ...
    @overload
    def step(self, function: Callable[[StepContext[I]], R]) -> Step[I, R]: ...
    @overload
    def step(
        self, *, queue: str = ..., retry: Retry = ..., timeout: timedelta | None = ..., transactional: bool = ...
    ) -> Callable[[Callable[[Any], R]], Step[I, R]]: ...
    def step(
        self,
        function: Callable[[Any], Any] | None = None,
        *,
        queue: str = "cpu",
        retry: Retry = Retry(),  # noqa: B008  # frozen
        timeout: timedelta | None = None,
        transactional: bool = False,
    ) -> Any:
        """Declare the next step. Raises ValueError when the action has a step of that name."""

        def add(function: Callable[[Any], Any]) -> Step[Any, Any]:
            return self._add(Step(function, queue=queue, retry=retry, timeout=timeout, transactional=transactional))

        return add(function) if function is not None else add

    def map(
        self,
        *,
        over: Step[Any, Sequence[V]] | Step[Any, list[V]] | Step[Any, Gathered[V]],
        failures: Failures = Failures(),  # noqa: B008  # frozen
        queue: str = "cpu",
        retry: Retry = Retry(),  # noqa: B008  # frozen
        timeout: timedelta | None = None,
    ) -> Callable[[Callable[[ItemContext[I, V]], R]], MapStep[I, R]]:
        """Declare the next step as a fan-out: run once for each value of the list that step ``over`` returned.

        Items run side by side on all workers, each with its own tries; ``ctx.result`` of the map step gives a Gathered,
        in input order. At most 10,000 items. Raises ValueError when ``over`` is no earlier step of this action.
        """

        def add(function: Callable[[ItemContext[I, V]], R]) -> MapStep[I, R]:
            if over not in self.steps:
                raise ValueError(f"{function.__name__}: over must be an earlier step of {self.agent.name}.{self.name}")
            made: MapStep[I, R] = MapStep(
                function, over=over, failures=failures, queue=queue, retry=retry, timeout=timeout
            )
            self._add(made)
            return made

        return add

    def _add(self, made: Step[Any, Any]) -> Step[Any, Any]:
        if any(made.name == other.name for other in self.steps):
            raise ValueError(f"{self.agent.name}.{self.name} has two steps named {made.name}")
        self.steps.append(made)
        return made

    def named(self, name: str) -> Step[Any, Any]:
        """The step of that name. Raises LookupError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise LookupError(f"{self.agent.name}.{self.name} has no step {name}")

    @property
    def spec(self) -> ActionSpec:
        """What workers register. Raises ValueError when the last step is a map: an action ends with one output."""
        if self.steps and isinstance(self.steps[-1], MapStep):
            raise ValueError(f"{self.agent.name}.{self.name}: a step must follow the map step {self.steps[-1].name}")
        return ActionSpec(
            agent=self.agent.name,
            action=self.name,
            version=self.version,
            description=self.description,
            steps=tuple(step.spec for step in self.steps),
            input_schema=self.input.model_json_schema(),
            output_schema=self.output.model_json_schema(mode="serialization"),
            max_iterations=self.max_iterations,
        )


class Agent:
    """A named group of actions."""

    def __init__(self, name: str, *, description: str = "") -> None:
        self.name, self.description = name, description
        self.actions: dict[tuple[str, int], Action[Any, Any]] = {}

    def action(
        self,
        name: str,
        *,
        input: type[I],
        output: type[O],
        version: int = 1,
        max_iterations: int = 100,
    ) -> Action[I, O]:
        """Declare an action.

        Raises:
            ValueError: this version of it is declared already.
            TypeError: input or output is no pydantic model.
        """
        if (name, version) in self.actions:
            raise ValueError(f"{self.name}.{name} version {version} is declared twice")
        for what, model in (("input", input), ("output", output)):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise TypeError(f"{self.name}.{name}: the {what} must be a pydantic model, not {model!r}")
        made = Action(self, name, input=input, output=output, version=version, max_iterations=max_iterations)
        self.actions[(name, version)] = made
        return made
