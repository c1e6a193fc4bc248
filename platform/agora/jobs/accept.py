"""A submission that is in order, on its way into the database. Plain ones that come at once go there together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from agora.db.session import statement
from agora.events.types import JobRef, job_event
from agora.idempotency.keys import IdempotencyKey
from agora.jobs import budgets, catalogue, concurrency, gate, unique, values
from agora.jobs.announce import Announcement
from agora.jobs.catalogue import Registered
from agora.jobs.intake import NewJob, as_record, insert
from agora.jobs.states import JobState
from agora.jobs.together import Together
from agora.jobs.types import Job, Submission
from agora.jobs.unique import Renewal
from agora.webhooks import fan_out_queries as webhook_queries

MOST = 25
"""Submits that are written together."""
SMALL = 16_384
"""Characters of an input that goes with others: nobody waits for a large one of somebody else."""


class Accepted:
    """A submission that is in order."""

    def __init__(
        self,
        submission: Submission,
        registered: Registered,
        *,
        team_id: str,
        key_id: str | None,
        job_id: str,
        idempotency: IdempotencyKey | None,
    ) -> None:
        spec = registered.spec
        self.announcement = Announcement()  # of readers there are none: nobody knows of a new job yet
        self.replaced: Sequence[str] = ()
        """Jobs whose place under its concurrency key it takes: to be cancelled after the commit."""
        self._submission = submission
        self._job = JobRef(
            id=job_id, team_id=team_id, agent=submission.agent, action=submission.action, version=spec.version,
            metadata=submission.metadata,
        )  # fmt: skip
        status = JobState.SCHEDULED if submission.run_at else JobState.QUEUED
        self._new = NewJob(
            job=self._job, spec=spec, step=spec.steps[0], created=job_event("job.created", self._job, status=status),
            input=values.pack(submission.input, team_id=team_id, what="the input"), priority=submission.priority,
            run_at=submission.run_at, deadline=submission.deadline, traceparent=submission.traceparent,
            budget=budgets.as_row(submission.budget) if submission.budget else None, key_id=key_id,
            request_id=submission.request_id,
        )  # fmt: skip
        self.record = as_record(self._new)
        self.key = {} if idempotency is None else asdict(idempotency)

    @property
    def is_small(self) -> bool:
        """Whether others may wait while it is written."""
        return len(self._new.input) <= SMALL

    def note(self, row: Mapping[str, Any]) -> Job | None:
        """The job as the statement that wrote it says; None when it did not write this one."""
        if self._job.id not in row["inserted"]:
            return None
        if self._new.step_id in row["rung"]:
            self.announcement.ring_step(
                self._new.step_id, job_id=self._job.id, spec=self._new.step, label=self._new.label
            )
        return self._fresh(row)

    def find_twin(self, session: Session) -> str | None:
        """The job that this one would be a second of, with its input renewed when it is debounced; mostly None."""
        submission, job = self._submission, self._job
        if submission.unique is not None:
            return unique.find_twin(session, submission.unique, job)
        if submission.debounce is None:
            return None
        version = unique.find_waiting(session, submission.debounce, job)
        if version is None:
            return None
        catalogue.find(session, job.agent, job.action, version).check_input(submission.input)
        renewal = Renewal(
            input=self._new.input, metadata=json.dumps(dict(submission.metadata)), priority=submission.priority,
            deadline=submission.deadline,
        )  # fmt: skip
        twin, self.announcement.deliveries = unique.push(
            session, submission.debounce, replace(job, version=version), renewal
        )  # fmt: skip
        self.announcement.jobs = {twin}
        return twin

    def insert_in(self, session: Session) -> Job:
        """Insert the job with the deliveries of its creation; where limits concern it, it stands in line."""
        key = None
        if self._submission.concurrency is not None:
            key = self._submission.concurrency.key
            taken = concurrency.take(
                session, self._submission.concurrency, team_id=self._job.team_id, job_id=self._job.id
            )
            self.replaced = taken.older
        row = insert(session, [self.record], may_fan_out=True)
        job = self.note(row)
        if job is None:
            raise RuntimeError(f"job {self._job.id} was not inserted")
        self.announcement.hold(gate.enter(session, [self._job], team_id=self._job.team_id, key=key))
        self.announcement.deliveries = webhook_queries.fan_out(
            session, team_id=self._job.team_id, job_id=self._job.id, agent=self._job.agent,
            events=[self._new.created], occurred_at=row["created_at"], metadata=self._job.metadata,
        )  # fmt: skip
        return job

    def _fresh(self, row: Mapping[str, Any]) -> Job:
        """The job as it was just inserted, without reading it again."""
        job, submission, created_at = self._job, self._submission, row["created_at"]
        waits = submission.run_at is not None and submission.run_at > created_at
        return Job(
            id=job.id, team_id=job.team_id, agent=job.agent, action=job.action, version=job.version,
            status=JobState.SCHEDULED if waits else JobState.QUEUED, priority=submission.priority,
            input=submission.input, output=None, error=None, progress=0.0, progress_message="", usage={},
            metadata=submission.metadata, root_id=job.id, parent_id=None, retry_of=None, forked_from=None,
            batch_id=None, schedule_id=None, run_at=submission.run_at or created_at, deadline=submission.deadline,
            cancel_requested_at=None, created_at=created_at, started_at=None, ended_at=None, budget=self._new.budget,
            request_id=submission.request_id,
        )  # fmt: skip


def insert_plain(accepted: Accepted) -> Job | None:
    """Insert a plain submission by a statement that is its transaction, with others that come at the same time.

    None, and nothing inserted, when that takes a transaction of its own: for the deliveries to its team's endpoints,
    for a limit, or because its idempotency key is taken.
    """
    if accepted.is_small:
        return _together.do(accepted)
    (found,) = _write([accepted])
    if isinstance(found, Exception):
        raise found
    return found


def _write(several: Sequence[Accepted]) -> Sequence[Job | Exception | None]:
    try:
        with statement() as direct:
            row = insert(direct, [one.record | one.key for one in several], may_fan_out=False)
    except SQLAlchemyError as error:
        gone = isinstance(error, (OperationalError, InterfaceError)) or not isinstance(error, DBAPIError)
        if gone or len(several) == 1:
            return [error] * len(several)
        # What Postgres refuses of one must not take the others with it.
        return [found for one in several for found in _write([one])]
    return [one.note(row) for one in several]


_together: Together[Accepted, Job | None] = Together(_write, most=MOST)
