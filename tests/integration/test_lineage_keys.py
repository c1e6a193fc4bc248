"""Retries and forks of jobs with a concurrency key."""

import pytest

from agora.jobs import lineage, service
from agora.jobs.lineage import Wish
from tests.integration import test_gate as gate
from tests.integration.test_gate import holders, keyed, leftovers, statuses

pytestmark = pytest.mark.usefixtures("db")
rig = gate.rig


def test_a_retry_stands_in_the_line_of_its_job_s_key(rig):
    failed = keyed(rig, "broken")
    rig.run()
    ahead, behind = keyed(rig, "asking", limit=2), keyed(rig, "asking")
    rig.run()
    assert rig.job(ahead).status == "waiting"
    again = lineage.go_on(failed.id, Wish(), team_id=failed.team_id).job
    assert again.status == "queued"
    (row,) = rig.sql("SELECT concurrency_key, limited FROM jobs WHERE id = :id", id=again.id)
    assert (row["concurrency_key"], row["limited"]) == ("k", True)
    assert holders(rig) == 1  # the newest limit, of one, holds for the retry too
    for job in (ahead, behind):
        service.cancel_job(job.id, team_id=job.team_id)
    rig.run()
    assert rig.job(again).status == "failed"
    assert leftovers(rig) == 0


def test_a_fork_whose_key_nobody_holds_any_more_runs_alone(rig):
    done = keyed(rig)
    rig.run()
    assert leftovers(rig) == 0
    forks = [lineage.go_on(done.id, Wish(fork=True, from_step="plain"), team_id=done.team_id).job for _ in range(2)]
    assert holders(rig) == 1
    rig.run()
    assert statuses(rig, *forks) == ["succeeded"] * 2
    assert leftovers(rig) == 0
