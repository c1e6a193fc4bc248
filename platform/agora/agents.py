"""The language that agents are declared in: Agent, Action, Step, and the contexts that steps receive.

An agent is one file. An action of it is a chain of steps: source order is execution order, the function's name is the
recorded name of the step.
"""

import hashlib
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, BinaryIO, Generic, Protocol, TypeVar, Union, overload

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from sqlalchemy.orm import Session

from agora.outcomes import (
    OUTCOMES,
    Answer,
    Cancel,
    Done,
    Permanent,
    Repeat,
    Retry,
    Snooze,
    TimedOut,
    Transient,
    WaitFor,
)

__all__ = [
    "Action", "ActionSpec", "Agent", "Answer", "Cancel", "Done", "Files", "Permanent", "Repeat", "Retry", "Snooze",
    "Step", "StepContext", "StepRuntime", "StepSpec", "TimedOut", "TransactionContext", "Transient", "WaitFor",
]  # fmt: skip

I = TypeVar("I", bound=BaseModel)  # noqa: E741  # the input model
O = TypeVar("O", bound=BaseModel)  # noqa: E741  # the output model
R = TypeVar("R")
P = TypeVar("P")
I_co = TypeVar("I_co", bound=BaseModel, covariant=True)

QUEUES = ("cpu", "io")
"""`cpu` runs on processes with hard time limits, `io` on threads that mostly wait."""


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

    def progress(self, fraction: float, message: str) -> None:
        """Record progress (throttled)."""

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Record an event of the step's own."""

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
        found: R = step.load(self.runtime.result(step))
        return found


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
        """Add an event of the agent's own to the job's stream."""
        self.runtime.emit(kind, data)

    def once(self, key: str, compute: Callable[[], R]) -> R:
        """Compute a JSON value once over all tries of this step: for a call that must not be paid for twice."""
        value: R = self.runtime.once(key, compute)
        return value

    def check(self) -> None:
        """Raise when the job is cancelled, out of time, or no longer this worker's."""
        self.runtime.check()


@dataclass(frozen=True, kw_only=True)
class TransactionContext(_Context[I_co]):
    """What a transactional step sees: a session whose writes commit with the checkpoint, and nothing outside."""

    session: Session


StepFunction = Callable[[Any], R | Done[R] | Repeat | Cancel]


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """What the catalogue knows of a step: enough to dispatch it without its code. Durations are seconds."""

    name: str
    queue: str
    attempts: int
    first: float
    cap: float
    jitter: float
    timeout: float | None
    transactional: bool


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What workers register in the catalogue: everything the API and the dispatcher need to know of an action."""

    agent: str
    action: str
    version: int
    description: str
    steps: tuple[StepSpec, ...]
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    max_iterations: int

    @property
    def label(self) -> str:
        """``agent.action@version``: what a worker says it knows."""
        return f"{self.agent}.{self.action}@{self.version}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over steps and schemas: two fleets that differ in it may not share a version."""
        shape = {"steps": [asdict(s) for s in self.steps], "input": self.input_schema, "output": self.output_schema}
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()

    def step(self, name: str) -> StepSpec:
        """The step of that name. Raises LookupError."""
        for spec in self.steps:
            if spec.name == name:
                return spec
        raise LookupError(f"{self.agent}.{self.action} has no step {name}")

    def after(self, name: str) -> StepSpec | None:
        """The step that follows; None after the last one."""
        position = self.steps.index(self.step(name)) + 1
        return self.steps[position] if position < len(self.steps) else None


class Step(Generic[I, R]):
    """One step of an action. ``run(ctx)`` calls its function: a plain unit test."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        queue: str,
        retry: Retry,
        timeout: timedelta | None,
        transactional: bool,
    ) -> None:
        if queue not in QUEUES:
            raise ValueError(f"{function.__name__}: queue must be one of {', '.join(QUEUES)}, not {queue!r}")
        self.name = function.__name__
        self.function = function
        self.queue = queue
        self.retry = retry
        self.timeout = timeout
        self.transactional = transactional

    def run(self, ctx: Any) -> Any:
        """Call the step's function."""
        return self.function(ctx)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """How this step's result becomes JSON and comes back."""
        kind = _result_type(typing.get_type_hints(self.function).get("return", Any))
        try:
            # Without this NaN would silently become null; as it is, storing it fails.
            return TypeAdapter(kind, config=ConfigDict(ser_json_inf_nan="constants"))
        except PydanticUserError:  # a model has a configuration of its own
            return TypeAdapter(kind)

    def dump(self, value: Any) -> Any:
        """The JSON value of a result. Raises pydantic's error when the value is not of the declared type."""
        return self.adapter.dump_python(value, mode="json")

    def load(self, value: Any) -> Any:
        """A typed result from its JSON value."""
        return self.adapter.validate_python(value)

    @property
    def spec(self) -> StepSpec:
        """What the catalogue knows of it."""
        return StepSpec(
            name=self.name,
            queue=self.queue,
            attempts=self.retry.attempts,
            first=self.retry.first.total_seconds(),
            cap=self.retry.cap.total_seconds(),
            jitter=self.retry.jitter,
            timeout=self.timeout.total_seconds() if self.timeout else None,
            transactional=self.transactional,
        )


def _result_type(annotation: Any) -> Any:
    """The type of the stored result: outcomes are taken out of a union, suspensions become what they turn into."""
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in {Union, UnionType} else (annotation,)
    kept: list[Any] = []
    for part in parts:
        origin = typing.get_origin(part) or part
        if origin is Done:
            kept.extend(typing.get_args(part) or (Any,))
        elif origin is WaitFor:
            kept.extend((Answer, TimedOut))
        elif origin is Snooze:
            kept.append(NoneType)
        elif origin not in OUTCOMES:
            kept.append(part)
    return Union[tuple(kept)] if kept else NoneType  # noqa: UP007  # built at run time


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
            made: Step[Any, Any] = Step(
                function, queue=queue, retry=retry, timeout=timeout, transactional=transactional
            )
            if any(made.name == other.name for other in self.steps):
                raise ValueError(f"{self.agent.name}.{self.name} has two steps named {made.name}")
            self.steps.append(made)
            return made

        return add(function) if function is not None else add

    def named(self, name: str) -> Step[Any, Any]:
        """The step of that name. Raises LookupError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise LookupError(f"{self.agent.name}.{self.name} has no step {name}")

    @property
    def spec(self) -> ActionSpec:
        """What workers register."""
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
        """Declare an action. Raises ValueError when this version of it is declared already."""
        if (name, version) in self.actions:
            raise ValueError(f"{self.name}.{name} version {version} is declared twice")
        made = Action(self, name, input=input, output=output, version=version, max_iterations=max_iterations)
        self.actions[(name, version)] = made
        return made
