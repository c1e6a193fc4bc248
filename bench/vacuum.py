"""What fill factors and autovacuum settings come to: ``python -m bench.vacuum``.

A worker runs jobs of three steps beside a history, with autovacuum looking each second instead of each minute, on a
fresh copy of the same database for each candidate. Then Postgres' own counters are read, and the pages that a claim, a
refill and the dispatcher's look at what is due touch.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from agora.db import engines  # noqa: E402  # after the path
from agora.runtime.postgres import EmbeddedPostgres  # noqa: E402
from bench.history import KEPT, Size, prepare  # noqa: E402
from bench.life import Life, operations  # noqa: E402
from bench.plans import watched  # noqa: E402

CANDIDATES = {
    "as migrated": "",
    "steps 70, jobs 70": "ALTER TABLE steps SET (fillfactor = 70); ALTER TABLE jobs SET (fillfactor = 70)",
    "steps 85, jobs 70": "ALTER TABLE steps SET (fillfactor = 85); ALTER TABLE jobs SET (fillfactor = 70)",
    "steps 100, jobs 70": "ALTER TABLE steps SET (fillfactor = 100); ALTER TABLE jobs SET (fillfactor = 70)",
    "steps 100, jobs 85": "ALTER TABLE steps SET (fillfactor = 100); ALTER TABLE jobs SET (fillfactor = 85)",
    "steps 100, jobs 100": "ALTER TABLE steps SET (fillfactor = 100); ALTER TABLE jobs SET (fillfactor = 100)",
    "no vacuum": "ALTER TABLE steps SET (autovacuum_enabled = off); ALTER TABLE jobs SET (autovacuum_enabled = off)",
    "steps 90, jobs 90": "ALTER TABLE steps SET (fillfactor = 90); ALTER TABLE jobs SET (fillfactor = 90)",
    "vacuum at 2 %": "ALTER TABLE steps SET (autovacuum_vacuum_scale_factor = 0.02);"
    " ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02)",
}
GROUP = 100
LOOKED_AT = ("claim next (25)", "refill the window", "idle: next_due", "idle: return_lost_leases")
COUNTERS = """
SELECT relname, n_tup_upd, n_tup_hot_upd, n_dead_tup, autovacuum_count,
       pg_relation_size(relid) AS heap, pg_indexes_size(relid) AS indexes
FROM pg_stat_user_tables WHERE relname IN ('jobs', 'steps') ORDER BY relname
"""


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, default=30_000)
    parser.add_argument("--jobs", type=int, default=6_000)
    parser.add_argument("--only", action="append", help="a candidate's name")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="agora-vacuum-"))
    os.environ.update(KEPT, AGORA_DATA_DIR=str(folder))
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
            connection.execute("SELECT pg_reload_conf()")
        template = prepare(server, given.history)
        print("| candidate | jobs/s | WAL, kB a job | heap, kB a job: jobs / steps | indexes: jobs / steps |"
              " HOT: jobs / steps | dead at the end: jobs / steps | vacuums: jobs / steps | pages: "
              + " / ".join(LOOKED_AT) + " |\n|" + "---|" * 9)  # fmt: skip
        for name in given.only or CANDIDATES:
            print(tried(server, template, name, given.jobs), flush=True)
    finally:
        engines.dispose_all()
        server.erase()
        shutil.rmtree(server.data.parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def tried(server: EmbeddedPostgres, template: Size, name: str, jobs: int) -> str:
    """A line of the table."""
    copy = "candidate_" + "".join(filter(str.isalnum, name))
    source = template.url.rsplit("/", 1)[1]
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE {copy} TEMPLATE "{source}" STRATEGY file_copy'.encode())
    size = Size(template.jobs, server.url(copy))
    with psycopg.connect(size.url, autocommit=True) as connection:
        connection.execute((CANDIDATES[name] or "SELECT").encode())
        connection.execute("VACUUM (FULL, ANALYZE) jobs, steps")  # as if it had always been so
        connection.execute("CHECKPOINT")
        with size.in_use():
            life = Life()
            before, wal = _counters(connection), _wal(connection)
            started = time.monotonic()
            for _ in range(0, jobs, GROUP):
                for _ in range(GROUP):
                    life.submit()
                life.drain()
            seconds, written = time.monotonic() - started, _wal(connection) - wal
            engines.dispose_all()
            _wait_until_alone(connection)  # sessions report what they counted when they end
            after = _counters(connection)
            pages = _pages(life)
    grown = {key: [after[table][key] - before[table][key] for table in ("jobs", "steps")] for key in before["jobs"]}
    hot = [
        f"{100 * hot / max(1, all_):.0f} %"
        for hot, all_ in zip(grown["n_tup_hot_upd"], grown["n_tup_upd"], strict=True)
    ]
    cells = [
        name, f"{jobs / seconds:.0f}", f"{written / jobs / 1000:.1f}",
        *(" / ".join(f"{one / jobs / 1000:.2f}" for one in grown[key]) for key in ("heap", "indexes")),
        " / ".join(hot), " / ".join(f"{after[table]['n_dead_tup']:,}" for table in ("jobs", "steps")),
        " / ".join(str(one) for one in grown["autovacuum_count"]), " / ".join(str(one) for one in pages),
    ]  # fmt: skip
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {copy} WITH (FORCE)".encode())
    return "| " + " | ".join(cells) + " |"


def _wait_until_alone(connection: psycopg.Connection) -> None:
    """Wait until this session is the only one of its database. Raises TimeoutError after ten seconds."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    others += " AND backend_type = 'client backend'"
    for _ in range(200):
        if connection.execute(others).fetchone() == (0,):
            return
        time.sleep(0.05)
    raise TimeoutError("other sessions have not ended")


def _pages(life: Life) -> list[int]:
    """The pages that operations touch: the first time, before anybody has cleaned up for them."""
    with watched() as plans:
        found = []
        for operation in operations(life):
            if operation.name in LOOKED_AT:
                given = operation.prepare()
                plans.clear()
                made = operation.do(given)
                found.append(sum(plan.buffers for plan in plans))
                operation.after(made)
        return found


def _counters(connection: psycopg.Connection) -> dict[str, dict[str, int]]:
    cursor = connection.execute(COUNTERS)
    names = [column.name for column in cursor.description]
    return {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in cursor}


def _wal(connection: psycopg.Connection) -> float:
    found = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return float(found[0])


if __name__ == "__main__":
    sys.exit(main())
