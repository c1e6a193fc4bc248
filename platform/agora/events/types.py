"""Events as they are made. Which types there are, and what each says, is in agora.events.catalogue."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agora.events.declare import NAME
from agora.ids import new_id

OWN_PREFIX = "agent."
"""Types of events that agents emit themselves begin with this."""
MAX_OWN_NAME = 100
SET_BY_ENGINE = ("job_id", "step", "truncated")


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
        "links": {"self": f"/api/v1/jobs/{job.id}"},
    }
    return NewEvent(type=kind, data=data | {name: value for name, value in more.items() if value is not None})


def own_event(kind: str, *, job_id: str, step: str, data: Mapping[str, Any]) -> NewEvent:
    """An event that a step of an agent emits; its type gets the prefix ``agent.`` unless it has it.

    Raises ValueError for a type that no filter can name, and for data with a field that the engine sets.
    """
    name = kind.removeprefix(OWN_PREFIX)
    if len(name) > MAX_OWN_NAME or not re.fullmatch(NAME, name):
        raise ValueError(
            f"kind must be at most {MAX_OWN_NAME} letters, digits, dashes, underscores and single dots between them,"
            f" not {kind[:200]!r}"
        )
    taken = [field for field in SET_BY_ENGINE if field in data]
    if taken:
        raise ValueError(f"data of an event may not have {taken[0]}: the engine sets it, got {data[taken[0]]!r:.200}")
    return NewEvent(type=OWN_PREFIX + name, data={"job_id": job_id, "step": step, **data})
