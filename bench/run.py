"""Agora beside its peers on the same work, in paired rounds: ``make bench``, or ``python bench/run.py --rounds 5``.

Starts a fresh Postgres (default durability) and Valkey from wheels and runs every case in turn, round by round; ratios
within a round are what counts. Each peer is a file of bench/peers: three no-op steps of about 200 bytes, two worker
processes, results durable in Postgres unless the peer says otherwise.
"""

import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
CASES = ["agora", "celery-redis", "celery-pg", "celery-hand", "floor"]


def main(arguments):
    chosen = arguments if any(not one.startswith("-") for one in arguments) else [*arguments, *CASES]
    return subprocess.run([sys.executable, "run.py", *chosen], cwd=PEERS, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["--rounds=5", "--n=2000"]))
