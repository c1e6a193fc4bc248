"""A worker as it is run: Celery in a process of its own, with the test's settings."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from agora.settings import environment

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def celery(*, queues, pool, **settings):
    """The process of a worker that works on these queues, two things at once; ended with all that it started."""
    env = environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"} | settings
    command = [
        sys.executable, "-m", "celery", "--quiet", "--app", "workers.celery", "worker", "--queues", queues,
        "--pool", pool, "--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "warning",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
