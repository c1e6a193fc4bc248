"""How long small teams wait beside a big one, in seconds: ``python -m bench.fairness [--jobs 100000] [--write]``.

Queues jobs of 200 teams in batches, of which one team owns nine tenths, then starts the dispatcher and two workers as
the Procfile has them, and reads from the rows when each job of the 199 small teams was begun. The same again without
the big team's jobs. Both times everything is queued before the workers start: a wait is counted from the first step
that was begun. ``--write`` puts the result into bench/RESULTS.md, between markers of its own.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from agora.batches import service as batches
from agora.db import engines
from agora.db.session import transaction
from agora.jobs import catalogue
from agora.jobs.types import Submission
from agora.runtime.supervisor import Supervisor, read_procfile
from agora.runtime.up import Platform, find_procfile
from agora.settings import Settings, environment, override_environment
from bench.agents import agent

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "RESULTS.md"
BEGIN, END = "<!-- fairness: made by bench/fairness.py -->", "<!-- fairness: end -->"
SMALL_TEAMS, BATCH = 199, 1_000
BIG = "team_big"
PATIENCE = 900.0
ENV = {"AGORA_AGENTS": "bench.agents", "AGORA_LOG_LEVEL": "warning", "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}

WAITS = """
WITH first AS (SELECT min(started_at) AS at FROM jobs)
SELECT extract(epoch FROM j.started_at - first.at)::float8 FROM jobs j, first WHERE j.team_id <> %s
"""
UNSTARTED = "SELECT count(*) FROM jobs WHERE team_id <> %s AND started_at IS NULL"
DONE = (
    "SELECT count(*), extract(epoch FROM max(ended_at) - min(started_at))::float8 FROM jobs WHERE ended_at IS NOT NULL"
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Waits of the small teams' jobs in seconds, and jobs ended a second, all teams' together."""

    waits: list[float]
    rate: float
    load: float
    """Of the machine, over the last minute, when the run ended."""

    def at(self, percent: int) -> float:
        """A percentile of the waits."""
        return statistics.quantiles(self.waits, n=100)[percent - 1]


def submissions(count: int) -> list[Submission]:
    """Jobs of three steps that do nothing."""
    given = {"step": 0, "note": "x" * 150, "ok": True}
    return [Submission(agent="bench", action="chain", input=given | {"job": f"job-{n}"}) for n in range(count)]


def enqueue(sizes: dict[str, int]) -> None:
    """Queue jobs in batches: ``{team: how many}``, a batch of each team in turn."""
    left = dict(sizes)
    with transaction() as session:
        catalogue.register(session, list(agent.actions.values()))
    while left:
        for team in list(left):
            size = min(BATCH, left[team])
            batches.submit_batch(submissions(size), team_id=team)
            left[team] -= size
            if not left[team]:
                del left[team]


def run(sizes: dict[str, int]) -> Run:
    """One run on a fresh platform, until the last job of the small teams is begun."""
    with tempfile.TemporaryDirectory(prefix="agora-fairness-", ignore_cleanup_errors=True) as folder:
        platform = Platform(data_dir=Path(folder), settings=Settings(port=18480, flower_port=15855), env=dict(ENV))
        try:
            platform.prepare()
            with override_environment(platform.env):
                enqueue(sizes)
                engines.dispose_all()
            with psycopg.connect(platform.env["DATABASE_URL"], autocommit=True) as connection:
                connection.execute("ANALYZE")
                return drain(platform, connection)
        finally:
            platform.stop()
            if platform.postgres is not None:
                platform.postgres.erase()


def drain(platform: Platform, connection: psycopg.Connection) -> Run:
    """Start the dispatcher and two workers, and wait."""
    lines = read_procfile(find_procfile().read_text())
    names = {"dispatcher": "dispatcher", "worker-a": "worker", "worker-b": "worker"}
    started = []
    try:
        for name, line in names.items():
            env = environment() | platform.env | {"AGORA_INSTANCE": name}
            one = Supervisor({name: lines[line]}, env=env, logs=platform.data_dir / "logs", say=lambda *_: None)
            one.start_all()
            started.append(one)
        deadline = time.monotonic() + PATIENCE
        while connection.execute(UNSTARTED, [BIG]).fetchone()[0]:
            if time.monotonic() > deadline:
                raise SystemExit(f"the small teams' jobs were not begun within {PATIENCE:.0f} s")
            time.sleep(0.5)
    finally:
        for one in started:
            one.stop_all()
    ended, seconds = connection.execute(DONE).fetchone()
    return Run(
        waits=[wait for (wait,) in connection.execute(WAITS, [BIG])], rate=ended / seconds, load=os.getloadavg()[0]
    )


def report(jobs: int, alone: Run, beside: Run) -> str:
    """The section of RESULTS.md."""
    rows = "".join(
        f"| {name} | {one.at(50):.2f} | {one.at(99):.2f} | {max(one.waits):.2f} | {one.rate:.0f} |\n"
        for name, one in (("199 small teams", alone), ("the same beside a team with nine tenths of all", beside))
    )
    return (
        "## Fair shares, in seconds\n\n"
        f"`python -m bench.fairness --jobs {jobs} --write`: jobs of three steps that do nothing, queued in batches "
        "before two workers and the\ndispatcher start; seconds from the first step that was begun to the begin of each "
        f"of the {len(alone.waits):,} jobs of the small teams.\n\n"
        "| | p50 | p99 | longest | jobs/s, all teams |\n|---|---|---|---|---|\n"
        f"{rows}\n"
        f"The ratio of the two 99th percentiles is **{beside.at(99) / alone.at(99):.2f}**; the target is ≤ 2. The load "
        f"of the machine ({os.cpu_count()} cores,\nshared with other work) was {alone.load:.1f} after the first run "
        f"and {beside.load:.1f} after the second.\n"
    )


def write(section: str) -> None:
    """Put the section between its markers."""
    text = RESULTS.read_text()
    block = f"{BEGIN}\n{section}{END}"
    if BEGIN in text:
        text = text[: text.index(BEGIN)] + block + text[text.index(END) + len(END) :]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    RESULTS.write_text(text)


def main() -> int:
    """Measure, print, and fail when the small teams wait more than twice as long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    small = {f"team_{n:03}": max(1, given.jobs // 10 // SMALL_TEAMS) for n in range(SMALL_TEAMS)}
    alone = run(small)
    beside = run({BIG: given.jobs - sum(small.values())} | small)
    section = report(given.jobs, alone, beside)
    print(section)
    if given.write:
        write(section)
    return 0 if beside.at(99) <= 2 * alone.at(99) else 1


if __name__ == "__main__":
    sys.exit(main())
