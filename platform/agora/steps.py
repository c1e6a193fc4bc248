"""Steps as they are declared, and what the catalogue knows of them."""

import hashlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, Generic, Protocol, TypeVar, Union

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter

from agora.gathered import Gathered, Pages
from agora.outcomes import OUTCOMES, Answer, ChildResult, Done, Failures, Retry, Snooze, Spawn, TimedOut, WaitFor

I = TypeVar("I", bound=BaseModel)  # noqa: E741  # the input model
R = TypeVar("R")

QUEUES = ("cpu", "io")
"""`cpu` runs on processes with hard time limits, `io` on threads that mostly wait."""


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
    over: str | None = None
    """The step whose results a map step is run over, an item each."""
    failures: Mapping[str, float] | None = None
    """How many items of a map step may fail: the fields of Failures."""


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
        steps = [{name: value for name, value in asdict(one).items() if _counts(name, value)} for one in self.steps]
        shape = {"steps": steps, "input": self.input_schema, "output": self.output_schema}
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


def _counts(name: str, value: Any) -> bool:
    """Whether a field is part of the fingerprint: those that came later count only where they are used."""
    return value is not None or name not in {"over", "failures"}


class Results(Pages, Protocol):
    """What reads recorded results: the StepRuntime of agora.agents is one."""

    def result(self, step: "Step[Any, Any]") -> Any:
        """The recorded result of an earlier step, as JSON value. Raises LookupError when there is none."""


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

    def read(self, results: Results) -> R:
        """The typed result of this step in a job. Raises LookupError when it has none."""
        found: R = self.load(results.result(self))
        return found

    def values(self, results: Results) -> Sequence[Any]:
        """The JSON values that a map over this step is run for. Raises TypeError when its result is no list."""
        found = results.result(self)
        if not isinstance(found, list):
            raise TypeError(f"step {self.name} must return a list to be mapped over, not {type(found).__name__}")
        return found

    @cached_property
    def element(self) -> TypeAdapter[Any]:
        """How one value of this step's list becomes typed."""
        hint = typing.get_type_hints(self.function).get("return", Any)
        parts = typing.get_args(hint) if typing.get_origin(hint) in {list, tuple, Sequence} else ()
        return TypeAdapter(parts[0] if parts else Any)

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


class MapStep(Step[I, Gathered[R]], Generic[I, R]):
    """A step that is run once for each value of an earlier step's list, spread over the workers.

    One row, its head, stands for the whole: it is recorded when every item has ended. Each item has a row of its own,
    with its own tries, lease and result.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        over: Step[Any, Any],
        failures: Failures,
        queue: str,
        retry: Retry,
        timeout: timedelta | None,
    ) -> None:
        super().__init__(function, queue=queue, retry=retry, timeout=timeout, transactional=False)
        self.over, self.failures = over, failures

    def read(self, results: Results) -> Gathered[R]:
        """What the items came to, read as it is iterated."""
        return self._gathered(results, self.load)

    def values(self, results: Results) -> Sequence[Any]:
        """The JSON results of the items that succeeded, in input order."""
        return list(self._gathered(results, lambda value: value))

    def _gathered(self, results: Results, load: Callable[[Any], Any]) -> Gathered[Any]:
        summary = results.result(self)
        return Gathered(
            summary, lambda start: results.items(self.name, iteration=summary["iteration"], start=start), load
        )

    @cached_property
    def element(self) -> TypeAdapter[Any]:
        """An item's result is what a map over this step gets."""
        return self.adapter

    @property
    def spec(self) -> StepSpec:
        """What the catalogue knows of it."""
        return replace(super().spec, over=self.over.name, failures=asdict(self.failures))


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
        elif origin is Spawn:
            kept.append(list[ChildResult])
        elif origin not in OUTCOMES:
            kept.append(part)
    return Union[tuple(kept)] if kept else NoneType  # noqa: UP007  # built at run time
