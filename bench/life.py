"""What a platform asks of its database, operation by operation, by the functions of API, workers and dispatcher.

The worker is in this process, and rings are kept in a list: nothing but Postgres is measured.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from agora import broker, health
from agora.bulk import queries as bulk_queries
from agora.clock import now
from agora.db.session import statement, transaction
from agora.dispatcher import loop, queries
from agora.events import stream
from agora.ids import floor_id, new_id
from agora.jobs import catalogue, catalogue_queries, manned, queues, rings, service, step_queries
from agora.jobs.claim import Claim, Taken
from agora.jobs.engine import Engine
from agora.jobs.settle import settle
from agora.jobs.types import JobFilter, Submission
from agora.retention import duties
from bench.agents import agent
from bench.past import BIG, MONTHS, team

INPUT = {"job": "j", "step": 1, "note": "x" * 130, "ok": True}
QUEUE = "cpu"
GROUP = 25
BACKLOG = 50
LABELS = ["bench.chain.s1", "bench.chain.s2", "bench.chain.s3"]
UNRING = "UPDATE steps SET rung_at = NULL WHERE status = 'ready' AND rung_at IS NOT NULL"
RING = "UPDATE steps SET rung_at = now() WHERE status = 'ready' AND rung_at IS NULL AND held IS NULL"
LONG_AGO = "UPDATE steps SET rung_at = now() - interval '1 hour' WHERE status = 'ready' AND rung_at IS NOT NULL"


def nothing(*_: Any) -> None:
    """No preparation, no cleaning up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """Something that a platform does: ``do`` is what counts, with what ``prepare`` made; ``after`` gets its result."""

    name: str
    do: Callable[[Any], Any]
    prepare: Callable[[], Any] = nothing
    after: Callable[[Any], Any] = nothing

    def once(self) -> None:
        """Do it, uncounted."""
        self.after(self.do(self.prepare()))


class Life:
    """A small live load on the database of the settings: a worker, and some jobs that wait for tomorrow."""

    def __init__(self, replace: Callable[[Any, str, Any], None] = setattr, *, waiting: int = BACKLOG) -> None:
        self.waiting = waiting
        self.rung: deque[broker.Ring] = deque()
        replace(broker, "ring", self._take)
        replace(broker, "ring_deliveries", lambda: True)
        replace(stream, "publish", nothing)
        catalogue.forget()
        known = {catalogue.label_of(action): action for action in agent.actions.values()}
        worker_id = new_id("wrk")
        catalogue.register_worker(list(agent.actions.values()), worker_id=worker_id, hostname="here", pid=1)
        self.sql("UPDATE workers SET seen_at = now() + interval '1 day'")
        manned.forget()
        self.engine = Engine(worker_id=worker_id, actions=known)
        for number in range(20):
            self.submit(team_id=team(number), run_at=now() + timedelta(days=1))
        self.job_id = self.submit()
        self.drain()

    def _take(self, rings_: Any) -> bool:
        self.rung.extend(rings_)
        return True

    def sql(self, written: str) -> None:
        """Run one statement."""
        with transaction() as session:
            session.execute(text(written))

    def submit(self, *, team_id: str = BIG, **options: Any) -> str:
        """Submit a job of three steps; returns its id."""
        made = service.submit(Submission(agent="bench", action="chain", input=INPUT, **options), team_id=team_id)
        return made.job.id

    def drain(self, *_: Any) -> None:
        """Run whatever is due."""
        for _ in range(1_000):
            while self.rung:
                self.engine.run(self.rung.popleft().step_id)
            if not rings.refill(QUEUE) and not self.rung:
                return
        raise AssertionError("the queue does not come to an end")

    def ring_one(self) -> str:
        """A job was submitted; returns the step that was rung for."""
        self.submit()
        return self.rung.pop().step_id

    def claimed(self) -> Claim:
        """A step that this worker owns."""
        (claim,) = self.engine.claimer.one(self.ring_one()).claims
        return claim

    def ran(self) -> Any:
        """A try that has ended and is not recorded."""
        claim = self.claimed()
        return self.engine.attempt(claim, self.engine.lease(claim), lambda _: None)

    def give_back(self, taken: Any) -> None:
        """Claims are given up, and their steps run."""
        with statement() as session:
            step_queries.release_steps(session, held={claim.step_id: claim.fence for claim in taken.claims})
        self.drain()

    def backlog(self, change: str = UNRING) -> str:
        """Some jobs are due; returns the id of the last."""
        made = [self.submit() for _ in range(self.waiting)]
        self.sql(change)
        self.rung.clear()
        return made[-1]


def operations(life: Life) -> list[Operation]:
    """Everything that is measured."""
    return [*work(life), *idle(), *looks(life), *lists()]


def work(life: Life) -> list[Operation]:
    """What is done for each job."""
    claimer = life.engine.claimer
    return [
        Operation(name="submit", do=lambda _: life.submit(), after=life.drain),
        Operation(name="claim one", prepare=life.ring_one, do=claimer.one, after=life.give_back),
        Operation(
            name=f"claim next ({GROUP})", prepare=life.backlog, after=life.give_back,
            do=lambda _: claimer.some(queue=QUEUE, quick=LABELS, count=GROUP),
        ),
        Operation(
            name=f"claim rung ({GROUP})", prepare=lambda: life.backlog(RING), after=life.give_back,
            do=lambda _: claimer.rung(queue=QUEUE, quick=LABELS, count=GROUP),
        ),
        Operation(name="record a step", prepare=life.ran, do=lambda done: settle([done]), after=life.drain),
        Operation(name="run a job of three steps", prepare=life.ring_one, do=life.engine.run, after=life.drain),
        Operation(name="renew a lease", prepare=life.claimed, do=_renew, after=life.give_back),
        Operation(name="refill the window", prepare=life.backlog, do=lambda _: rings.refill(QUEUE), after=life.drain),
        Operation(
            name="re-ring", prepare=lambda: life.backlog(LONG_AGO), do=lambda _: rings.rering(), after=life.drain
        ),
        Operation(name="cancel a job", prepare=life.backlog, do=_cancel, after=life.drain),
    ]  # fmt: skip


def _renew(claim: Claim) -> Any:
    with statement() as session:
        step_queries.renew_leases(session, held={claim.step_id: claim.fence}, lease=10.0)
    return Taken(claims=[claim], backlog=False, crowd=False)


def _cancel(job_id: str) -> None:
    service.cancel_job(job_id, team_id=BIG)


def idle() -> list[Operation]:
    """What a dispatcher does again and again."""

    def next_due(_: Any) -> None:
        with transaction() as session:
            queries.next_due(session)

    return [Operation(name="idle: next_due", do=next_due)] + [
        Operation(name=f"idle: {duty.name}", prepare=_begin_anew, do=lambda _, duty=duty: duty.do())
        for duty in loop.all_duties()
    ]


def _begin_anew() -> None:
    """No walk of retention rests."""
    for walk in (duties.jobs_walk, duties.deliveries_walk, duties.batches_walk, *duties.moved_walks.values()):
        walk.after, walk.rests_until = "", float("-inf")


def looks(life: Life) -> list[Operation]:
    """What people and monitors look at."""

    def counted(_: Any) -> None:
        with transaction() as session:
            catalogue_queries.count_open_jobs(session, agent="bench", action="chain", version=1)

    return [
        Operation(name="get a job", do=lambda _: service.get_job(life.job_id, team_id=BIG)),
        Operation(
            name="why queued", prepare=life.backlog, after=life.drain,
            do=lambda job_id: service.get_job(job_id, team_id=BIG).waits,
        ),
        Operation(name="events of a job", do=lambda _: service.list_events(life.job_id, team_id=BIG)),
        Operation(name="/metrics: queues", do=lambda _: queues.list_queues()),
        Operation(name="/metrics: removed", do=lambda _: health.removed()),
        Operation(name="list agents", do=lambda _: service.list_agents()),
        Operation(name="count open jobs of a version", do=counted),
    ]  # fmt: skip


def lists() -> list[Operation]:
    """Pages of jobs, by every filter."""

    def matches(_: Any) -> None:
        with transaction() as session:
            bulk_queries.list_matches(
                session, team_id=BIG, filters=JobFilter(statuses=("failed",)), after="", made_before=now(), limit=200
            )  # fmt: skip

    long_ago = now() - timedelta(days=30 * MONTHS - 1)
    middle = now() - timedelta(days=15 * MONTHS)
    filters: dict[str, JobFilter] = {
        "first page": JobFilter(),
        "by status, many": JobFilter(statuses=("succeeded",)),
        "by status, few": JobFilter(statuses=("waiting",)),
        "by two statuses": JobFilter(statuses=("failed", "cancelled")),
        "open jobs": JobFilter(statuses=("scheduled", "queued", "running", "waiting")),
        "by agent, many": JobFilter(agent="bench"),
        "by agent, few": JobFilter(agent="rare"),
        "by agent, none": JobFilter(agent="none"),
        "by agent and action, many": JobFilter(agent="bench", action="chain"),
        "by error code, many": JobFilter(error_code="step-failed"),
        "by error code, few": JobFilter(error_code="rare"),
        "by error code, none": JobFilter(error_code="none"),
        "by metadata, many": JobFilter(metadata={"kind": "batch"}),
        "by metadata, few": JobFilter(metadata={"customer": "rare"}),
        "created before, long ago": JobFilter(created_before=long_ago),
        "created after": JobFilter(created_after=now() - timedelta(minutes=30)),
        "created between": JobFilter(created_after=middle, created_before=middle + timedelta(hours=1)),
        "by agent and status, none": JobFilter(statuses=("waiting",), agent="bench"),
        "failed of an agent": JobFilter(statuses=("failed",), agent="bench"),
        "few failed of an agent": JobFilter(statuses=("failed",), agent="rare"),
    }
    found = [Operation(name=f"list: {name}", do=_listing(given)) for name, given in filters.items()]
    found.append(Operation(name="bulk: next 200 failed jobs", do=matches))
    return [*found, Operation(name="list: a deep page", prepare=_deep, do=_listing(JobFilter()))]


def _listing(filters: JobFilter) -> Callable[[Any], Any]:
    return lambda cursor: service.list_jobs(filters, team_id=BIG, cursor=cursor)


def _deep() -> str:
    """A cursor in the middle of the history."""
    return floor_id("job", now() - timedelta(days=15 * MONTHS))
