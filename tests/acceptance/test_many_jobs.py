"""Batches, bulk actions, schedules on the real platform: by the command line, and with dispatchers that are killed."""

import itertools
import json
import os
import signal
import time
from datetime import datetime, timedelta

import pytest

from tests.acceptance.conftest import until
from tests.acceptance.test_cli import Shell

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]


@pytest.fixture
def agora(running, tmp_path):
    return Shell(running.platform.url, running.platform.api_key, tmp_path)


def job(name, action="quick"):
    return {"agent": "probe", "action": action, "input": {"name": name}, "metadata": {"test": name}}


def kill_the_dispatcher(running):
    """End it without a word; returns when another one runs."""
    victim = until(lambda: running.platform.processes.pid("dispatcher"), what="a dispatcher")
    os.kill(victim, signal.SIGKILL)
    # The supervisor would let it rest longer each time.
    running.platform.processes.stop("dispatcher")
    running.platform.processes.start("dispatcher")
    until(lambda: running.platform.processes.pid("dispatcher") not in {None, victim}, what="a new dispatcher")


def test_batches_and_bulk_actions_by_the_command_line(agora, running):
    lines = "\n".join(json.dumps(job("cli-batch")) for _ in range(20))
    shown = agora("batch", "submit", "-", "--watch", "--metadata", '{"a": 1}', given=lines)
    assert "completed  100% of 20 jobs ended" in shown
    batch_id = shown.split()[0]
    assert batch_id in agora("batch", "list")
    assert json.loads(agora("batch", "show", batch_id, "--json"))["counts"] == {"succeeded": 20}
    assert "line 2 is not JSON" in agora("batch", "submit", "-", given=lines.split("\n")[0] + "\nno", code=2)
    assert "/jobs/0/agent" in agora("batch", "submit", "-", given='{"action": "x", "input": {}}', code=1)
    lines = "\n".join(json.dumps(job("cli-bulk", "asks")) for _ in range(3))
    asking = agora("batch", "submit", "-", given=lines).strip()
    until(lambda: running.api.get_batch(asking)["counts"] == {"waiting": 3}, what="all wait")
    assert agora("bulk", "cancel", "--where", "test:cli-bulk", "--dry-run").startswith("3 jobs")
    assert "3 of 3 jobs done" in agora("bulk", "cancel", "--where", "test:cli-bulk", "--reason", "enough", "--watch")
    agora("batch", "watch", asking, code=1)
    assert running.api.get_batch(asking)["counts"] == {"cancelled": 3}
    retried = json.loads(agora("bulk", "retry", "--batch", asking, "--watch", "--json"))
    assert (retried["done"], retried["matched"]) == (3, 3)
    items = json.loads(agora("bulk", "items", retried["id"], "--json"))
    agora("cancel", items[0]["new_job_id"])
    assert agora("retry", items[0]["new_job_id"]).startswith("job_")
    forked = agora("fork", items[1]["job_id"], "--from", "ask", "-i", '{"name": "fork"}').strip()
    assert running.api.get_job(forked)["forked_from"] == items[1]["job_id"]
    assert "an empty filter finds every job" in agora("bulk", "cancel", code=1)
    agora("bulk", "cancel", "--where", "test:cli-bulk", "--watch")


def test_schedules_by_the_command_line(agora, running):
    shown = agora(
        "schedules", "create", "cli-nightly", "probe.quick", "-i", '{"name": "cli-schedule"}', "--cron", "30 2 * * *",
        "--timezone", "Europe/Berlin", "--budget", '{"max_cost_usd": 2.5}',
    )  # fmt: skip
    assert len(shown.splitlines()) == 12
    assert "etag: " in shown
    assert json.loads(agora("schedules", "show", "cli-nightly", "--json"))["budget"]["max_cost_usd"] == "2.5"
    assert "cli-nightly" in agora("schedules", "list")
    job_id = agora("schedules", "run", "cli-nightly").strip()
    assert running.ended(job_id)["status"] == "succeeded"
    assert job_id in agora("schedules", "runs", "cli-nightly")
    assert "paused" in agora("schedules", "pause", "cli-nightly")
    assert "active" in agora("schedules", "resume", "cli-nightly")
    assert "every 60 s" in agora("schedules", "update", "cli-nightly", "--every", "60")
    assert "cron must have 5 fields" in agora("schedules", "update", "cli-nightly", "--cron", "* *", code=1)
    agora("schedules", "delete", "cli-nightly")
    assert "there is no schedule" in agora("schedules", "show", "cli-nightly", code=3)


def test_a_batch_is_cancelled_and_its_jobs_retried_once_though_dispatchers_die(running):
    batch_id = running.api.submit_batch([job("dies", "asks") for _ in range(300)])["id"]
    until(lambda: running.api.get_batch(batch_id)["counts"].get("waiting") == 300, 60, "all wait")
    running.api.cancel_batch(batch_id, "enough")
    until(lambda: running.api.get_batch(batch_id)["counts"].get("cancelled", 0) > 20, what="some are cancelled")
    kill_the_dispatcher(running)
    assert running.api.wait_batch(batch_id, timeout=60)["counts"] == {"cancelled": 300}
    bulk = running.api.bulk("retry", {"batch": batch_id}, metadata={"test": "again"})
    for share in (40, 120, 200):
        until(lambda share=share: running.api.get_bulk(bulk["id"])["done"] >= share, 90, f"{share} are retried")
        kill_the_dispatcher(running)
    ended = running.api.wait_bulk(bulk["id"], timeout=120)
    assert (ended["done"], ended["failed"], ended["status"]) == (300, 0, "completed")
    made = running.sql("SELECT retry_of FROM jobs WHERE metadata @> '{\"test\": \"again\"}' AND metadata <> '{}'")
    assert len(made) == len({row[0] for row in made}) == 300
    told = "SELECT type FROM events WHERE job_id IS NULL AND (data->>'batch_id' = %s OR data->>'bulk_id' = %s)"
    assert sorted(running.sql(told, batch_id, bulk["id"])) == [("batch.completed",), ("bulk.ended",)]
    running.api.wait_bulk(running.api.bulk("cancel", {"metadata": {"test": "again"}})["id"], timeout=60)


def test_a_schedule_misses_and_doubles_no_second_though_dispatchers_die(running):
    made = running.api.create_schedule("each-second", "probe", "quick", {"name": "tick"}, every=1, catch_up="all")
    for _ in range(3):
        time.sleep(1.3)  # the schedule's own time has to pass
        kill_the_dispatcher(running)
    until(lambda: len(running.api.schedule_runs("each-second")) >= 8, what="it goes on")
    running.api.pause_schedule("each-second")
    runs = running.api.schedule_runs("each-second", limit=200)[::-1]
    times = [datetime.fromisoformat(run["fire_at"]) for run in runs]
    assert [run["outcome"] for run in runs] == ["fired"] * len(runs)
    assert [b - a for a, b in itertools.pairwise(times)] == [timedelta(seconds=1)] * (len(times) - 1)
    assert times[0] == datetime.fromisoformat(made["next"][0])
    found = list(running.api.iter_jobs(schedule=made["id"], limit=200))
    assert sorted(one["id"] for one in found) == sorted(run["job_id"] for run in runs)
    running.api.delete_schedule("each-second")
