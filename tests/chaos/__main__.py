"""``python -m tests.chaos --jobs 10000 --faults 200 --seed 7``: a long run, and its page."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.report import write
from tests.chaos.run import Options, run
from tests.chaos.scale import LONG, SHORT


def say(line):
    """Print a line of the run at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Hurt a whole platform, and judge it.")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=None, help="of the faults and of the stream; printed")
    parser.add_argument("--only", help=f"comma separated, of: {', '.join(FAULTS)}")
    parser.add_argument("--short", action="store_true", help="leases and faults scaled down, as in make test")
    parser.add_argument("--rabbitmq", action="store_true", help="over RabbitMQ instead of Valkey")
    parser.add_argument("--without", default="", help="a test-only build: fence, rering, memo, with commas")
    parser.add_argument("--report", type=Path, help="write the page there")
    parser.add_argument("--directory", type=Path, help="where data and logs are kept; a temporary one without")
    given = parser.parse_args()
    options = Options(
        seed=secrets.randbelow(1_000_000) if given.seed is None else given.seed, jobs=given.jobs,
        faults=given.faults, scale=SHORT if given.short else LONG,
        only=tuple(given.only.split(",")) if given.only else (), alone=not given.short,
        rabbitmq=given.rabbitmq, without=given.without,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="agora-chaos-", ignore_cleanup_errors=True) as temporary:
        result = run(options, given.directory or Path(temporary), say=say)
    if given.report:
        write(given.report, result)
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
