"""For people who write agents: run a step or a whole action in a plain test, without services.

- :func:`step_context` makes the context for one step: ``charge.run(step_context(Order(number="A-1")))``.
- :func:`run_action` runs a whole action by the engine's own rules, on a clock that it skips forward by itself.
- :class:`ActionRun` is the same under your hand: advance, skip time, answer, cancel, look.
- Faults happen where you say: :class:`FailStep`, :class:`LoseWorker`, :class:`FailOnce`, :class:`RequestCancel`.

docs/agents.md, "Test your agent", has examples.
"""

from agora.testing.clock import FakeClock
from agora.testing.contexts import MemoryRuntime, step_context, transaction_context
from agora.testing.faults import FailOnce, FailStep, Fault, LoseWorker, RequestCancel
from agora.testing.files import MemoryFiles
from agora.testing.result import Question, RecordedEvent, RunResult, StepResult, Try
from agora.testing.run import UNANSWERED, ActionRun, run_action

__all__ = [
    "UNANSWERED", "ActionRun", "FailOnce", "FailStep", "FakeClock", "Fault", "LoseWorker", "MemoryFiles",
    "MemoryRuntime", "Question", "RecordedEvent", "RequestCancel", "RunResult", "StepResult", "Try", "run_action",
    "step_context", "transaction_context",
]  # fmt: skip
