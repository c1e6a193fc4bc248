"""Processes that ask the gate as often as they are told: what each writes is how often it was let through."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from agora.quotas import gate
from agora.quotas.bucket import Bucket
from agora.settings import environment
from agora.telemetry import configure_logging

ROOT = Path(__file__).parents[2]


@contextmanager
def counters(count, name, quota):
    """So many processes. What the block gets lets all of them ask at once, ``quota`` times each, once or again.

    It returns how often each was let through.
    """
    command = [sys.executable, "-m", __name__, name, str(quota), str(quota)]
    env = environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1, "cwd": ROOT}
    processes = [subprocess.Popen(command, env=env, **options) for _ in range(count)]

    def ask():
        for one in processes:
            one.stdin.write("\n")
        return [int(one.stdout.readline()) for one in processes]

    try:
        for one in processes:
            assert one.stdout.readline() == "ready\n"
        yield ask
    finally:
        for one in processes:
            one.communicate(timeout=60)


def say(word):
    """Tell whoever started this."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(name: str, quota: str, tries: str) -> None:
    """For each line that comes, ask: so all begin at once."""
    configure_logging()
    say("ready")
    bucket = Bucket(policy="team", name=name, quota=int(quota), window=86_400)
    wide = Bucket(policy="user", name=f"{name}-wide", quota=1_000_000, window=86_400)
    for _ in sys.stdin:
        let = 0
        for _ in range(int(tries)):
            answer = gate.pass_through([wide, bucket])
            let += not any(state.wait for state in answer.states)
        say(let)


if __name__ == "__main__":
    main(*sys.argv[1:])
