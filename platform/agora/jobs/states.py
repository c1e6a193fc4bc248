"""The states of jobs and steps, and every move between them that is legal."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final


class JobState(StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"  # in: submit with run_at.                out: dispatcher (due, deadline), caller (cancel)
    QUEUED = "queued"  #       in: submit, dispatcher.                out: first claim, caller, dispatcher (deadline)
    RUNNING = "running"  #     in: claim, input, wake.                out: record, cancel; also while a try backs off
    WAITING = "waiting"  #     in: record of a suspension, over budget. out: input, approval, time, caller
    SUCCEEDED = "succeeded"  # in: record of the last step.           out: never
    FAILED = "failed"  #       in: record, dispatcher.                out: never
    CANCELLED = "cancelled"  # in: caller, record of a cancelled step. out: never


class StepState(StrEnum):
    """Where a step stands. The step is the unit of dispatch: attempt, fence and lease live on its row."""

    READY = "ready"  #         in: submit, record, retry, approval.   out: claim (once run_at has come), cancel
    RUNNING = "running"  #     in: claim.                             out: record, dispatcher (lost lease), cancel
    SUSPENDED = "suspended"  # in: record of a suspension, over budget. out: input, approval, time, parts, cancel
    SUCCEEDED = "succeeded"  # in: record, input, wake.               out: never
    COPIED = "copied"  #       in: retry, fork: another job's result. out: never
    FAILED = "failed"  #       in: record, dispatcher, parts failed.  out: never
    CANCELLED = "cancelled"  # in: caller, record.                    out: never


JOB_TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.SCHEDULED: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.WAITING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.WAITING: frozenset(
        {JobState.RUNNING, JobState.WAITING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
"""From each state, the states that a job may move to. `waiting` may become `succeeded` when the last step suspended,
and go on waiting when it is answered and over its budget."""

STEP_TRANSITIONS: Final[Mapping[StepState, frozenset[StepState]]] = {
    StepState.READY: frozenset({StepState.RUNNING, StepState.CANCELLED}),
    StepState.RUNNING: frozenset(
        {StepState.SUCCEEDED, StepState.FAILED, StepState.READY, StepState.SUSPENDED, StepState.CANCELLED}
    ),
    StepState.SUSPENDED: frozenset({StepState.READY, StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED}),
    StepState.SUCCEEDED: frozenset(),
    StepState.COPIED: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.CANCELLED: frozenset(),
}

JOB_ENDED: Final = frozenset(state for state, moves in JOB_TRANSITIONS.items() if not moves)
JOB_OPEN: Final = frozenset(JobState) - JOB_ENDED
STEP_DONE: Final = frozenset({StepState.SUCCEEDED, StepState.COPIED})
"""Steps in these states have a result that later ones read."""
STEP_OPEN: Final = frozenset(state for state, moves in STEP_TRANSITIONS.items() if moves)


def may_become(target: JobState) -> list[str]:
    """The states from which a job may legally move to ``target``, sorted: the WHERE of every move."""
    return sorted(state for state, moves in JOB_TRANSITIONS.items() if target in moves)


def as_mermaid() -> str:
    """Both tables as state diagrams, the way docs/states.md shows them."""
    job = _diagram(JOB_TRANSITIONS, JobState.SCHEDULED, JobState.QUEUED)
    return f"## A job\n\n{job}\n## A step\n\n{_diagram(STEP_TRANSITIONS, StepState.READY, StepState.COPIED)}"


def _diagram(table: Mapping[Any, frozenset[Any]], *starts: StrEnum) -> str:
    lines = [f"    [*] --> {start}" for start in starts]
    lines += [f"    {state} --> {target}" for state, moves in table.items() for target in sorted(moves)]
    lines += [f"    {state} --> [*]" for state, moves in table.items() if not moves]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"
