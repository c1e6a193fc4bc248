"""Retention goes in slices: whatever there is to remove, one transaction removes no more than it may."""

from datetime import timedelta

import pytest

from agora.agents import StepContext
from agora.clock import now
from agora.db.session import transaction
from agora.ids import floor_id, new_id
from agora.retention import duties, removal_queries
from tests.support.aging import aged, begin_anew
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig


def only(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


def second(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


def third(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


@pytest.fixture
def rig(db, monkeypatch):
    begin_anew()
    return Rig(monkeypatch, agent_with(one=[only], three=[only, second, third]))


def old(rig, action):
    job = rig.submit(action)
    rig.run()
    return aged(rig, job, 31)


def left(rig, job_ids):
    """Which of them are still there, by their numbers."""
    there = {row["id"] for row in rig.sql("SELECT id FROM jobs")}
    return [number for number, job_id in enumerate(job_ids) if job_id in there]


def test_a_slice_of_jobs_ends_where_they_have_too_many_steps(rig, monkeypatch):
    monkeypatch.setattr(duties, "STEPS", 2)
    jobs = [old(rig, action) for action in ("one", "one", "one", "three", "one")]
    seen = []
    for _ in range(5):
        duties.remove_old_jobs()
        seen.append(left(rig, jobs))
    # Two with a step each; one, since the next has too many; that one alone; the last; and nothing is left.
    assert seen == [[2, 3, 4], [3, 4], [4], [], []]


def test_a_slice_of_jobs_with_few_steps_goes_at_once(rig):
    jobs = [old(rig, action) for action in ("one", "three", "one")]
    duties.remove_old_jobs()
    assert left(rig, jobs) == []


def bulk_of(rig, *, made, ended=None, items=0):
    """A bulk action of so many days ago, and what it noted of its jobs."""
    bulk_id, begun = floor_id("blk", now() - timedelta(days=made)), now() - timedelta(days=made)
    rig.sql(
        """INSERT INTO bulk_actions (id, team_id, action, filter, options, status, matched, created_at, ended_at)
           VALUES (:id, :team, 'cancel', '{}', '{}', :status, 3, :made, :ended)""",
        id=bulk_id, team=rig.team_id, status="running" if ended is None else "completed", made=begun,
        ended=None if ended is None else now() - timedelta(days=ended),
    )  # fmt: skip
    for _ in range(items):
        rig.sql(
            "INSERT INTO bulk_items (bulk_id, job_id, team_id, outcome) VALUES (:id, :job, :team, 'done')",
            id=bulk_id, job=new_id("job"), team=rig.team_id,
        )  # fmt: skip
    return bulk_id


def test_bulk_actions_go_after_the_longest_time_for_which_jobs_are_kept(rig, monkeypatch):
    monkeypatch.setattr(duties, "ITEMS", 2)
    few, many = bulk_of(rig, made=93, ended=93, items=1), bulk_of(rig, made=92, ended=91, items=3)
    kept = [bulk_of(rig, made=96), bulk_of(rig, made=95, ended=89, items=1), bulk_of(rig, made=60, ended=60)]
    seen = []
    for _ in range(3):
        duties.remove_old_batches()
        bulks = {row["id"] for row in rig.sql("SELECT id FROM bulk_actions")}
        seen.append((sorted(bulks - set(kept)), len(rig.sql("SELECT FROM bulk_items WHERE bulk_id = :id", id=many))))
        assert set(kept) <= bulks
    assert few < many
    assert seen == [([many], 2), ([], 0), ([], 0)]
    with transaction() as session:
        assert removal_queries.list_removed(session) == {"bulk": 2}


def test_bulk_actions_stay_where_jobs_stay_for_ever(rig, setting):
    bulk = bulk_of(rig, made=4_000, ended=4_000)
    for name in ("SUCCEEDED", "FAILED", "CANCELLED"):
        setting(f"AGORA_RETENTION_{name}", 0)
    duties.remove_old_batches()
    assert [row["id"] for row in rig.sql("SELECT id FROM bulk_actions")] == [bulk]
