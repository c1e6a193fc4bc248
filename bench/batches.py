"""Jobs a second of batches beside single submits: ``python -m bench.batches [rounds]``.

A fresh Postgres with default durability and a Valkey from wheels, no workers. Batches of 1,000 jobs of three steps that
do nothing, through the service and over HTTP (gunicorn as the Procfile starts it), at one and at two callers at once.
"""

import cProfile
import http.client
import json
import os
import pstats
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from agora.batches import service as batches
from agora.db import migrate
from agora.db.session import transaction
from agora.identity import service as identity
from agora.jobs import catalogue, service
from agora.jobs.types import Submission
from agora.runtime.postgres import EmbeddedPostgres
from agora.runtime.valkey import EmbeddedValkey
from agora.settings import get_settings
from bench.agents import agent

ROOT = Path(__file__).parents[1]
SIZE, BATCHES, SINGLES = 1_000, 10, 1_000
TEAM = "team_bench"


def payload(n):
    return {"job": f"job-{n}", "step": 0, "note": "x" * 150, "ok": True}


def submissions():
    return [Submission(agent="bench", action="chain", input=payload(n)) for n in range(SIZE)]


def cpu_seconds():
    """Processor time of everything here: this process, the web processes, Postgres."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            used = process.cpu_times()
            total += used.user + used.system
    return total


def measured(count, work):
    """Jobs a second, and milliseconds of processor time a job: the latter says something on a busy machine too."""
    begun, spent = time.perf_counter(), cpu_seconds()
    work()
    return count / (time.perf_counter() - begun), (cpu_seconds() - spent) * 1000 / count


def singles():
    for n in range(SINGLES):
        service.submit(Submission(agent="bench", action="chain", input=payload(n)), team_id=TEAM)


def many(one, callers):
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda _: one(), range(BATCHES)))


def by_service():
    batches.submit_batch(submissions(), team_id=TEAM)


def sender(port, key):
    body = json.dumps({"jobs": [{"agent": "bench", "action": "chain", "input": payload(n)} for n in range(SIZE)]})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def send():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/api/v1/batches", body, headers)
        answer = connection.getresponse()
        assert answer.status == 202, answer.read()
        assert len(json.loads(answer.read())["job_ids"]) == SIZE
        connection.close()

    return send


@contextmanager
def web(port):
    command = [sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf", "api.wsgi:app"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "AGORA_PORT": str(port)})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield
    process.terminate()
    process.wait(20)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def one_round(send):
    return {
        "single submit, service": measured(SINGLES, singles),
        "batch, service, 1 caller": measured(SIZE * BATCHES, lambda: many(by_service, 1)),
        "batch, service, 2 callers": measured(SIZE * BATCHES, lambda: many(by_service, 2)),
        "batch, HTTP, 1 caller": measured(SIZE * BATCHES, lambda: many(send, 1)),
        "batch, HTTP, 2 callers": measured(SIZE * BATCHES, lambda: many(send, 2)),
    }


def main(rounds):
    with tempfile.TemporaryDirectory() as directory:
        postgres, valkey = EmbeddedPostgres(Path(directory) / "pg"), EmbeddedValkey(Path(directory) / "valkey")
        postgres.start()
        valkey.start()
        try:
            measure(rounds, postgres, valkey, directory)
        finally:
            valkey.stop()
            postgres.erase()


def measure(rounds, postgres, valkey, directory):
    port = free_port()
    os.environ.update(
        DATABASE_URL=postgres.url("agora_main"), AUTH_DATABASE_URL=postgres.url("agora_auth"), REDIS_URL=valkey.url,
        AGORA_SECRET_KEY="bench" * 10, AGORA_DATA_DIR=directory, AGORA_LOG_LEVEL="warning",
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
    )  # fmt: skip
    get_settings.cache_clear()
    migrate.upgrade("main", postgres.url("agora_main"))
    migrate.upgrade("auth", postgres.url("agora_auth"))
    with transaction() as session:
        catalogue.register(session, list(agent.actions.values()))
    key = identity.create_key(identity.ensure_team("bench"), "bench").plain
    with web(port):
        send = sender(port, key)
        one_round(send)  # warm
        found = [one_round(send) for _ in range(rounds)]
    for case in found[0]:
        rates = [one[case][0] for one in found]
        ratio = statistics.median(one[case][0] / one["single submit, service"][0] for one in found)
        cpu = statistics.median(one[case][1] for one in found)
        rate = f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"
        print(f"| {case} | {rate} | {ratio:.1f} | {cpu:.3f} |")
    if "--profile" in sys.argv:
        with cProfile.Profile() as profile:
            many_here()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def many_here():
    for _ in range(BATCHES):
        by_service()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
