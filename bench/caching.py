"""What the caches of the API are worth: ``python -m bench.caching --rounds 5``.

Two web servers on the same services, as the Procfile starts one: one as it is, one whose caches remember nothing. Each
round sends the same requests to both, in turns of who is first. What counts are the ratios within a round, and the
transactions of each database per request, which no noise moves.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from agora.agents import Agent
from agora.db import engines
from agora.identity import service as identity
from agora.jobs import catalogue
from agora.quotas import tiers
from agora.runtime.ports import next_free
from agora.runtime.up import Platform
from agora.settings import environment, override_environment
from bench.agents import agent

APPS = {"with": "api.wsgi:app", "without": "bench.uncached:app"}
CONNECTIONS = (1, 16)
READY_SECONDS, REQUEST_SECONDS = 30.0, 30.0
COUNTED_AFTER = 11.0
"""Seconds after which a session of Postgres that has become idle has told what it did."""
HEADERS = {"Content-Type": "application/json"}
INPUT = {"job": "j", "step": 1, "note": "x" * 130, "ok": True}
COMMITS = "SELECT datname, xact_commit FROM pg_stat_database WHERE datname IN ('agora_main', 'agora_auth')"
Request = tuple[str, str, bytes | None, dict[str, str]]


class Stage:
    """Services, two servers, and callers of whom one has no limits and one has."""

    def __init__(self, platform: Platform, urls: dict[str, str], keys: dict[str, str]) -> None:
        self._platform, self._urls, self._keys = platform, urls, keys

    def requests(self) -> dict[str, Request]:
        """What is asked, by name."""
        submit = json.dumps({"agent": "bench", "action": "chain", "input": INPUT}).encode()
        once = self._as("endless") | {"Idempotency-Key": "bench"}
        made, _ = self._ask(("POST", "/api/v1/jobs", submit, once))
        job = f"/api/v1/jobs/{json.loads(made)['id']}"
        self._ask(("POST", f"{job}/cancel", b"{}", self._as("endless")))
        _, tag = self._ask(("GET", job, None, self._as("endless")))
        return {
            "list the agents": ("GET", "/api/v1/agents", None, self._as("endless")),
            "submit a job": ("POST", "/api/v1/jobs", submit, self._as("endless")),
            "submit, of a team with limits": ("POST", "/api/v1/jobs", submit, self._as("limited")),
            "submit again with the same key": ("POST", "/api/v1/jobs", submit, once),
            "read a job that has ended": ("GET", job, None, self._as("endless")),
            "read it again, unchanged": ("GET", job, None, self._as("endless") | {"If-None-Match": tag}),
            "list 50 jobs": ("GET", "/api/v1/jobs?limit=50", None, self._as("endless")),
        }

    def _ask(self, request: Request) -> tuple[bytes, str]:
        url = urlsplit(self._urls["with"])
        return send(url.hostname or "", url.port or 0, request, 1)

    def _as(self, who: str) -> dict[str, str]:
        return HEADERS | {"Authorization": f"Bearer {self._keys[who]}"}

    def rate(self, name: str, request: Request, *, count: int, connections: int) -> float:
        """Send a request ``count`` times over so many connections; how many a second."""
        url = urlsplit(self._urls[name])
        began = time.monotonic()
        at_once(lambda: send(url.hostname or "", url.port or 0, request, count // connections), connections)
        return count / (time.monotonic() - began)

    def asked(self, name: str, request: Request, *, count: int) -> str:
        """Transactions of main and auth for a request, over one connection: then none is shared."""
        before = self._commits()
        self.rate(name, request, count=count, connections=1)
        after = self._commits()
        return " + ".join(f"{(after[one] - before[one]) / count:.2f}" for one in ("agora_main", "agora_auth"))

    def _commits(self) -> dict[str, int]:
        time.sleep(COUNTED_AFTER)
        assert self._platform.postgres is not None
        with psycopg.connect(self._platform.postgres.url("postgres"), autocommit=True) as connection:
            return dict(connection.execute(COMMITS).fetchall())


def send(host: str, port: int, request: Request, count: int) -> tuple[bytes, str]:
    """Send a request again and again over one connection; the last answer, and its tag.

    Raises RuntimeError for an answer that is neither a success nor 304.
    """
    method, path, body, headers = request
    found, tag = b"", ""
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS)
    for _ in range(count):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found, tag = answer.read(), answer.getheader("ETag") or ""
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES and answer.status != HTTPStatus.NOT_MODIFIED:
            raise RuntimeError(f"{path}: {answer.status} {found[:200]!r}")
    connection.close()
    return found, tag


def at_once(work: Callable[[], object], times: int) -> None:
    """Do something so many times at once. Raises RuntimeError where one fails."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised by who waits
            failed.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(times)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if failed:
        raise RuntimeError(f"{len(failed)} of {times} failed") from failed[0]


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Everything started, and stopped."""
    platform = Platform(data_dir=folder, env={"AGORA_AGENTS": "bench.agents", "AGORA_LOG_LEVEL": "error"})
    with ExitStack() as held:
        held.callback(platform.stop)
        platform.prepare()
        with override_environment(platform.env):
            keys = prepared(agent)
        urls = {}
        for name, app in APPS.items():
            port = next_free(18_400, "127.0.0.1", frozenset(urlsplit(one).port or 0 for one in urls.values()))
            env = environment() | os.environ | platform.env | {"AGORA_PORT": str(port)}
            command = [sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf", app]
            server = subprocess.Popen(command, env=env, cwd=Path(__file__).parents[1])
            held.callback(server.wait, 20)
            held.callback(server.terminate)
            urls[name] = f"http://127.0.0.1:{port}"
            wait_until_ready(port)
        yield Stage(platform, urls, keys)


def prepared(of: Agent) -> dict[str, str]:
    """A key of a team without limits, and one of a team that has limits which are not reached."""
    catalogue.register_worker(list(of.actions.values()), worker_id="wrk_bench", hostname="here", pid=1)
    tiers.set_tier("wide", {"requests_per_minute": 1_000_000, "jobs_per_day": 10_000_000})
    keys = {}
    for team, tier in (("endless", "enterprise"), ("limited", "wide")):
        keys[team] = identity.create_key(identity.ensure_team(team), "bench").plain or ""
        tiers.move_team(team, tier, {})
    engines.dispose_all()
    return keys


def wait_until_ready(port: int) -> None:
    """Poll. Raises RuntimeError."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            send("127.0.0.1", port, ("GET", "/healthz", None, {}), 1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("a server does not come up")


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def run(stage: Stage, rounds: int, count: int) -> None:
    """Measure, and print the table."""
    print("| request | connections | with, per s | without, per s | with / without | transactions with | without |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for what, request in stage.requests().items():
        for name in APPS:
            stage.rate(name, request, count=64, connections=16)
        asked = [stage.asked(name, request, count=200) for name in APPS]
        for connections in CONNECTIONS:
            found: list[dict[str, float]] = []
            for number in range(rounds):
                order = list(APPS)[:: 1 if number % 2 else -1]
                found.append({name: stage.rate(name, request, count=count, connections=connections) for name in order})
            rates = [spread([one[name] for one in found], 0) for name in APPS]
            ratio = spread([one["with"] / one["without"] for one in found])
            print(f"| {what} | {connections} | {' | '.join([*rates, ratio, *asked])} |", flush=True)


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1600, help="of each kind, to each server, in each round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        run(stage, given.rounds, given.requests)


if __name__ == "__main__":
    main()
