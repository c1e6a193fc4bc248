"""Every event that the engine records: its type, and the JSON of its data. Golden files pin both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agora.ids import new_id

JOB_TYPES = (
    "job.created",
    "job.debounced",
    "job.started",
    "job.progressed",
    "job.partial",
    "job.waiting",
    "job.resumed",
    "job.moved",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
)
STEP_TYPES = ("step.succeeded", "step.retrying", "step.failed")
TEAM_TYPES = ("batch.completed", "bulk.ended", "schedule.failed")
"""Types of events that belong to no single job."""
EVENT_TYPES = (*JOB_TYPES, *STEP_TYPES, *TEAM_TYPES)
TERMINAL = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
"""A job's stream ends after one of these."""

OWN_PREFIX = "agent."
"""Types of events that agents emit themselves begin with this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event that is about to be recorded."""

    type: str
    data: Mapping[str, Any]
    id: str = field(default_factory=lambda: new_id("evt"))


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRef:
    """What events say of their job."""

    id: str
    team_id: str
    agent: str
    action: str
    version: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limited: bool = False
    """Whether limits concern it: others may wait for its end. Not part of what events say."""


def job_event(kind: str, job: JobRef, *, status: str, id: str = "", **more: Any) -> NewEvent:
    """An event about a job: ids, status and links, never its input or output. Without an ``id`` it gets a new one."""
    data = {
        "job_id": job.id,
        "agent": job.agent,
        "action": job.action,
        "version": job.version,
        "status": status,
        "metadata": dict(job.metadata),
        "links": {"self": f"/api/v1/jobs/{job.id}"},
    }
    data |= {name: value for name, value in more.items() if value is not None}
    return NewEvent(type=kind, data=data, id=id or new_id("evt"))


def step_event(kind: str, job: JobRef, *, step: str, iteration: int, attempt: int, **more: Any) -> NewEvent:
    """An event about a step."""
    data = {
        "job_id": job.id,
        "agent": job.agent,
        "action": job.action,
        "step": step,
        "iteration": iteration,
        "attempt": attempt,
    }
    return NewEvent(type=kind, data=data | {name: value for name, value in more.items() if value is not None})
