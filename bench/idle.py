"""Where the time of a lone job goes: ``python -m bench.idle --jobs 300``.

One job of three steps at a time, 10 ms apart or ``--pause``, on the peers' stage (bench/peers). Stages follow each
other and are medians, so their sum is about the whole. Beside it, of the same minute: the least that five durable
commits cost on this machine, the same pause apart. Ratios against bare Celery and the floor are those of
``python bench/run.py``.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import psycopg

PEERS = Path(__file__).with_name("peers")
sys.path.insert(0, str(PEERS))
import common  # noqa: E402  # modules of the peers, which are scripts
import peer_agora  # noqa: E402
import run as stage  # noqa: E402

PAUSE, POLL, COMMITS = 0.01, 0.001, 5
WARM = 50


class Traced(peer_agora.Agora):  # type: ignore[misc]
    """Agora as a peer, with a worker that writes its stages down."""

    def environment(self) -> dict[str, str]:
        """That of the peer."""
        return super().environment() | {"AGORA_AGENTS": "bench.idle_trace"}


def prepared() -> Traced:
    """The peer on a database of its own, with its worker."""
    common.make_db("agora_tpl")
    Traced("agora_tpl", Traced.variants["default"]).prepare()
    common.make_db("agora", "agora_tpl")
    os.environ["PEERS_DB_URI"], os.environ["PEERS_DB"] = common.pg_uri("agora"), "agora"
    peer = Traced("agora", Traced.variants["default"])
    peer.connect()
    peer.start_workers()
    peer.wait_all([peer.submit(f"warm-{number}") for number in range(WARM)])
    return peer


def timed(peer: Traced, jobs: int, pause: float = PAUSE) -> list[tuple[float, float, float]]:
    """When each job was submitted, when that had returned, and when its end was seen."""
    found = []
    for number in range(jobs):
        begun = time.time()
        job = peer.submit(f"idle-{number}")
        accepted = time.time()
        peer.wait_all([job], poll=POLL)
        found.append((begun, accepted, time.time()))
        time.sleep(pause)
    return found


def stages_of(job: Sequence[float], marks: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Milliseconds of each stage of one job, in order. ``job``: as of :func:`timed`."""
    begun, _, seen = job
    found, record = {"submit, and the message to a worker": marks[0][1] - begun}, 0
    for (_, since), (what, at) in pairwise(marks):
        record += what == "after record"
        name = {"after claim": "claim", "after record": f"record of step {record}"}.get(what, "steps and the rest")
        found[name] = found.get(name, 0.0) + at - since
    ended = [at for what, at in marks if what == "after record"][-1]
    found["end seen by the poll"] = seen - ended
    return {name: 1000 * seconds for name, seconds in found.items()}


def commits(count: int, pause: float) -> list[float]:
    """Milliseconds of five inserts, each durable, of a client that paused before."""
    found = []
    with psycopg.connect(common.pg_uri("agora"), autocommit=True) as connection:
        connection.execute("CREATE TABLE lines (n int, line text)")
        for _ in range(count):
            begun = time.time()
            for number in range(COMMITS):
                connection.execute("INSERT INTO lines VALUES (%s, %s)", (number, "x" * 200), prepare=True)
            found.append(1000 * (time.time() - begun))
            time.sleep(pause)
    return found


def table(jobs: Sequence[tuple[float, float, float]], traces: Sequence[Sequence[tuple[str, float]]]) -> str:
    """The stages of all jobs that had a turn to themselves."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        own = [marks for marks in traces if job[0] <= marks[0][1] <= job[2]]
        if len(own) == 1:
            for name, milliseconds in stages_of(job, own[0]).items():
                found.setdefault(name, []).append(milliseconds)
    whole = {
        "whole": [1000 * (job[2] - job[0]) for job in jobs],
        "until the submit had returned": [1000 * (job[1] - job[0]) for job in jobs],
    }
    return as_rows(found | whole)


def as_rows(columns: Mapping[str, Sequence[float]]) -> str:
    """Medians and 95th percentiles."""
    return "\n".join(
        f"| {name} | {statistics.median(values):.2f} | {common.p95(values):.2f} |" for name, values in columns.items()
    )


def with_services(work: Callable[[Path], None]) -> None:
    """Do something while Postgres and Valkey run."""
    with tempfile.TemporaryDirectory() as folder:
        services = stage.Services(folder)
        os.environ.update(services.env)
        try:
            work(Path(folder))
        finally:
            services.stop()


def main() -> None:
    """Run the jobs and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds between a job's end and the next job")
    given = parser.parse_args()

    def measure(folder: Path) -> None:
        peer = prepared()
        try:
            jobs = timed(peer, given.jobs, given.pause)
            floor = commits(given.jobs, given.pause)  # meanwhile the last turn is written down
        finally:
            peer.stop_workers()
            peer.close()
        lines = [line for file in (folder / "traces").glob("*.jsonl") for line in file.read_text().splitlines()]
        print("| stage | p50 ms | p95 ms |\n| --- | --- | --- |")
        print(table(jobs, [json.loads(line) for line in lines]))
        print(as_rows({f"{COMMITS} durable inserts of one row each, nothing else": floor}))

    with_services(measure)


if __name__ == "__main__":
    main()
