"""The stage of the webhooks' figures: services, a webhooks worker and a dispatcher as the Procfile has them.

Each process has a database role of its own, so that Postgres itself tells (pg_stat_statements, pg_stat_activity) what
each of them costs, whatever their statements are.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil
import psycopg

from agora.db import engines
from agora.runtime.supervisor import Supervisor, read_procfile
from agora.runtime.up import Platform, find_procfile
from agora.settings import Settings, environment, override_environment

ROOT = Path(__file__).resolve().parents[1]
ENV = {"AGORA_AGENTS": "bench.agents", "AGORA_LOG_LEVEL": "warning", "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
SENDER, DISPATCHER, PUBLISHER = ROLES = ("sender", "dispatcher", "publisher")
LINES = {SENDER: "webhooks", DISPATCHER: "dispatcher"}
READY_SECONDS = 30.0

STATEMENTS = """
SELECT r.rolname, s.query, s.calls, s.total_plan_time, s.total_exec_time, s.wal_bytes::float8
FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
WHERE r.rolname = ANY(%s)
"""
BACKENDS = "SELECT pid, usename FROM pg_stat_activity WHERE usename = ANY(%s)"
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"
OPEN = """
SELECT EXISTS (SELECT FROM webhook_deliveries WHERE endpoint_id = ANY(%(ids)s) AND status = 'leased')
    OR EXISTS (SELECT FROM webhook_deliveries WHERE endpoint_id = ANY(%(ids)s) AND status = 'pending')
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a role: how often it ran, its milliseconds of planning and of the rest, its bytes of WAL."""

    role: str
    text: str
    calls: int
    planning: float
    ms: float
    wal: float


@dataclass(slots=True)
class Costs:
    """What a stretch of time cost: seconds of processor by who used them, statements, bytes of WAL."""

    cpu: dict[str, float] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    wal: float = 0.0
    seconds: float = 0.0

    def calls(self, role: str) -> int:
        """Statements of a role, with the beginnings and ends of its transactions."""
        return sum(one.calls for one in self.statements if one.role == role)


class Stage:
    """A running platform without the API. A context manager; inside it this process is the publisher."""

    def __init__(self, receivers_pid: int) -> None:
        self._receivers_pid = receivers_pid
        self._stack = contextlib.ExitStack()
        self._supervisors: dict[str, Supervisor] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="agora-webhooks-", ignore_cleanup_errors=True)
            )
            settings = Settings(port=18680, flower_port=16055)
            self.platform = Platform(data_dir=Path(folder), settings=settings, env=dict(ENV))
            stack.callback(self._end)
            self.platform.prepare()
            self._watch_statements()
            stack.enter_context(override_environment(self._env(PUBLISHER)))
            stack.callback(engines.dispose_all)
            self._sql = stack.enter_context(psycopg.connect(self.platform.env["DATABASE_URL"], autocommit=True))
            for role in LINES:
                self.start(role)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for one in self._supervisors.values():
            one.stop_all()
        self.platform.stop()
        if self.platform.postgres is not None:
            self.platform.postgres.erase()

    def _watch_statements(self) -> None:
        server = self.platform.postgres
        assert server is not None
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
            connection.execute("ALTER SYSTEM SET pg_stat_statements.track_planning = on")
            password = urlsplit(server.url("postgres")).password
            for role in ROLES:
                connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'".encode())
        server.stop()
        server.start()
        with psycopg.connect(server.url("agora_main"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")

    def _env(self, role: str) -> dict[str, str]:
        env = self.platform.env | {"AGORA_INSTANCE": f"bench-{role}"}
        for name in ("DATABASE_URL", "AUTH_DATABASE_URL"):
            env[name] = env[name].replace("//agora:", f"//{role}:", 1)
        return env

    def start(self, role: str) -> None:
        """Start the worker or the dispatcher, and wait until it uses the database."""
        line = read_procfile(find_procfile().read_text())[LINES[role]]
        env = environment() | self._env(role)
        one = Supervisor({role: line}, env=env, logs=self.platform.data_dir / "logs", say=lambda *_: None)
        one.start_all()
        self._supervisors[role] = one
        self.wait_until(lambda: any(name == role for _, name in self.sql(BACKENDS, [list(ROLES)])), f"{role} starts")

    def stop(self, role: str) -> None:
        """Stop it in order."""
        self._supervisors[role].stop_all()

    def restart_postgres(self) -> None:
        """Stop the database as an operator does, and start it again."""
        server = self.platform.postgres
        assert server is not None
        self._sql.close()
        server.stop()
        server.start()
        self._sql = self._stack.enter_context(psycopg.connect(self.platform.env["DATABASE_URL"], autocommit=True))

    def process(self, role: str) -> psutil.Process:
        """The worker or the dispatcher."""
        return psutil.Process(self._supervisors[role].pid(role))

    def rss(self) -> float:
        """Resident memory of the webhooks worker, with its children, in MB."""
        return sum(one.memory_info().rss for one in _family(self.process(SENDER))) / 1e6

    def log_of(self, role: str) -> str:
        """The end of what it wrote."""
        path = self.platform.data_dir / "logs" / f"{role}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def sql(self, statement: str, parameters: object = None) -> list[tuple]:
        """Run a statement as somebody whom nobody counts."""
        cursor = self._sql.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def wait_until(self, check, what: str, seconds: float = READY_SECONDS) -> None:
        """Poll. Raises SystemExit when it does not come true in time."""
        deadline = time.monotonic() + seconds
        while not check():
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {seconds:.0f} s: {what}\n{self.log_of(SENDER)}")
            time.sleep(0.02)

    def is_settled(self, endpoint_ids: Sequence[str]) -> bool:
        """Whether these endpoints have nothing more to get."""
        return not self.sql(OPEN, {"ids": list(endpoint_ids)})[0][0]

    def is_settled_within(self, seconds: float, endpoint_ids: Sequence[str]) -> bool:
        """Whether that becomes true in time."""
        deadline = time.monotonic() + seconds
        while not (settled := self.is_settled(endpoint_ids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return settled

    @contextlib.contextmanager
    def measured(self) -> Iterator[Costs]:
        """What the block cost; filled in when it ends."""
        costs = Costs()
        self.sql("SELECT pg_stat_statements_reset()")
        before, wal = self._cpu(), self.sql(WAL)[0][0]
        begun = time.monotonic()
        yield costs
        costs.seconds = time.monotonic() - begun
        after, costs.wal = self._cpu(), float(self.sql(WAL)[0][0] - wal)
        costs.cpu = _by_name(before, after)
        costs.statements = [Statement(*row) for row in self.sql(STATEMENTS, [list(ROLES)])]

    def _cpu(self) -> dict[tuple[str, int], float]:
        """Seconds of processor so far, by name and process."""
        postgres, valkey = self.platform.postgres, self.platform.valkey
        assert postgres is not None
        assert valkey is not None
        roles = {pid: f"postgres for the {role}" for pid, role in self.sql(BACKENDS, [list(ROLES)])}
        single = {"publisher": os.getpid(), "receivers": self._receivers_pid, "valkey": valkey.pid}
        found = {(name, pid): _seconds(psutil.Process(pid)) for name, pid in single.items()}
        found |= {(role, one.pid): _seconds(one) for role in LINES for one in _family(self.process(role))}
        server = _family(psutil.Process(postgres.pid))
        return found | {(roles.get(one.pid, "postgres, the rest"), one.pid): _seconds(one) for one in server}


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        used = process.cpu_times()
        return float(used.user + used.system)
    return 0.0


def _by_name(before: Mapping[tuple[str, int], float], after: Mapping[tuple[str, int], float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, seconds in after.items():
        found[key[0]] = found.get(key[0], 0.0) + seconds - before.get(key, 0.0)
    return found
