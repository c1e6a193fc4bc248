"""Claims: what a worker takes under a fence and a lease, and what the engine and its steps know of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from agora.agents import Action, ActionSpec, Step
from agora.db.session import Direct, Rows, statement, transaction
from agora.events.types import JobRef, job_event
from agora.jobs import step_queries
from agora.jobs.announce import Announcement
from agora.jobs.chronicle import fan_out
from agora.jobs.decide import Position
from agora.jobs.order import rounds
from agora.jobs.states import JobState
from agora.jobs.step_queries import Claimant
from agora.settings import get_settings


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
    first: bool
    input: Any
    carry: Any
    previous: tuple[str | None, Any]
    value: Any
    """An item's stored value."""
    parent_id: str | None
    traceparent: str | None
    request_id: str | None
    budgeted: bool
    """Whether its job has a budget."""
    subscribed: bool
    """Whether the team had webhook endpoints when the step was claimed."""

    @property
    def label(self) -> str:
        """``agent.action.step``: what people see."""
        return f"{self.job.agent}.{self.job.action}.{self.step.name}"

    @property
    def named(self) -> Mapping[str, str]:
        """What its log lines say of the job: its id, and the id of the request that made it."""
        if self.request_id is None:
            return {"job_id": self.job.id}
        return {"job_id": self.job.id, "request_id": self.request_id}


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What was claimed, and what waits beside it in the queue.

    ``backlog``: due steps that nobody was rung for. ``crowd``: several whose messages nobody has heard yet.
    """

    claims: list[Claim]
    backlog: bool
    crowd: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimer:
    """Claims for one worker. ``actions`` and ``specs`` are by ``agent.action@version``."""

    worker_id: str
    actions: Mapping[str, Action[Any, Any]]
    specs: Mapping[str, ActionSpec]
    known: Sequence[str]

    def one(self, step_id: str) -> Taken:
        """Take this step if it is to be had."""
        return self._claim(lambda session, who: step_queries.claim_step(session, who, step_id=step_id))

    def some(self, *, queue: str, quick: Sequence[str], count: int) -> Taken:
        """Take up to ``count`` due steps of a queue that nobody is rung for, of the labels in ``quick``."""
        after = rounds.after(queue)

        def take(session: Session | Direct, who: Claimant) -> Rows:
            rows = step_queries.claim_next(session, who, queue=queue, quick=quick, count=count, after=after)
            rounds.note(queue, rows)
            return rows

        return self._claim(take)

    def rung(self, *, queue: str, quick: Sequence[str], count: int) -> Taken:
        """Take up to ``count`` due steps of a queue whose messages nobody has heard yet; half of them at most."""
        return self._claim(
            lambda session, who: step_queries.claim_rung(session, who, queue=queue, quick=quick, count=count)
        )

    def _claim(self, query: Callable[[Session | Direct, Claimant], Rows]) -> Taken:
        who = Claimant(
            known=self.known, worker_id=self.worker_id, fence=uuid4().hex, lease=get_settings().lease_seconds,
            may_fan_out=False,
        )  # fmt: skip
        announcement = Announcement()
        with statement() as session:
            rows = list(query(session, who))
        if any(not row["claimed"] for row in rows):
            with transaction() as session:
                more = query(session, replace(who, may_fan_out=True))
                for row in more:
                    announcement.deliveries |= row["claimed"] and row["fans_out"] and _begin(session, row)
            rows += list(more)
        taken = [row for row in rows if row["claimed"]]
        announcement.jobs.update(row["job_id"] for row in taken if row["first"])
        announcement.make()
        return Taken(
            claims=[self._claim_of(row, who.fence) for row in taken],
            backlog=any(row["backlog"] for row in taken),
            crowd=any(row["crowd"] for row in taken),
        )

    def _claim_of(self, row: Mapping[str, Any], fence: str) -> Claim:
        label = f"{row['agent']}.{row['action']}@{row['version']}"
        action, spec = self.actions[label], self.specs[label]
        position = Position(
            action=spec,
            step=spec.step(row["name"]),
            iteration=row["iteration"],
            item=row["item"],
            attempt=row["attempt"],
            lost_leases=row["lost_leases"],
        )
        return Claim(
            step_id=row["id"],
            fence=fence,
            worker_id=self.worker_id,
            job=_job_of(row),
            root_id=row["root_id"],
            action=action,
            step=action.named(row["name"]),
            position=position,
            first=row["first"],
            input=row["input"],
            carry=row["carry"],
            previous=(row["previous_name"], row["previous_result"]),
            value=row["value"],
            parent_id=row["parent_id"],
            traceparent=row["traceparent"],
            request_id=row["request_id"],
            budgeted=row["budgeted"],
            subscribed=row["subscribed"],
        )


def _job_of(row: Mapping[str, Any]) -> JobRef:
    return JobRef(
        id=row["job_id"], team_id=row["team_id"], agent=row["agent"], action=row["action"], version=row["version"],
        metadata=row["metadata"], limited=row["limited"],
    )  # fmt: skip


def _begin(session: Session, row: Mapping[str, Any]) -> bool:
    """The deliveries of the ``job.started`` that a claim recorded."""
    job = _job_of(row)
    started = job_event("job.started", job, status=JobState.RUNNING, id=row["event_id"])
    return fan_out(session, job, [started], row["claimed_at"])
