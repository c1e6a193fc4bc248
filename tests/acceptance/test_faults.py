"""What users of other queues lose jobs by, done to the real processes."""

import os
import signal
import threading
from collections import Counter

import pytest
import redis
from celery import Celery

from agora.cli.listen import receiver
from tests.acceptance.conftest import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def worker_child(running, name):
    """The process that runs the middle step of a job."""
    lines = until(lambda: [line for line in running.ledger(name) if "middle begins" in line], what="the step begins")
    return int(lines[-1].split("pid=")[1])


def test_the_whole_walk(running):
    with receiver(None) as here:
        job = running.api.submit("probe", "chain", {"name": "walk"}, webhook={"url": here.url})
        here.secret = job["webhook_secret"]
        ended = running.ended(job["id"])
        assert (ended["status"], ended["output"]) == ("succeeded", {"total": 3})
        assert [step["status"] for step in ended["steps"]] == ["succeeded"] * 3
        received = here.received.get(timeout=30)
    assert received.refused is None
    assert received.event["type"] == "job.succeeded"
    assert received.event["data"]["job_id"] == job["id"]
    deliveries = until(
        lambda: [d for d in running.api.list_deliveries(job_id=job["id"])["items"] if d["status"] == "succeeded"],
        what="the delivery is settled",
    )
    attempts = running.api.get_delivery(deliveries[0]["id"])["attempts"]
    assert [one["status_code"] for one in attempts] == [204]
    assert job["webhook_secret"] not in str(attempts)


@pytest.mark.parametrize("victim", ["child", "parent"])
def test_kill_9_of_a_worker_in_the_middle_of_a_step(running, victim):
    name = f"kill-{victim}"
    job_id = running.submit(name, seconds=3)
    child = worker_child(running, name)
    os.kill(child if victim == "child" else running.platform.processes.pid("worker"), signal.SIGKILL)
    ended = running.ended(job_id)
    assert ended["status"] == "succeeded"
    lines = running.ledger(name)
    assert sum("first ran" in line for line in lines) == 1, "a recorded step ran twice"
    assert sum("middle ends" in line for line in lines) == 1
    assert running.sql("SELECT count(*) FROM effects WHERE key LIKE %s", f"{job_id}%") == [(1,)]
    tries = next(step["tries"] for step in ended["steps"] if step["name"] == "middle")
    assert [one["outcome"] for one in tries] == ["lost", "succeeded"]


def test_a_frozen_worker_that_wakes_after_its_lease_was_taken_writes_nothing(running):
    job_id = running.submit("zombie", seconds=3)
    child = worker_child(running, "zombie")
    os.kill(child, signal.SIGSTOP)
    try:
        ended = running.ended(job_id)
    finally:
        os.kill(child, signal.SIGCONT)
    assert ended["status"] == "succeeded"
    until(lambda: "outcome=lost" in running.log("worker"), what="the zombie notices")
    assert running.api.get_job(job_id)["output"] == {"total": 3}
    assert running.sql("SELECT count(*) FROM effects WHERE key LIKE %s", f"{job_id}%") == [(1,)]


def test_flushall_in_the_middle_of_200_jobs(running):
    jobs = [running.submit(f"flush-{n}") for n in range(100)]
    with redis.Redis.from_url(running.platform.env["REDIS_URL"]) as broker:
        broker.flushall()
        jobs += [running.submit(f"flush-{n}") for n in range(100, 200)]
        broker.flushall()
    until(lambda: ended_of(running, jobs) == {"succeeded": 200}, timeout=60, what="all 200 end")
    effects = running.sql("SELECT key, count(*) FROM effects GROUP BY key HAVING count(*) > 1")
    assert effects == []


def ended_of(running, jobs):
    rows = running.sql("SELECT status, count(*) FROM jobs WHERE id = ANY(%s) GROUP BY status", jobs)
    return dict(rows)


def test_submits_are_accepted_while_redis_is_away_and_run_when_it_is_back(running):
    valkey = running.platform.valkey
    valkey.stop()
    try:
        jobs = [running.submit(f"away-{n}") for n in range(5)]
    finally:
        valkey.start()
    until(lambda: ended_of(running, jobs) == {"succeeded": 5}, timeout=60, what="all end")


def test_postgres_restarted_under_running_jobs(running):
    jobs = [running.submit(f"restart-{n}", seconds=0.5) for n in range(6)]
    postgres = running.platform.postgres
    postgres.stop()
    postgres.start()
    until(lambda: ended_of(running, jobs) == {"succeeded": 6}, timeout=90, what="all end")


def test_fifty_submits_at_once_with_one_key_make_one_job(running):
    found, barrier = Counter(), threading.Barrier(50)

    def submit():
        barrier.wait()
        found[running.submit("once", idempotency_key="the-same")] += 1

    threads = [threading.Thread(target=submit) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert found.total() == 50


def test_a_cut_stream_is_resumed_without_gap_or_repeat(running):
    job_id = running.submit("stream", seconds=2)
    seen = []
    for event in running.api.events(job_id):
        seen.append(event["seq"])
        if len(seen) == 2:
            break  # the connection is cut here
    seen += [event["seq"] for event in running.api.events(job_id, after=seen[-1])]
    whole = [event["seq"] for event in running.api.events(job_id)]
    assert seen == whole == list(range(1, len(whole) + 1))


def test_poison_is_given_up_and_hurts_nobody_else(running):
    poisoned = running.submit("poison", action="poison")
    healthy = [running.submit(f"beside-{n}") for n in range(5)]
    until(lambda: ended_of(running, healthy) == {"succeeded": 5}, timeout=60, what="the others end")
    ended = running.ended(poisoned, timeout=60)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker-lost")


def test_a_step_over_its_time_out_fails_with_a_reason(running):
    ended = running.ended(running.submit("stuck", action="stuck"))
    assert (ended["status"], ended["error"]["code"]) == ("failed", "step-timeout")


def test_a_stopping_worker_gives_its_lease_back_without_burning_an_attempt(running):
    job_id = running.submit("drain", seconds=4)
    worker_child(running, "drain")
    running.platform.processes.stop("worker")
    step = running.api.get_job(job_id)["steps"][-1]
    assert (step["name"], step["status"], step["attempt"]) == ("middle", "ready", 0)
    running.platform.processes.start("worker")
    ended = running.ended(job_id)
    assert ended["status"] == "succeeded"
    assert [len(step["tries"]) for step in ended["steps"]] == [1, 1, 1]


def test_cancel_of_a_running_job(running):
    job_id = running.submit("cancel", seconds=30)
    worker_child(running, "cancel")
    running.api.cancel(job_id, "enough")
    ended = running.ended(job_id, timeout=15)
    assert ended["status"] == "cancelled"


def test_a_worker_that_hears_nothing_is_started_anew(running):
    """Its consumer is taken away, as a broken reconnect does; the queue has work, and nobody else serves it."""
    worker = running.platform.processes.pid("worker")
    Celery(broker=running.platform.env["REDIS_URL"]).control.cancel_consumer("cpu", reply=True, timeout=3)
    job_id = running.submit("unheard")
    assert running.ended(job_id, timeout=60)["status"] == "succeeded"
    assert running.platform.processes.pid("worker") != worker
    assert "hears nothing" in running.log("worker")


def test_kill_9_in_the_middle_of_shared_turns(running):
    """A worker dies with many claims in hand, twice: every job ends, and every effect is single."""
    before, count = running.sql("SELECT count(*) FROM effects")[0][0], 1_000
    inputs = [{"name": f"shared{n}", "seconds": 0.0} for n in range(count)]
    made = running.api.submit_batch([{"agent": "probe", "action": "quick", "input": one} for one in inputs])
    killed = set()

    def at_work():
        """The workers that are in the middle of it, apart from those that were killed."""
        found = running.sql(
            "SELECT worker_id FROM steps WHERE status = 'running' AND starts_with(label, 'probe.quick.')"
        )
        return {worker_id for (worker_id,) in found} - killed

    for _ in range(2):
        killed |= until(at_work, what="steps at work")
        os.kill(running.platform.processes.pid("worker"), signal.SIGKILL)
    batch = until(lambda: (one := running.api.get_batch(made["id"]))["status"] == "completed" and one, 90, "their end")
    assert batch["counts"] == {"succeeded": count}
    assert running.sql("SELECT count(*), count(DISTINCT key) FROM effects")[0] == (before + count, before + count)
    jobs = made["job_ids"]
    jobs_with_gaps = running.sql(
        "SELECT job_id FROM events WHERE job_id = ANY(%s) GROUP BY job_id HAVING max(seq) <> count(*)", jobs
    )
    assert jobs_with_gaps == []
