"""What the engine does for a running step: results, progress, notes, checks. The StepRuntime of agora.agents."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from agora import outcomes
from agora.agents import Step
from agora.db.session import transaction
from agora.events import stream
from agora.events.queries import as_json
from agora.events.types import OWN_PREFIX, NewEvent, job_event
from agora.gathered import Item
from agora.jobs import item_queries, step_queries, values
from agora.jobs.chronicle import fan_out
from agora.jobs.claim import Claim
from agora.jobs.leases import Lease
from agora.jobs.states import JobState

PAGE = 500
"""Items of a fan-out that are read at a time."""
PROGRESS_SECONDS = 0.5
"""Progress is written at most this often, per step."""


class Runtime:
    """One running try, as its step's context reaches it."""

    def __init__(self, claim: Claim, lease: Lease) -> None:
        self._claim, self._lease = claim, lease
        self._results: dict[str, Any] = {}
        self._reported = float("-inf")
        self._lock = threading.Lock()  # a step may report from threads of its own
        name, stored = claim.previous
        if name is not None:
            self._results[name] = stored

    def result(self, step: Step[Any, Any]) -> Any:
        """The JSON result of an earlier step. Raises LookupError."""
        if step.name not in self._results:
            with transaction() as session:
                row = step_queries.find_result(
                    session, job_id=self._claim.job.id, name=step.name, iteration=self._claim.position.iteration
                )
            if row is None:
                raise LookupError(f"step {step.name} has no result yet")
            self._results[step.name] = row["result"]
        return values.unpack(self._results[step.name])

    def items(self, name: str, *, iteration: int, start: int) -> list[Item]:
        """A page of a map step's ended items from index ``start`` on."""
        with transaction() as session:
            rows = item_queries.find_page(
                session, job_id=self._claim.job.id, name=name, iteration=iteration, after=start, limit=PAGE
            )
        return [
            Item(
                index=row["item"] - 1,
                value=values.unpack(row["result"]),
                error=row["error"] if row["status"] == "failed" else None,
            )
            for row in rows
        ]

    def progress(self, fraction: float, message: str) -> None:
        """Write progress of the job, unless it was written just now."""
        now = time.monotonic()
        with self._lock:
            if now - self._reported < PROGRESS_SECONDS:
                return
            self._reported = now
        at = self._claim.position
        if at.item:
            return  # a map step's progress is that of its items together
        overall = (at.index + fraction) / len(at.action.steps)
        event = job_event(
            "job.progressed", self._claim.job, status=JobState.RUNNING, step=at.step.name,
            progress=round(overall, 4), message=message[:500],
        )  # fmt: skip
        self._write(overall, message[:500], event)

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Write an event of the agent's own; its type gets the prefix ``agent.``."""
        own = kind if kind.startswith(OWN_PREFIX) else OWN_PREFIX + kind
        event = NewEvent(type=own, data={"job_id": self._claim.job.id, "step": self._claim.step.name, **data})
        self._write(0.0, None, event)

    def _write(self, fraction: float, message: str | None, event: NewEvent) -> None:
        claim = self._claim
        with transaction() as session:
            row = step_queries.report_progress(
                session, step_id=claim.step_id, fence=claim.fence, fraction=fraction, message=message,
                events=as_json([event]),
            )  # fmt: skip
            if row is None:
                self._lease.lost = True
                raise outcomes.LeaseLost
            fan_out(session, claim.job, [event], row["recorded_at"])
        stream.publish([claim.job.id])

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The noted value of ``key``, computed and noted first when there is none."""
        with transaction() as session:
            row = step_queries.find_note(session, step_id=self._claim.step_id, key=key)
        if row is not None:
            return values.unpack(row["value"])
        value = compute()
        packed = values.pack(value, team_id=self._claim.job.team_id, what=f"the note {key!r}")
        with transaction() as session:
            kept = step_queries.add_note(
                session, step_id=self._claim.step_id, fence=self._claim.fence, key=key, value=packed
            )
        if not kept:
            self._lease.lost = True
            raise outcomes.LeaseLost
        return value

    def check(self) -> None:
        """Raise Interrupted when the step should end now."""
        self._lease.check()
