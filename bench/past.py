"""Jobs that have ended, as many as wanted, with their steps, tries and events: written by COPY, spread over months.

What is written is what three-step jobs of ``bench.agents`` leave behind, of 200 teams. One team owns three of ten jobs.
Of the big team's, one in some thousands is of another agent, fails with another code and has other metadata: what a
list has to find.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg

from agora.db.partitions import ensure_partitions
from agora.db.session import transaction
from agora.ids import floor_id

TEAMS = 200
BIG_SHARE = 30
"""Percent of the jobs that the first team owns."""
RARE = 10_000
MONTHS = 5
STEPS = ("s1", "s2", "s3")
PARTITIONED = {"events": "evt", "attempts": "att"}
SLICE = 20_000
VALUE = {"job": "j", "step": 1, "note": "x" * 130, "ok": True}
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
COLUMNS = {
    "jobs": "id, team_id, agent, action, version, status, input, output, error, progress, metadata, root_id,"
    " event_seq, run_at, created_at, started_at, ended_at",
    "steps": "id, job_id, team_id, name, position, status, queue, priority, label, attempt, max_attempts, worker_id,"
    " run_at, result, created_at, started_at, ended_at",
    "attempts": "id, job_id, step_id, team_id, number, outcome, worker_id, started_at, ended_at",
    "events": "id, team_id, job_id, seq, type, data, occurred_at",
}
WORKER = "wrk_00000000000000000000000000"


def team(number: int) -> str:
    """The id of a team; 0 is the one that owns much."""
    return f"team_{number:026}"


BIG = team(0)


@dataclass(slots=True)
class Ended:
    """The job of a number: whose it is, how it ended, when."""

    number: int
    moment: datetime
    rare: int
    head: str = field(init=False)
    """What the ids of that moment begin with."""

    def __post_init__(self) -> None:
        self.head = floor_id("job", self.moment)[4:18]

    @property
    def is_rare(self) -> bool:
        """Whether it is the big team's and one of those that a list looks for."""
        return self.number % self.rare == self.rare // 2

    @property
    def team_id(self) -> str:
        """Its owner."""
        if self.is_rare or self.number * 7919 % 100 < BIG_SHARE:
            return BIG
        return team(1 + self.number * 31 % (TEAMS - 1))

    @property
    def status(self) -> str:
        """How it ended."""
        left = self.number % 50
        return "failed" if self.is_rare or left < 3 else "cancelled" if left == 3 else "succeeded"

    def id(self, prefix: str, number: int = 0) -> str:
        """The id of the job, or of one of its rows: they sort as they were made."""
        return f"{prefix}_{self.head}{_digits(self.number * 16 + number)}"


def _digits(number: int) -> str:
    """Twelve digits of an id."""
    return "".join(DIGITS[number >> shift & 31] for shift in range(55, -1, -5))


def fill(url: str, jobs: int, *, until: datetime | None = None, rare: int = RARE) -> None:
    """Write so many ended jobs into a migrated database, the last of them an hour ago; then VACUUM and ANALYZE.

    One in ``rare`` is what a list has to find. Another ``until`` makes other jobs.
    """
    until = until or datetime.now(UTC) - timedelta(hours=1)
    first = until - timedelta(days=30 * MONTHS)
    _make_partitions(first)
    with psycopg.connect(url, autocommit=True) as connection:
        # The rows fit one another: nobody has to look up the job of each step.
        connection.execute("SET session_replication_role = replica")
        for begin in range(0, jobs, SLICE):
            batch = [
                Ended(number, first + (until - first) * (number / jobs), rare)
                for number in range(begin, min(jobs, begin + SLICE))
            ]
            _write(connection, batch)
        connection.execute("VACUUM (ANALYZE) jobs, steps, attempts, events")


def _make_partitions(first: datetime) -> None:
    for table, prefix in PARTITIONED.items():
        with transaction() as session:
            ensure_partitions(session, table, prefix, moment=first, ahead=MONTHS + 1)


def _write(connection: psycopg.Connection, batch: list[Ended]) -> None:
    rows = {"jobs": _job, "steps": _steps, "attempts": _attempts, "events": _events}
    for table, make in rows.items():
        with _copying(connection, table) as write:
            for one in batch:
                write("".join("\t".join(row) + "\n" for row in make(one)))


@contextmanager
def _copying(connection: psycopg.Connection, table: str):
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({COLUMNS[table]}) FROM STDIN".encode()) as copy:
        yield copy.write


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


STORED = _json({"v": VALUE})
METADATA = {rest: _json({"customer": f"c{rest}", "kind": "batch"}) for rest in range(500)}
RARE_METADATA = _json({"customer": "rare", "kind": "batch"})


def _job(one: Ended):
    job_id, at = one.id("job"), one.moment.isoformat()
    error = {"code": "rare" if one.is_rare else "step-failed", "type": "E", "message": "it failed", "retryable": False}
    done = one.status == "succeeded"
    yield (
        job_id, one.team_id, "rare" if one.is_rare else "bench", "chain", "1", one.status, STORED,
        STORED if done else r"\N", _json(error) if one.status == "failed" else r"\N", "1" if done else "0.5",
        _metadata(one), job_id, "6", at, at, at, at,
    )  # fmt: skip


def _metadata(one: Ended) -> str:
    if one.is_rare:
        return RARE_METADATA
    return METADATA[one.number % 500] if one.number % 5 == 0 else "{}"


def _steps(one: Ended):
    at, job_id = one.moment.isoformat(), one.id("job")
    for position, name in enumerate(STEPS):
        last = position == len(STEPS) - 1
        yield (
            one.id("stp", position), job_id, one.team_id, name, str(position), one.status if last else "succeeded",
            "cpu", "5", f"bench.chain.{name}", "1", "3", WORKER, at, STORED if one.status == "succeeded" else r"\N",
            at, at, at,
        )  # fmt: skip


def _attempts(one: Ended):
    at = one.moment.isoformat()
    yield (one.id("att"), one.id("job"), one.id("stp"), one.team_id, "1", "retry", WORKER, at, at)


def _events(one: Ended):
    job_id, at = one.id("job"), one.moment.isoformat()
    common = {"job_id": job_id, "agent": "bench", "action": "chain"}
    shown = common | {"version": 1, "metadata": {}, "links": {"self": f"/api/v1/jobs/{job_id}"}}
    told = [("job.created", shown | {"status": "queued"}), ("job.started", shown | {"status": "running"})]
    told += [("step.succeeded", common | {"step": name, "iteration": 0, "attempt": 1}) for name in STEPS]
    told.append((f"job.{one.status}", shown | {"status": one.status}))
    for seq, (kind, data) in enumerate(told, 1):
        yield one.id("evt", seq), one.team_id, job_id, str(seq), kind, _json(data), at
