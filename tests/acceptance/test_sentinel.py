"""The platform rings through a master that Sentinel names, and goes on when that master dies."""

import time

import pytest

from agora.runtime.up import Platform
from agora.settings import Settings
from tests.acceptance.conftest import PROCESSES, SCALED, Running, until
from tests.support.sentinel import MASTER, SENTINEL_PASSWORD, Sentinels

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(120)]

RUNG_SECONDS = 0.4
"""Without a ring nobody would look for a job before the dispatcher's next tick."""


@pytest.fixture
def sentinels(tmp_path):
    with Sentinels(tmp_path / "sentinels") as running:
        yield running


@pytest.fixture
def running(sentinels, tmp_path):
    env = SCALED | {
        "REDIS_URL": sentinels.url, "AGORA_SENTINEL_MASTER": MASTER, "AGORA_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
    }  # fmt: skip
    settings = Settings(redis_url=sentinels.url, port=18780, flower_port=16155)
    with Platform(data_dir=tmp_path / "data", settings=settings, env=env, only=PROCESSES, fsync=False) as platform:
        found = Running(platform)
        found.sql("CREATE TABLE IF NOT EXISTS effects (key text)")
        until(lambda: any(one["live_workers"] for one in found.api.agents()), what="a worker registered")
        yield found
        found.api.close()


def is_rung(running):
    """Whether a job goes from its submit to its end as fast as only a ring makes it."""
    started = time.monotonic()
    ended = running.ended(running.submit("rung", "quick"), timeout=10)
    return ended["status"] == "succeeded" and time.monotonic() - started < RUNG_SECONDS


def test_jobs_go_on_when_the_master_dies(running, sentinels):
    first = sentinels.master()
    assert first == sentinels.servers[0]
    until(lambda: is_rung(running), what="jobs are rung")
    before = [running.submit(f"before-{number}", seconds=0.2) for number in range(20)]
    sentinels.kill(first)
    during = [running.submit(f"during-{number}", "quick") for number in range(20)]
    until(lambda: sentinels.master() == sentinels.servers[1], what="the replica is the master")
    assert {running.ended(job)["status"] for job in before + during} == {"succeeded"}
    until(lambda: is_rung(running), what="jobs are rung again")
    ready = running.api.submit("probe", "chain", {"name": "streamed", "seconds": 0.5})["id"]
    assert [event["type"] for event in running.api.events(ready)][-1] == "job.succeeded"
