"""What webhook deliveries cost and how soon they go out: ``python -m bench.webhooks [--rounds 3] [--write]``.

A fresh Postgres with default durability, a Valkey, a webhooks worker and a dispatcher as the Procfile has them, this
process as the publisher, and receivers on loopback in a process of their own: all on one machine. At the end of each
case, every event must have come to each of its endpoints once; signatures of samples are verified.

``--only`` runs some of the cases, ``--small`` all of them in small, ``--costs`` lists what each statement costs.
``--write`` puts the result into bench/RESULTS.md, between markers of its own.
"""

import argparse
import os
import sys
from pathlib import Path

from bench.webhooks_cases import RECEIVERS, SMALL, Cases, Sizes
from bench.webhooks_faults import section_of
from bench.webhooks_load import SIGNINGS
from bench.webhooks_receiver import Receivers
from bench.webhooks_report import Found, Round, report, shortfalls
from bench.webhooks_stage import Stage, Statement

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "RESULTS.md"
BEGIN, END = "<!-- webhooks: made by bench/webhooks.py -->", "<!-- webhooks: end -->"
CASES = ("sustained", "hanging", "backlog", "memory", "faults")


def measure(cases: Cases, sizes: Sizes, rounds: int, chosen: tuple[str, ...], *, costs: bool) -> Found:
    """Run the cases by turns; within a round, in the order A B B A."""
    found = Found(sizes=sizes)
    teams = {name: cases.teams(name) for name in SIGNINGS}
    first = next(iter(SIGNINGS))
    for number in range(rounds if "sustained" in chosen else 0):
        for name in list(SIGNINGS) if number % 2 == 0 else reversed(SIGNINGS):
            sustained = cases.sustain(teams[name], sizes.deliveries)
            single = cases.sustain(teams[name], sizes.deliveries, group=1)
            paced, idle = cases.pace(teams[name], sustained.rate / 2), cases.idle(name)
            found.rounds.setdefault(name, []).append(Round(sustained, single, paced, idle))
            say(f"{name}: {sustained.rate:.0f}/s, each event by itself {single.rate:.0f}/s, at half of that "
                f"p50 {paced.at(50):.0f} p99 {paced.at(99):.0f} ms, idle p50 {idle.at(50):.0f} ms")  # fmt: skip
            if costs:
                show(sustained.costs.statements, sustained.deliveries)
                print("  each event by itself:")
                show(single.costs.statements, single.deliveries)
    rate = found.rate(first) if first in found.rounds else cases.sustain(teams[first], sizes.deliveries // 4).rate
    for number in range(2 * rounds if "hanging" in chosen else 0):
        for hanging in (False, True) if number % 2 == 0 else (True, False):
            beside = cases.beside_hanging(teams[first], hanging=hanging, rate=rate)
            (found.hanging if hanging else found.answering).append(beside)
            say(f"950 others {'hang' if hanging else 'answer'}: {beside.rate:.0f}/s, p99 {beside.paced.at(99):.0f} ms")
    if "backlog" in chosen:
        found.without_backlog, found.beside_backlog, found.backlog_rate = cases.beside_backlog(teams[first], rate)
        say(f"beside a backlog: p99 {[round(one.at(99)) for one in found.beside_backlog]} ms, "
            f"without {[round(one.at(99)) for one in found.without_backlog]} ms")  # fmt: skip
    if "faults" in chosen:
        found.broken = cases.break_everything(teams[first], rate)
        say(section_of(found.broken).strip())
    if "memory" in chosen:
        found.memory = cases.memory(teams[first])
        say(f"memory: {found.memory}")
    return found


def say(line: str) -> None:
    """Tell how it goes."""
    print(f"{line} (load {os.getloadavg()[0]:.1f})", flush=True)


def show(statements: list[Statement], deliveries: int) -> None:
    """What each statement costs a delivery."""
    for one in sorted(statements, key=lambda one: -one.ms - one.planning)[:16]:
        text = " ".join(one.text.split())[:80]
        print(f"  {one.role:10} {one.calls / deliveries:7.4f} calls {one.ms / deliveries:7.4f} ms and "
              f"{one.planning / deliveries:7.4f} of planning "
              f"{one.wal / deliveries:6.0f} B  {text}")  # fmt: skip


def write(section: str) -> None:
    """Put the section between its markers."""
    text = RESULTS.read_text()
    block = f"{BEGIN}\n{section}{END}"
    if BEGIN in text:
        text = text[: text.index(BEGIN)] + block + text[text.index(END) + len(END) :]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    RESULTS.write_text(text)


def main() -> int:
    """Measure, print, and fail when a target is missed or a delivery is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CASES), help=f"some of {', '.join(CASES)}")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    chosen = tuple(given.only.split(","))
    if unknown := set(chosen) - set(CASES):
        parser.error(f"--only: no case is named {', '.join(sorted(unknown))}")
    if given.write and (given.small or chosen != CASES):
        parser.error("--write: needs all cases, in full")
    sizes, receivers = SMALL if given.small else Sizes(), Receivers(RECEIVERS)
    try:
        with Stage(receivers.pid) as stage:
            found = measure(Cases(stage, receivers, sizes), sizes, given.rounds, chosen, costs=given.costs)
    finally:
        receivers.close()
    section = report(found, given.rounds)
    print(section)
    if given.write:
        write(section)
    missed = shortfalls(found)
    for one in missed:
        print(f"MISSED: {one}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
