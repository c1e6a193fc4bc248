"""The real platform for the acceptance tests: web, workers, webhooks, dispatcher, each a process of its own."""

import time
from pathlib import Path

import psycopg
import pytest

from agora.client import Agora
from agora.runtime.up import Platform
from agora.settings import Settings

EXAMPLES = sorted(
    f"examples.{path.stem}" for path in (Path(__file__).parents[2] / "examples").glob("*.py") if path.stem != "__init__"
)
SCALED = {
    "AGORA_AGENTS": ",".join(["tests.support.agents", *EXAMPLES]),
    "AGORA_LEASE_SECONDS": "2",
    "AGORA_HEARTBEAT_SECONDS": "0.5",
    "AGORA_RERING_SECONDS": "1",
    "AGORA_DRAIN_SECONDS": "2",
    "AGORA_DEAF_SECONDS": "3",
    "AGORA_LOG_LEVEL": "info",
}
PROCESSES = ("web", "worker", "worker-io", "webhooks", "dispatcher")


class Running:
    """A platform and the ways in which tests look at it and hurt it."""

    def __init__(self, platform):
        self.platform = platform
        self.api = Agora(platform.url, platform.api_key)

    def sql(self, statement, *parameters):
        with psycopg.connect(self.platform.env["DATABASE_URL"], autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def ledger(self, name):
        path = self.platform.data_dir / "ledger.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]

    def submit(self, name, action="chain", seconds=0.0, **options):
        return self.api.submit("probe", action, {"name": name, "seconds": seconds}, **options)["id"]

    def ended(self, job_id, timeout=60):
        return self.api.wait(job_id, timeout)

    def log(self, process):
        return (self.platform.data_dir / "logs" / f"{process}.log").read_text()


def until(condition, timeout=30, what="the condition"):
    """Poll until a condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not hold within {timeout} s")


@pytest.fixture(scope="session")
def platform_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("platform")


@pytest.fixture(scope="session")
def session_platform(platform_dir):
    settings = Settings(port=18080, flower_port=15555)
    with Platform(data_dir=platform_dir, settings=settings, env=dict(SCALED), only=PROCESSES) as platform:
        running = Running(platform)
        running.sql("CREATE TABLE IF NOT EXISTS effects (key text)")
        until(lambda: any(one["live_workers"] for one in running.api.agents()), what="a worker registered")
        yield running
        running.api.close()


@pytest.fixture
def running(session_platform):
    """The platform, whole again: what the test before stopped runs again."""
    for name in PROCESSES:
        session_platform.platform.processes.start(name)
    return session_platform
