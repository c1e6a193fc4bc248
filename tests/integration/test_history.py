"""What a platform asks of its database touches as much with four times the history. From plans, not from clocks."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from agora.db import engines
from agora.settings import get_settings
from bench.life import Life, idle, lists, looks, work
from bench.past import fill
from bench.plans import watched

SMALL, MORE = 1_500, 4_500
RARE = 500
PAGE = 51
BOUNDED = {"/metrics: queues": 16_000, "bulk: next 200 failed jobs": 400}
"""What looks at a slice that little history does not fill: at most so many rows."""
BY_STATISTICS = {"list: by metadata, many"}
"""Where Postgres has to know how many rows match to choose well: on small tables it need not."""
LARGE = {"jobs", "steps", "attempts", "events"}


def looked_at(life):
    """``{operation: (rows, pages, plans)}`` of everything.

    Hot statements by the plan that holds for any values. Of pages Postgres is asked for the ordered walk: while tables
    are as small as here, it would rather sort all that match.
    """
    found = {}
    pages = [operation for operation in lists() if operation.name not in BY_STATISTICS]
    sorted_ = [operation for operation in pages if "metadata" in operation.name]
    kinds = (
        ({"generic": True}, [*work(life), *idle()]), ({}, [*looks(life), *sorted_]),
        ({"settings": {"enable_sort": "off"}}, [operation for operation in pages if operation not in sorted_]),
    )  # fmt: skip
    for how, operations in kinds:
        swept()
        with watched(**how) as plans:
            for operation in operations:
                given = operation.prepare()
                plans.clear()
                made = operation.do(given)
                seen = list(plans)
                operation.after(made)
                found[operation.name] = (sum(p.rows for p in seen), sum(p.buffers for p in seen), seen)
    return found


def swept():
    """Nothing dead is left of what the operations before have done: how much of it autovacuum left is luck."""
    with engines.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM {', '.join(sorted(LARGE))}"))


@pytest.fixture
def both(db, monkeypatch):
    """What everything touched beside little history, and beside four times as much."""
    until = datetime.now(UTC) - timedelta(hours=1)
    for kind in ("SUCCEEDED", "FAILED", "CANCELLED", "EVENTS"):
        monkeypatch.setenv(f"AGORA_RETENTION_{kind}", "400")
    get_settings.cache_clear()
    fill(db["DATABASE_URL"], SMALL, until=until, rare=RARE)
    life = Life(monkeypatch.setattr, waiting=30)
    small = looked_at(life)
    fill(db["DATABASE_URL"], MORE, until=until - timedelta(minutes=1), rare=RARE)
    yield small, looked_at(life)
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.mark.no_cover  # tracing would take most of its time
def test_nothing_grows_with_what_has_ended(both):
    small, large = both
    grown = {
        name: f"{small[name][0]} to {rows} rows, {small[name][1]} to {pages} pages"
        for name, (rows, pages, _) in large.items()
        if name not in BOUNDED and (rows > small[name][0] + PAGE or pages > 1.5 * small[name][1] + 2 * PAGE)
    }
    assert grown == {}
    assert {name: large[name][0] for name, most in BOUNDED.items() if large[name][0] > most} == {}
    read_whole = {
        (name, node["Relation Name"])
        for name, (_, _, plans) in large.items()
        for plan in plans
        for node in plan.nodes()
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE
    }
    assert read_whole == set()
    assert all(
        large[name][2] for name in ("submit", "claim one", "record a step", "idle: next_due", "list: first page")
    )
