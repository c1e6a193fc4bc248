"""What the order costs, and that it is fair: ``python bench/order.py [--rows 100000]``.

Fills the tables of a fresh embedded Postgres with queued jobs and drains them with the statements that workers and the
dispatcher use. Times are medians of single statements; waits are counted in steps served before.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from sqlalchemy import text  # noqa: E402  # after the path

from agora.db import engines, migrate  # noqa: E402
from agora.db.session import statement, transaction  # noqa: E402
from agora.jobs import ring_queries, step_queries  # noqa: E402
from agora.jobs.order import rounds  # noqa: E402
from agora.jobs.step_queries import Claimant  # noqa: E402
from agora.runtime.postgres import EmbeddedPostgres  # noqa: E402
from agora.settings import get_settings  # noqa: E402

WINDOW = 32
FILL = text("""
WITH made AS (
    INSERT INTO jobs (id, team_id, agent, action, version, status, input, root_id)
    SELECT :prefix || lpad(n::text, 8, '0'), :team, 'bench', 'chain', 1, 'queued', '{"v":{}}', 'root'
    FROM generate_series(1, :count) n
    RETURNING id, team_id
)
INSERT INTO steps (id, job_id, team_id, name, position, status, queue, priority, label, max_attempts, run_at)
SELECT 's' || id, id, team_id, 's1', 0, 'ready', 'cpu', 5, 'bench.chain.s1', 3, now() FROM made
""")
EMPTY = text("TRUNCATE jobs, steps CASCADE")
SERVE = text("UPDATE steps SET status = 'succeeded', rung_at = NULL WHERE id = ANY(:ids)")


def fill(sizes: dict[str, int]) -> None:
    """Queue jobs: ``{team: how many}``."""
    with transaction() as session:
        session.execute(EMPTY)
        for team, count in sizes.items():
            session.execute(FILL, {"prefix": f"j{team}", "team": team, "count": count})
    with transaction() as session:
        session.execute(text("ANALYZE jobs, steps"))


def drain(most: int, watched: set[str]) -> tuple[list[int], float]:
    """Ring and serve, a window at a time; how many were served before each watched step, and the median refill."""
    served, waits, took = 0, [], []
    while served < most:
        started = time.perf_counter()
        with transaction() as session:
            rows = ring_queries.refill(session, queue="cpu", window=WINDOW, after=rounds.after("cpu"))
        took.append(time.perf_counter() - started)
        if not rows:
            break
        rounds.note("cpu", rows)
        waits += [served + n for n, row in enumerate(rows) if row["team_id"] in watched]
        served += len(rows)
        with transaction() as session:
            session.execute(SERVE, {"ids": [row["id"] for row in rows]})
    return waits, statistics.median(took)


def claims(rounds_: int) -> tuple[float, float]:
    """The medians of claiming 25 steps from the order, and one that was rung for."""
    many, one = [], []
    for n in range(rounds_):
        who = Claimant(known=["bench.chain@1"], worker_id="w", fence=f"f{n}", lease=60, may_fan_out=True)
        with statement() as session:
            started = time.perf_counter()
            rows = step_queries.claim_next(
                session, who, queue="cpu", quick=["bench.chain.s1"], count=25, after=rounds.after("cpu")
            )
            many.append(time.perf_counter() - started)
        rounds.note("cpu", rows)
        assert len(rows) == 25
        with transaction() as session:
            rung = ring_queries.refill(session, queue="cpu", window=WINDOW, after="")
        with statement() as session:
            started = time.perf_counter()
            step_queries.claim_step(session, who, step_id=rung[0]["id"])
            one.append(time.perf_counter() - started)
        with transaction() as session:
            session.execute(text("UPDATE steps SET status = 'succeeded', fence = NULL WHERE status = 'running'"))
            session.execute(text("UPDATE steps SET rung_at = NULL WHERE rung_at IS NOT NULL"))
    return statistics.median(many), statistics.median(one)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "pg", fsync=False)
        server.start()
        try:
            migrate.upgrade("main", server.url("agora_main"))
            os.environ.update(DATABASE_URL=server.url("agora_main"), AUTH_DATABASE_URL=server.url("agora_main"))
            get_settings.cache_clear()
            measure(rows)
        finally:
            engines.dispose_all()
            server.erase()
    return 0


def measure(rows: int) -> None:
    """The tables of docs/decisions/0007."""
    small = {f"t{n:03}": rows // 10 // 199 for n in range(199)}
    cases = {"one team": {"t": rows}, "200 teams alike": {f"t{n:03}": rows // 200 for n in range(200)}}
    for name, sizes in cases.items():
        fill(sizes)
        many, one = claims(200)
        _, refill = drain(6_400, set())
        print(f"{name}: claim 25 {many * 1e3:.2f} ms, claim one {one * 1e3:.2f} ms, refill {refill * 1e3:.2f} ms")
    found = defaultdict(list)
    for name, sizes in {"without": small, "with": {"big": rows * 9 // 10} | small}.items():
        fill(sizes)
        found[name], _ = drain(sum(small.values()) * 3, set(small))
    p99 = {name: statistics.quantiles(waits, n=100)[98] for name, waits in found.items()}
    print(f"p99 wait of 199 small teams, in steps: alone {p99['without']:.0f}, beside a big one {p99['with']:.0f}")


if __name__ == "__main__":
    sys.exit(main())
