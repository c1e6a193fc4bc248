"""A step of a run, as its row would be."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agora.agents import ActionSpec, StepSpec
from agora.jobs.decide import Decision, Failure, Position
from agora.jobs.states import StepState
from agora.testing.faults import Fault
from agora.testing.result import Question, StepResult, Try


@dataclass(kw_only=True, eq=False)
class StepRecord:
    """Values (``carry``, ``result``, ``notes``) are JSON texts, as rows hold them."""

    spec: StepSpec
    run_at: datetime
    iteration: int = 0
    item: int = 0
    status: StepState = StepState.READY
    attempt: int = 0
    lost_leases: int = 0
    started_at: datetime | None = None
    wake_at: datetime | None = None
    suspension: dict[str, Any] | None = None
    carry: str | None = None
    value: str | None = None
    result: str | None = None
    error: Failure | None = None
    idempotency_key: str = ""
    tries: list[Try] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)

    def position(self, action: ActionSpec) -> Position:
        """Where it stands, as the engine sees it when the step is claimed."""
        return Position(
            action=action, step=self.spec, iteration=self.iteration, item=self.item, attempt=self.attempt,
            lost_leases=self.lost_leases,
        )  # fmt: skip

    def apply(self, decision: Decision, stored: str | None, now: datetime) -> None:
        """Write a decision, as the engine's record statement does."""
        if decision.attempt_outcome is not None:
            began, outcome = self.started_at or now, decision.attempt_outcome
            made = Try(number=self.attempt, outcome=outcome, error=decision.error, started_at=began, ended_at=now)
            self.tries.append(made)
        self.status = decision.step_status
        self.attempt -= 0 if decision.burns_attempt else 1
        self.lost_leases += int(decision.lost_lease)
        self.result, self.error = stored, decision.error
        self.suspension = dict(decision.suspension) if decision.suspension else None
        self.wake_at = decision.wake_at

    @property
    def index(self) -> int:
        """The index of an item from 0, as ``ctx.item`` has it."""
        return max(0, self.item - 1)

    def is_hit_by(self, fault: Fault) -> bool:
        """Whether a fault names the present try. The row that stands for a whole map calls no function."""
        if self.spec.over is not None and not self.item:
            return False
        there = (fault.step_name, fault.attempt, fault.iteration, fault.item)
        return there == (self.spec.name, self.attempt, self.iteration, self.index)

    def question(self) -> Question | None:
        """What it asks, if it waits for an answer."""
        if self.status is not StepState.SUSPENDED or self.suspension is None or self.suspension["kind"] != "input":
            return None
        return Question(
            step=self.spec.name, iteration=self.iteration, prompt=self.suspension["prompt"],
            schema=self.suspension["schema"], until=self.wake_at,
        )  # fmt: skip

    def shown(self) -> StepResult:
        """What the result of a run shows of it."""
        return StepResult(
            name=self.spec.name, iteration=self.iteration, item=self.item, status=str(self.status),
            attempt=self.attempt, lost_leases=self.lost_leases,
            result=None if self.result is None else json.loads(self.result), error=self.error, run_at=self.run_at,
            idempotency_key=self.idempotency_key, tries=tuple(self.tries),
        )  # fmt: skip


def without_jitter(spec: ActionSpec) -> ActionSpec:
    """The same action with back-off that does not vary, so that a test can name the moment of the next try."""
    return replace(spec, steps=tuple(replace(step, jitter=0.0) for step in spec.steps))
