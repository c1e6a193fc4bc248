"""Unique and debounced jobs: a submit that finds a twin makes no second job."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from agora.errors import invalid_field
from agora.events.types import JobRef, job_event
from agora.jobs import unique_queries
from agora.jobs.chronicle import record as record_events
from agora.jobs.states import JOB_OPEN, JobState

MAX_KEY = 200
MAX_SECONDS = 86_400.0
PATIENCE = 10
"""How many windows a debounced job may be put off, when nothing else is said."""
OPEN_STATES = tuple(sorted(str(state) for state in JOB_OPEN))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """While a job of the action with this key is in ``states``, or younger than ``window`` seconds, it is the job.

    Cancelled jobs, and those that were asked to cancel, do not count. Keys are forgotten a day after their job ended.
    """

    key: str
    window: float | None = None
    states: Sequence[str] = OPEN_STATES

    def check(self) -> None:
        """Raise Invalid, naming the field, unless this is acceptable."""
        _check_key("/unique", self.key)
        _check_seconds("/unique/window", self.window)
        unknown = [state for state in self.states if state not in set(JobState)]
        if unknown:
            raise invalid_field("/unique/states", "enum", f"states must be some of {', '.join(JobState)}", unknown)


@dataclass(frozen=True, kw_only=True, slots=True)
class Debounce:
    """Run ``window`` seconds after the last submit with this key, with its input; ``max_wait`` seconds after the first.

    Without ``max_wait`` it is ten windows.
    """

    key: str
    window: float
    max_wait: float | None = None

    @property
    def patience(self) -> float:
        """The longest that a job is put off, in seconds."""
        return PATIENCE * self.window if self.max_wait is None else self.max_wait

    def check(self) -> None:
        """Raise Invalid, naming the field, unless this is acceptable."""
        _check_key("/debounce", self.key)
        _check_seconds("/debounce/window", self.window)
        _check_seconds("/debounce/max_wait", self.max_wait)
        if self.max_wait is not None and self.max_wait < self.window:
            raise invalid_field("/debounce/max_wait", "range", "max_wait must be at least window", self.max_wait)


def _check_key(where: str, key: str) -> None:
    if not 1 <= len(key) <= MAX_KEY:
        raise invalid_field(f"{where}/key", "length", f"a key must have 1 to {MAX_KEY} characters", key[:MAX_KEY])


def _check_seconds(where: str, seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise invalid_field(where, "range", f"must be above 0 and at most {MAX_SECONDS:.0f} seconds", seconds)


def find_twin(session: Session, unique: Unique, job: JobRef) -> str | None:
    """Lock the key; the job that counts as this one already, or None: then the key stands for ``job`` now."""
    identity = _identity(job, "unique", unique.key)
    existing = unique_queries.take_key(session, **identity, job_id=job.id)
    if existing == job.id:
        return None
    if unique_queries.counts(
        session, team_id=job.team_id, job_id=existing, states=unique.states, window=unique.window
    ):  # fmt: skip
        return existing
    unique_queries.point_key(session, **identity, job_id=job.id)
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """What a debounced submit gives the job that still waits. ``input`` and ``metadata`` are JSON texts, as stored."""

    input: str
    metadata: str
    priority: int
    deadline: Any


def find_waiting(session: Session, debounce: Debounce, job: JobRef) -> int | None:
    """Lock the key; the version of the job that waits for its time under it. None: the key stands for ``job`` now."""
    identity = _identity(job, "debounce", debounce.key)
    existing = unique_queries.take_key(session, **identity, job_id=job.id)
    if existing != job.id:
        found = unique_queries.hold_waiting(session, team_id=job.team_id, job_id=existing)
        if found is not None:
            return int(found["version"])
        unique_queries.point_key(session, **identity, job_id=job.id)
    return None


def push(session: Session, debounce: Debounce, job: JobRef, renewal: Renewal) -> tuple[str, bool]:
    """Renew the job that :func:`find_waiting` found; its id, and whether there are deliveries to ring for."""
    existing = unique_queries.take_key(session, **_identity(job, "debounce", debounce.key), job_id=job.id)
    due = unique_queries.push_job(
        session, team_id=job.team_id, job_id=existing, window=debounce.window, max_wait=debounce.patience,
        input=renewal.input, metadata=renewal.metadata, priority=renewal.priority, deadline=renewal.deadline,
    )  # fmt: skip
    told = JobRef(
        id=existing, team_id=job.team_id, agent=job.agent, action=job.action, version=job.version,
        metadata=json.loads(renewal.metadata),
    )  # fmt: skip
    event = job_event("job.debounced", told, status=JobState.SCHEDULED, run_at=due.isoformat())
    return existing, record_events(session, told, [event])


def _identity(job: JobRef, kind: str, key: str) -> dict[str, str]:
    return {"team_id": job.team_id, "agent": job.agent, "action": job.action, "kind": kind, "key": key}
