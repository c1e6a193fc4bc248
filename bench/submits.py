"""HTTP submits of two checkouts beside each other, in paired rounds: what a change costs those who only enqueue.

    git worktree add ../before COMMIT && make -C ../before .venv/.bench-installed
    python -m bench.submits ../before --rounds 5

Each round runs the `agora` peer of both checkouts, each with its own environment and services, in turns of who is
first. What counts is the ratio within a round: this checkout's rate over the other's, at 16 connections and at one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[1]
FIGURES = {"http_c16": "submits/s at 16", "http_c1": "submits/s at 1", "http_c16_p99_ms": "p99 ms at 16"}
LONGEST = 600


def measure(checkout, submits):
    """The figures of one checkout, in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as out:
        command = [
            str(checkout / ".venv/bin/python"), "run.py", "agora", "--rounds=1", "--n=100", "--latency=5",
            "--timeout=150", f"--submit={submits}", f"--out={out.name}",
        ]  # fmt: skip
        where = checkout / "bench/peers"
        subprocess.run(command, cwd=where, check=True, timeout=LONGEST, stdout=subprocess.DEVNULL)
        return json.loads(Path(out.name).read_text().splitlines()[-1])


def spread(values, digits=2):
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main():
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="a checkout of the commit to compare with, with an environment")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--submits", type=int, default=3000)
    given = parser.parse_args()
    before = given.before.resolve()
    if not (before / ".venv/bin/python").exists():
        sys.exit(f"{before} has no environment: make -C {before} .venv/.bench-installed")
    rounds = []
    for number in range(given.rounds):
        order = [("before", before), ("after", HERE)][:: 1 if number % 2 else -1]
        found = {name: measure(checkout, given.submits) for name, checkout in order}
        rounds.append(found)
        print(f"round {number + 1}: " + ", ".join(f"{name} {one['http_c16']:.0f}/s" for name, one in found.items()))
    print("\n| | before | after | after / before |\n| --- | --- | --- | --- |")
    for figure, title in FIGURES.items():
        columns = [[one[name][figure] for one in rounds] for name in ("before", "after")]
        ratios = [after / earlier for earlier, after in zip(*columns, strict=True)]
        print(f"| {title} | {spread(columns[0], 0)} | {spread(columns[1], 0)} | {spread(ratios)} |")


if __name__ == "__main__":
    main()
