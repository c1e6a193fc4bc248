"""A process of its own that asks the gate as often as it is told: what it writes is how often it was let through."""

import sys

from agora.quotas import gate
from agora.quotas.bucket import Bucket


def say(word):
    """Tell whoever started this."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(name: str, quota: str, tries: str) -> None:
    """Wait for a line, so that all begin at once."""
    say("ready")
    sys.stdin.readline()
    bucket = Bucket(policy="team", name=name, quota=int(quota), window=86_400)
    wide = Bucket(policy="user", name=f"{name}-wide", quota=1_000_000, window=86_400)
    let = 0
    for _ in range(int(tries)):
        answer = gate.pass_through([wide, bucket])
        let += not any(state.wait for state in answer.states)
    say(let)


if __name__ == "__main__":
    main(*sys.argv[1:])
