"""Faults that a run injects. Each names the try of the step that it hits, and hits it once."""

from dataclasses import dataclass, field
from typing import Any

from agora.agents import Step
from agora.outcomes import Transient


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and when: in this try (1 is the first) of this step (itself or its name), iteration and item.

    ``item`` is the index of a map step's item, from 0, as in ``ctx.item``.
    """

    step: Step[Any, Any] | str
    attempt: int = 1
    iteration: int = 0
    item: int = 0

    @property
    def step_name(self) -> str:
        """The step's name."""
        return self.step if isinstance(self.step, str) else self.step.name


def _injected() -> BaseException:
    return Transient("injected by the test", code="injected")


@dataclass(frozen=True, kw_only=True)
class FailStep(Fault):
    """The try raises ``error`` instead of running, or with ``after`` once the step's function has returned.

    An ``agora.outcomes.Interrupted``, such as TimeExceeded() or Draining(), stands for what the worker does to a step.
    """

    error: BaseException = field(default_factory=_injected)
    after: bool = False


@dataclass(frozen=True, kw_only=True)
class LoseWorker(Fault):
    """The step's function runs, and its worker dies before the result is recorded: the step runs again.

    With ``in_once``, the worker dies earlier: when ``ctx.once`` has computed that key and not yet stored it.
    """

    in_once: str | None = None


@dataclass(frozen=True, kw_only=True)
class FailOnce(Fault):
    """``ctx.once(key, …)`` raises ``error`` instead of computing."""

    key: str
    error: BaseException = field(default_factory=_injected)


@dataclass(frozen=True, kw_only=True)
class RequestCancel(Fault):
    """Somebody cancels the job while the try runs: ``ctx.check()`` raises, and nothing follows the step."""

    reason: str = ""
