"""Whether everything stays as quick with much history: ``python -m bench.history --jobs 100000 --jobs 1000000``.

Fills databases of an embedded Postgres (default durability) with ended jobs (``bench.past``) and times what a platform
asks of them (``bench.life``), beside an empty one: by turns, warm, medians. Then every statement is run once more under
``auto_explain``: the pages and rows that it touches are the same in each run, whatever the machine does.

Writes its section of bench/RESULTS.md, and the plans into docs/plans.md. A million jobs take 7 GB of disk.
"""

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from agora.db import engines, migrate  # noqa: E402  # after the path
from agora.runtime.postgres import EmbeddedPostgres  # noqa: E402
from agora.settings import get_settings  # noqa: E402
from agora.telemetry import configure_logging  # noqa: E402
from bench.life import Life, Operation, operations  # noqa: E402
from bench.past import fill  # noqa: E402
from bench.plans import Plan, watched  # noqa: E402

WARM = 12
"""Runs before one counts: psycopg prepares a statement at its sixth, Postgres may keep a plan from the sixth after."""
SECONDS = 0.4
LEAST, MOST = 8, 60
WEIGHED = ("a submit", "its run")
WEIGHED_JOBS, WEIGHINGS = 300, 7
RESULTS, PLANS = ROOT / "bench" / "RESULTS.md", ROOT / "docs" / "plans.md"
BEGIN, END = "<!-- bench/history.py writes from here -->", "<!-- to here -->"
KEPT = {
    "AGORA_RETENTION_SUCCEEDED": "400", "AGORA_RETENTION_FAILED": "400", "AGORA_RETENTION_CANCELLED": "400",
    "AGORA_RETENTION_EVENTS": "400", "AGORA_SECRET_KEY": "x" * 40, "AGORA_LOG_LEVEL": "error",
}  # fmt: skip
SHOWN = (
    "submit", "claim one", "claim next (25)", "record a step", "renew a lease", "refill the window", "re-ring",
    "idle: next_due", "get a job", "why queued", "events of a job", "/metrics: queues", "count open jobs of a version",
    "list: first page", "list: by two statuses", "list: by agent, few", "list: by error code, few",
    "list: by metadata, many", "list: by metadata, few", "list: created before, long ago", "list: created between",
    "list: a deep page",
)  # fmt: skip


@dataclass(slots=True)
class Size:
    """A database with so many ended jobs, and what was found about each operation: seconds, plans."""

    jobs: int
    url: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    plans: dict[str, list[Plan]] = field(default_factory=dict)
    bytes: int = 0

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.jobs:,}" if self.jobs else "empty"

    def median(self, operation: str) -> float:
        """Milliseconds."""
        return statistics.median(self.seconds[operation]) * 1000

    def buffers(self, operation: str) -> int:
        """Pages of all its statements."""
        return sum(plan.buffers for plan in self.plans[operation])

    def rows(self, operation: str) -> int:
        """Rows of all its statements."""
        return sum(plan.rows for plan in self.plans[operation])

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The settings lead to this database."""
        os.environ.update(DATABASE_URL=self.url, AUTH_DATABASE_URL=self.url)
        get_settings.cache_clear()
        engines.dispose_all()
        try:
            yield
        finally:
            engines.dispose_all()


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, action="append", help="how many ended jobs; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="operations whose name has this in it")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    parser.add_argument("--weigh", metavar="REVISION", help="only what a job costs, with this schema and the newest")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="agora-history-"))
    os.environ.update(KEPT, AGORA_DATA_DIR=str(folder))
    if given.weigh:
        print(weigh(folder, [given.weigh, "head"]))
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    try:
        sizes = [prepare(server, jobs) for jobs in sorted({0, *(given.jobs or [100_000])})]
        measure(sizes, given.rounds, given.only)
    finally:
        engines.dispose_all()
        server.erase()
        shutil.rmtree(folder, ignore_errors=True)
    command = "python -m bench.history " + " ".join(f"--jobs {size.jobs}" for size in sizes if size.jobs)
    print(results(sizes, command))
    if not given.dry:
        write_section(RESULTS, results(sizes, command))
        PLANS.write_text(plans(sizes[-1], command))
    return 0


def prepare(server: EmbeddedPostgres, jobs: int, revision: str = "head") -> Size:
    """A migrated database with so many ended jobs."""
    name = f"history_{jobs}_{revision}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    size = Size(jobs, server.url(name))
    with size.in_use():
        configure_logging()
        migrate.upgrade("main", size.url, revision)
        started = time.monotonic()
        fill(size.url, jobs)
    with psycopg.connect(size.url, autocommit=True) as connection:
        size.bytes = connection.execute("SELECT pg_database_size(current_database())").fetchone()[0]
        connection.execute("CHECKPOINT")
    print(f"{size.name}: {size.bytes / 1e6:,.0f} MB after {time.monotonic() - started:.0f} s", file=sys.stderr)
    return size


def measure(sizes: list[Size], rounds: int, only: str) -> None:
    """Every operation on every database, by turns; then each once more for its plans."""
    for _ in range(rounds):
        for size in sizes:
            with size.in_use():
                for operation in _chosen(Life(), only):
                    size.seconds[operation.name] += timed(operation)
    for size in sizes:
        with size.in_use(), watched() as found:
            for operation in _chosen(Life(), only):
                size.plans[operation.name] = explained(operation, found)


def _chosen(life: Life, only: str) -> list[Operation]:
    return [operation for operation in operations(life) if only in operation.name]


def timed(operation: Operation) -> list[float]:
    """Seconds of runs, warm."""
    for _ in range(WARM):
        operation.once()
    took: list[float] = []
    until = time.monotonic() + SECONDS
    while len(took) < LEAST or (len(took) < MOST and time.monotonic() < until):
        given = operation.prepare()
        started = time.perf_counter()
        made = operation.do(given)
        took.append(time.perf_counter() - started)
        operation.after(made)
    return took


def explained(operation: Operation, found: list[Plan]) -> list[Plan]:
    """The plans of a warm run."""
    for _ in range(WARM):
        operation.once()
    given = operation.prepare()
    found.clear()
    made = operation.do(given)
    plans_ = list(found)
    operation.after(made)
    return plans_


def weigh(folder: Path, revisions: list[str]) -> str:
    """What a job takes at each revision of the schema: bytes of WAL, without images of pages, and milliseconds."""
    server = EmbeddedPostgres(folder / "weighed", fsync=False)
    server.start()
    try:
        sizes = [prepare(server, 5_000, revision) for revision in revisions]
        for _ in range(WEIGHINGS):
            for size in sizes:
                with size.in_use():
                    _weigh(size)
    finally:
        engines.dispose_all()
        server.erase()
    lines = ["| schema | WAL, a submit | WAL, its run | ms, a submit | ms, its run |", "|---|---|---|---|---|"]
    for revision, size in zip(revisions, sizes, strict=True):
        found = {name: statistics.median(values) for name, values in size.seconds.items()}
        cells = [f"{found[f'wal {name}']:,.0f} B" for name in WEIGHED]
        lines.append("| " + " | ".join([revision, *cells, *(f"{found[name] * 1000:.3f}" for name in WEIGHED)]) + " |")
    return "\n".join(lines)


def _weigh(size: Size) -> None:
    life = Life()
    work = {WEIGHED[0]: lambda: [life.submit() for _ in range(WEIGHED_JOBS)], WEIGHED[1]: life.drain}
    with psycopg.connect(size.url, autocommit=True) as connection:
        for name, do in work.items():
            before, started = _written(connection), time.perf_counter()
            do()
            size.seconds[name].append((time.perf_counter() - started) / WEIGHED_JOBS)
            size.seconds[f"wal {name}"].append((_written(connection) - before) / WEIGHED_JOBS)


def _written(connection: psycopg.Connection) -> float:
    found = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return float(found[0])


def results(sizes: list[Size], command: str) -> str:
    """The section of bench/RESULTS.md."""
    empty, *others = sizes
    lines = [
        "## With history", "",
        f"`{command}`: medians over rounds in which the databases take turns; ended jobs with three",
        "steps, a try and six events each, of 200 teams, over five months; the team that asks owns 30 % of them.",
        "Ratios are to the empty database. Pages (8 kB, each look counted) and rows that scans went over are of one",
        "run of all statements of the operation under `auto_explain`: they do not depend on the machine. Sizes: "
        + ", ".join(f"{size.name} {size.bytes / 1e6:,.0f} MB" for size in sizes) + ".", "",
        "| operation | " + " | ".join(["ms, empty", *(f"ms, {size.name} (ratio)" for size in others)])
        + " | pages: " + " / ".join(size.name for size in sizes) + " | rows |",
        "|---|" + "---|" * (len(sizes) + 2),
    ]  # fmt: skip
    for name in empty.seconds:
        cells = [name, f"{empty.median(name):.2f}"]
        cells += [f"{size.median(name):.2f} ({size.median(name) / empty.median(name):.2f})" for size in others]
        cells.append(" / ".join(f"{size.buffers(name):,}" for size in sizes))
        cells.append(" / ".join(f"{size.rows(name):,}" for size in sizes))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_section(path: Path, section: str) -> None:
    """Put the section where it was, or at the end."""
    old = path.read_text()
    made = f"{BEGIN}\n{section}\n{END}"
    found = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    new = found.sub(lambda _: made, old) if found.search(old) else f"{old.rstrip()}\n\n{made}\n"
    path.write_text(new)


def plans(size: Size, command: str) -> str:
    """docs/plans.md."""
    parts = [
        "# Plans of the hot statements", "",
        f"Written by `{command}`, on the database with {size.name} ended jobs: how Postgres ran each statement,",
        "prepared and warm, through our own pool. `rows` is for each loop; `buffers` are pages of 8 kB, with what lies",
        "below. What each costs on databases of other sizes is in [bench/RESULTS.md](../bench/RESULTS.md).",
    ]  # fmt: skip
    for name in SHOWN:
        parts += ["", f"## {name}"]
        for plan in size.plans.get(name, ()):
            parts += ["", f"`{plan.statement[:110]}…`", "", "```", plan.text(), "```"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
