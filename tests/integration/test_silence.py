"""A transaction that falls silent holds nobody up: its host may be cut off, its process frozen."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from agora.agents import StepContext, TransactionContext
from agora.db import engines
from agora.db.session import transaction
from agora.dispatcher import duties
from agora.settings import get_settings
from tests.acceptance.conftest import until
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")

SILENCE = "SELECT setting::int / 1000 AS seconds FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
ALIVE = "SELECT pid FROM pg_stat_activity WHERE pid = :pid"
HOLD = "SELECT id FROM steps WHERE status = 'running' FOR UPDATE"
OVER = "UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'"


def test_a_step_whose_row_a_silent_host_has_locked_is_taken_over(monkeypatch):
    seen = []

    def work(ctx: StepContext[Number]) -> Number:
        if ctx.attempt > 1:
            return Number(n=7)
        rig.sql(OVER)
        with engines.engine().connect() as held:
            held.execute(text("SET LOCAL idle_in_transaction_session_timeout = 400"))
            held.execute(text(HOLD))
            seen.append(duties.return_lost_leases())  # whoever holds the lock may be alive
            until(duties.return_lost_leases, timeout=10, what="the step is taken back")
            held.invalidate()
        return Number(n=666)

    rig = Rig(monkeypatch, agent_with(work=[work]))
    job = rig.submit("work")
    assert rig.run() == ["lost", "succeeded"]
    assert seen == [0]
    assert rig.job(job).output == {"n": 7}


def test_a_session_may_be_silent_for_a_lease(monkeypatch):
    with transaction() as session:
        assert session.execute(text(SILENCE)).scalar() == get_settings().lease_seconds == 10
    monkeypatch.setattr(engines, "LEAST_SILENCE", 12.0)
    engines.dispose_all()
    with transaction() as session:
        assert session.execute(text(SILENCE)).scalar() == 12


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 60), (timedelta(seconds=90), 92)])
def test_a_transactional_step_may_think_for_its_time_out(monkeypatch, timeout, seconds):
    told = []

    def think(ctx: TransactionContext[Number]) -> Number:
        told.append(ctx.session.execute(text(SILENCE)).scalar())
        return Number()

    rig = Rig(monkeypatch, agent_with(think=[(think, {"transactional": True, "timeout": timeout})]))
    rig.submit("think")
    assert rig.run() == ["succeeded"]
    assert told == [seconds]


def test_a_transactional_step_that_falls_silent_is_undone_and_tried_again(monkeypatch):
    def think(ctx: TransactionContext[Number]) -> Number:
        ctx.session.execute(text("INSERT INTO ledger VALUES (:key)"), {"key": str(ctx.attempt)})
        if ctx.attempt == 1:
            pid = ctx.session.execute(text("SELECT pg_backend_pid()")).scalar()
            ctx.session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 200"))
            until(lambda: not rig.sql(ALIVE, pid=pid), timeout=10, what="Postgres ends the session")
        return Number(n=ctx.attempt)

    rig = Rig(monkeypatch, agent_with(think=[(think, {"transactional": True})]))
    rig.sql("CREATE TABLE IF NOT EXISTS ledger (key text)")
    rig.sql("TRUNCATE ledger")
    job = rig.submit("think")
    assert rig.run()[0] == "failed"
    until(lambda: duties.release_due() or rig.rung, timeout=10, what="the step is due again")
    rig.sql("UPDATE steps SET run_at = now() WHERE status = 'ready'")
    until(lambda: duties.refill_rings() or rig.rung, timeout=10, what="the step is rung")
    assert rig.run() == ["succeeded"]
    assert rig.job(job).output == {"n": 2}
    assert [row["key"] for row in rig.sql("SELECT key FROM ledger")] == ["2"]
