"""What the judge looks at: rows, an audit of every move, the ledger, the webhooks, what the API said."""

from collections import Counter
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

AUDIT = """
CREATE TABLE chaos_effects (key text NOT NULL);
CREATE TABLE chaos_workers (id text, pid int);
CREATE TABLE chaos_moves (
    n bigint GENERATED ALWAYS AS IDENTITY, kind text, id text, was text, became text, worker_id text, attempt int,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION chaos_job_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_moves (kind, id, was, became) VALUES ('job', NEW.id, OLD.status, NEW.status);
    RETURN NULL;
END $$;
CREATE FUNCTION chaos_step_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_moves (kind, id, was, became, worker_id, attempt)
    VALUES ('step', NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.worker_id, NEW.attempt);
    RETURN NULL;
END $$;
CREATE FUNCTION chaos_worker_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_workers (id, pid) VALUES (NEW.id, NEW.pid);
    RETURN NULL;
END $$;
-- A write to a row that has ended is kept also when its state stays the same: nobody had any business there.
CREATE TRIGGER chaos_audit AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION chaos_job_moved();
CREATE TRIGGER chaos_audit AFTER UPDATE OF status ON steps FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.ended_at IS NOT NULL) EXECUTE FUNCTION chaos_step_moved();
CREATE TRIGGER chaos_audit_made AFTER INSERT ON steps FOR EACH ROW EXECUTE FUNCTION chaos_step_moved();
CREATE TRIGGER chaos_audit AFTER INSERT ON workers FOR EACH ROW EXECUTE FUNCTION chaos_worker_came();
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSeen:
    """A job's row. ``name`` is the stream's own name of it."""

    id: str
    name: str
    agent: str
    action: str
    status: str
    error: str | None
    total: int | None
    event_seq: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSeen:
    """A step's row. ``item`` is 0 but for the items of a map step, which count from 1."""

    id: str
    job_id: str
    name: str
    item: int
    status: str
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A change of state, as a trigger saw it, in the order of the audit. ``at`` is Unix time of Postgres."""

    kind: str
    id: str
    was: str | None
    became: str
    worker_id: str | None
    attempt: int | None
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSeen:
    """An event's row, without its data. ``step`` is the name of the step that it is of."""

    job_id: str
    seq: int
    type: str
    step: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that is known at the end of a run."""

    accepted: dict
    """Job id by the stream's name of the job."""
    plans: dict
    """What each job of the stream must come to, by name."""
    jobs: list
    steps: list
    moves: list
    events: list
    effects: Counter
    """How often each effect of a transactional step is in the database, by idempotency key."""
    ledger: list
    hooks: list
    samples: list
    """What the API answered, and when."""
    log: list
    """The faults."""
    workers: dict
    """Worker ids by process id."""


def prepare(url):
    """Make the tables and triggers of the audit in a fresh main database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(AUDIT)


JOBS = """
SELECT id, input -> 'v' ->> 'name' AS name, agent, action, status, error ->> 'code' AS error,
       (output -> 'v' ->> 'total')::int AS total, event_seq
FROM jobs
"""
STEPS = "SELECT id, job_id, name, item, status, attempt FROM steps"
MOVES = """
SELECT kind, id, was, became, worker_id, attempt, extract(epoch FROM at)::float8 AS at FROM chaos_moves ORDER BY n
"""
EVENTS = "SELECT job_id, seq, type, data ->> 'step' AS step FROM events WHERE job_id IS NOT NULL ORDER BY job_id, seq"


def gather(url):
    """The part of the evidence that is in the database, by field."""
    with psycopg.connect(url, autocommit=True) as connection:

        def rows(kind, statement):
            return connection.cursor(row_factory=class_row(kind)).execute(statement).fetchall()

        return {
            "jobs": rows(JobSeen, JOBS),
            "steps": rows(StepSeen, STEPS),
            "moves": rows(Move, MOVES),
            "events": rows(EventSeen, EVENTS),
            "effects": Counter(key for (key,) in connection.execute("SELECT key FROM chaos_effects")),
            "workers": {pid: worker for worker, pid in connection.execute("SELECT id, pid FROM chaos_workers")},
        }


OPEN = """
SELECT (SELECT count(*) FROM jobs WHERE ended_at IS NULL),
       (SELECT count(*) FROM webhook_deliveries WHERE status IN ('pending', 'leased'))
"""
