"""What the engine does for a running step: results, progress, notes, checks. The StepRuntime of agora.agents."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agora import outcomes
from agora.agents import Step
from agora.db.session import transaction
from agora.events import stream
from agora.events.queries import as_json
from agora.events.types import NewEvent, job_event, own_event
from agora.gathered import Item
from agora.ids import new_id
from agora.jobs import item_queries, step_queries, usage_queries, values
from agora.jobs.chronicle import fan_out
from agora.jobs.claim import Claim
from agora.jobs.conclude import encode
from agora.jobs.leases import Lease
from agora.jobs.meter import Meter
from agora.jobs.patience import surely
from agora.jobs.states import JobState
from agora.usage import Spent

PAGE = 500
"""Items of a fan-out that are read at a time."""
PROGRESS_SECONDS = 0.5
"""Progress and partial output are each written at most this often, per step."""


class Runtime:
    """One running try, as its step's context reaches it."""

    def __init__(self, claim: Claim, lease: Lease) -> None:
        self._claim, self._lease = claim, lease
        self._results: dict[str, Any] = {}
        self._reported = self._shown = float("-inf")
        self._unshown: str | None = None
        self._lock = threading.Lock()  # a step may report from threads of its own
        self._meter, self._paying = Meter(claim), threading.local()
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
        self._write([event], fraction=overall, message=message[:500])

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Write an event of the agent's own; its type gets the prefix ``agent.``. Raises ValueError."""
        self._write([own_event(kind, job_id=self._claim.job.id, step=self._claim.step.name, data=data)])

    def partial(self, value: Any) -> None:
        """Keep a value as the job's partial output; one that comes too soon is written with the next, or at the end."""
        claim = self._claim
        if claim.position.item:
            raise ValueError("an item of a map step shows no partial output: its job has one, and many items")
        encoded = encode(value, "the partial output")
        with self._lock:
            self._unshown = encoded
        self._show()

    def begin(self) -> None:
        """Raise BudgetExceeded when an item of a map step shall not begin: others have spent the budget."""
        if self._claim.position.item:
            self._meter.heed()

    def flush(self) -> None:
        """Write the partial output that was held back: the step has ended."""
        self._show(now=True)

    def _show(self, *, now: bool = False) -> None:
        with self._lock:
            if self._unshown is None or (not now and time.monotonic() - self._shown < PROGRESS_SECONDS):
                return
            encoded, self._unshown, self._shown = self._unshown, None, time.monotonic()
        # Stored only now: what came too soon, and was replaced, has no row that would ever refer to it.
        packed = values.put(encoded, team_id=self._claim.job.team_id)

        def write() -> None:
            step, size = self._claim.step.name, len(packed)
            event = job_event("job.partial", self._claim.job, status=JobState.RUNNING, step=step, size=size)
            self._write([event], partial=packed)

        surely(write)

    def _write(
        self,
        events: Sequence[NewEvent],
        *,
        fraction: float = 0.0,
        message: str | None = None,
        partial: str | None = None,
    ) -> None:
        claim = self._claim
        with transaction() as session:
            row = step_queries.report_progress(
                session, step_id=claim.step_id, fence=claim.fence, fraction=fraction, message=message, partial=partial,
                events=as_json(events),
            )  # fmt: skip
            if row is None:
                self._lease.lost = True
                raise outcomes.LeaseLost
            fan_out(session, claim.job, events, row["recorded_at"])
        stream.publish([claim.job.id])

    def use(self, spent: Spent) -> None:
        """Count what a call cost on the step's own rows and in the job's sums; a repeat of the write counts nothing."""
        usage_id, was_over = new_id("use"), self._meter.over() is not None

        def write() -> Mapping[str, Any] | None:
            with transaction() as session:
                return usage_queries.add_usage(
                    session, step_id=self._claim.step_id, fence=self._claim.fence, usage_id=usage_id, spent=spent
                )

        sums = surely(write)
        if sums is None:
            self._lease.lost = True
            raise outcomes.LeaseLost
        self._meter.note(sums)
        # The call that goes over is let through, and one whose value is about to be noted: what is paid for is kept.
        if was_over and not getattr(self._paying, "depth", 0):
            raise outcomes.BudgetExceeded

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The noted value of ``key``, computed and noted first when there is none."""
        with transaction() as session:
            row = step_queries.find_note(session, step_id=self._claim.step_id, key=key)
        if row is not None:
            return values.unpack(row["value"])
        self._meter.heed()
        value = self._pay(compute)
        packed = values.pack(value, team_id=self._claim.job.team_id, what=f"the note {key!r}")
        with transaction() as session:
            kept = step_queries.add_note(
                session, step_id=self._claim.step_id, fence=self._claim.fence, key=key, value=packed
            )
        if not kept:
            self._lease.lost = True
            raise outcomes.LeaseLost
        return value

    def _pay(self, compute: Callable[[], Any]) -> Any:
        self._paying.depth = getattr(self._paying, "depth", 0) + 1
        try:
            return compute()
        finally:
            self._paying.depth -= 1

    def check(self) -> None:
        """Raise Interrupted when the step should end now."""
        self._show()
        self._lease.check()
        self._meter.heed()
