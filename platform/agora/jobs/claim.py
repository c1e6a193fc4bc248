"""A claimed step: what the engine and its context know of the try that runs."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping

from agora.agents import Action, ActionSpec, Step
from agora.events.types import JobRef
from agora.jobs.decide import Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One try of one step, owned under ``fence``. ``input`` and results are stored values, not yet read."""

    step_id: str
    fence: str
    worker_id: str
    job: JobRef
    root_id: str
    action: Action[Any, Any]
    step: Step[Any, Any]
    position: Position
    item: int
    first: bool
    input: Any
    carry: Any
    previous: tuple[str | None, Any]
    traceparent: str | None

    @property
    def label(self) -> str:
        """``agent.action.step``: what people see."""
        return f"{self.job.agent}.{self.job.action}.{self.step.name}"


def claim_of(row: RowMapping, *, action: Action[Any, Any], spec: ActionSpec, fence: str, worker_id: str) -> Claim:
    """Build a claim from the row that the claim statement returned."""
    job = JobRef(
        id=row["job_id"],
        team_id=row["team_id"],
        agent=row["agent"],
        action=row["action"],
        version=row["version"],
        metadata=row["metadata"],
    )
    position = Position(
        action=spec,
        step=spec.step(row["name"]),
        iteration=row["iteration"],
        attempt=row["attempt"],
        lost_leases=row["lost_leases"],
    )
    return Claim(
        step_id=row["id"],
        fence=fence,
        worker_id=worker_id,
        job=job,
        root_id=row["root_id"],
        action=action,
        step=action.named(row["name"]),
        position=position,
        item=row["item"],
        first=row["first"],
        input=row["input"],
        carry=row["carry"],
        previous=(row["previous_name"], row["previous_result"]),
        traceparent=row["traceparent"],
    )
