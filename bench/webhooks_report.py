"""From what was measured of webhooks to a section of RESULTS.md, and to the targets that were missed."""

import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.webhooks_cases import Beside, Sizes, Sustained
from bench.webhooks_faults import Broken, section_of
from bench.webhooks_load import Arrived
from bench.webhooks_stage import ROLES

LEAST_RATE, MOST_P50, MOST_P99, MOST_STATEMENTS = 1_000, 50, 500, 6
MOST_SLOWER, LEAST_SHARE, MOST_GROWTH = 1.5, 0.8, 1.1

INTRODUCTION = """\
## Webhook deliveries

`python -m bench.webhooks --rounds {rounds} --write`: a webhooks worker and a dispatcher as the Procfile has them,
Postgres with default durability, Valkey, the publisher and the receivers, together on one machine of {cores} cores that
other work shares. Every endpoint has a loopback address of its own, so none shares a connection; every try is recorded.
Medians over the rounds, min–max in brackets. Milliseconds are from the moment at which an event was meant to be
published (an open loop) to the first byte of its request at the receiver.

"""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a way of signing."""

    sustained: Sustained
    single: Sustained
    """Likewise, with a transaction and a ring for each event."""
    paced: Arrived
    idle: Arrived


@dataclass(slots=True)
class Found:
    """Everything that was measured."""

    sizes: Sizes
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    answering: list[Beside] = field(default_factory=list)
    hanging: list[Beside] = field(default_factory=list)
    without_backlog: list[Arrived] = field(default_factory=list)
    beside_backlog: list[Arrived] = field(default_factory=list)
    backlog_rate: float = 0.0
    memory: list[tuple[int, float]] = field(default_factory=list)
    broken: Broken | None = None

    def rate(self, signing_as: str) -> float:
        """Deliveries a second, the median of the rounds."""
        return statistics.median(one.sustained.rate for one in self.rounds[signing_as])

    def slower(self) -> list[float]:
        """By pair: the healthy ones' 99th percentile beside hanging ones, to that beside answering ones."""
        return [b.paced.at(99) / a.paced.at(99) for a, b in zip(self.answering, self.hanging, strict=True)]

    def shares(self) -> list[float]:
        """By pair: likewise their throughput."""
        return [b.rate / a.rate for a, b in zip(self.answering, self.hanging, strict=True)]

    def arrived(self) -> Iterable[tuple[str, Arrived]]:
        """What arrived, by case."""
        for name, rounds in self.rounds.items():
            for one in rounds:
                yield f"{name}, sustained", one.sustained.arrived
                yield f"{name}, sustained, one by one", one.single.arrived
                yield f"{name}, half load", one.paced
                yield f"{name}, idle", one.idle
        yield from (("beside answering ones", one.arrived) for one in self.answering)
        yield from (("beside hanging ones", one.arrived) for one in self.hanging)
        yield from (("without a backlog", one) for one in self.without_backlog)
        yield from (("beside a backlog", one) for one in self.beside_backlog)


def shortfalls(found: Found) -> list[str]:
    """The targets that were missed, and the deliveries that are amiss."""
    missed = [f"{case}: {one.amiss}" for case, one in found.arrived() if one.amiss]
    if found.broken is not None and found.broken.amiss:
        missed.append(f"broken on purpose: {found.broken.amiss}")

    def check(what: str, value: float, target: float, *, least: bool = False) -> None:
        if value < target if least else value > target:
            missed.append(f"{what}: {value:.2f}, and {'at least' if least else 'at most'} {target:g} is wanted")

    for name, rounds in found.rounds.items():
        check(f"{name}: deliveries/s", found.rate(name), LEAST_RATE, least=True)
        check(f"{name}: deliveries/s, one by one", mid(one.single.rate for one in rounds), LEAST_RATE, least=True)
        check(f"{name}: p50 at half load", mid(one.paced.at(50) for one in rounds), MOST_P50)
        check(f"{name}: p99 at half load", mid(one.paced.at(99) for one in rounds), MOST_P99)
        check(f"{name}: statements a delivery", mid(statements(one.single) for one in rounds), MOST_STATEMENTS)
    if found.hanging:
        check("hanging: p99 ratio", mid(found.slower()), MOST_SLOWER)
        check("hanging: throughput ratio", mid(found.shares()), LEAST_SHARE, least=True)
    if found.memory:
        check("memory: growth", found.memory[-1][1] / found.memory[0][1], MOST_GROWTH)
    return missed


def mid(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def statements(one: Sustained) -> float:
    """Statements a delivery, of all processes, transactions' beginnings and ends counted."""
    return sum(map(one.costs.calls, ROLES)) / one.deliveries


def report(found: Found, rounds: int) -> str:
    """The section."""
    parts = [INTRODUCTION.format(rounds=rounds, cores=os.cpu_count())]
    if found.rounds:
        parts += [_speeds(found), _costs(found)]
    if found.hanging:
        parts.append(_hanging(found))
    if found.beside_backlog:
        parts.append(_backlog(found))
    if found.broken is not None:
        parts.append(section_of(found.broken))
    if found.memory:
        (few, then), (many, now) = found.memory[0], found.memory[-1]
        parts.append(
            f"Memory of the worker: {then:.0f} MB after {few:,} deliveries, {now:.0f} MB after {many:,}.\n\n"
        )  # fmt: skip
    amiss = [f"{case}: {one.amiss}" for case, one in found.arrived() if one.amiss]
    parts.append(f"Arrivals: {'; '.join(amiss) or 'each event came to each of its endpoints exactly once'}.\n")
    return "".join(parts)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """A median with its range."""
    return f"{mid(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _speeds(found: Found) -> str:
    def cells(rounds: list[Round], *looks: Callable[[Round], float]) -> str:
        return " | ".join(spread([look(one) for one in rounds]) for look in looks)

    rows = "".join(
        f"| {name} | "
        + cells(
            rounds, lambda one: one.sustained.rate, lambda one: one.single.rate,
            lambda one: one.paced.at(50), lambda one: one.paced.at(99),
            lambda one: one.idle.at(50), lambda one: one.idle.at(99),
        )
        + f" | {spread([one.sustained.load for one in rounds], 1)} |\n"
        for name, rounds in found.rounds.items()
    )  # fmt: skip
    return (
        f"100 endpoints of 20 teams; {found.sizes.deliveries:,} deliveries a round, published while they are sent: ten "
        "events in a transaction as a burst of a\nworker is, or each in one of its own, with a ring.\n\n"
        "| signed with | deliveries/s | each event by itself | half of the rate: p50 ms | p99 ms "
        "| one at a time: p50 ms | p99 ms | load |\n"
        f"|---|---|---|---|---|---|---|---|\n{rows}\n"
        f"Targets: ≥ {LEAST_RATE:,} deliveries/s; p50 < {MOST_P50} ms and p99 < {MOST_P99} ms at half of it.\n\n"
    )


def _costs(found: Found) -> str:
    columns = {}
    for way, rounds in found.rounds.items():
        columns[way] = [one.sustained for one in rounds]
        columns[f"{way}, each event by itself"] = [one.single for one in rounds]

    def line(what: str, digits: int, look: Callable[[Sustained], float]) -> str:
        cells = (mid(look(one) / one.deliveries for one in runs) for runs in columns.values())
        return f"| {what} | " + " | ".join(f"{cell:,.{digits}f}" for cell in cells) + " |\n"

    used = next(iter(columns.values()))[0].costs.cpu
    return (
        "What a delivery costs at that rate; an event makes five of them:\n\n"
        f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
        + "".join(
            line(f"ms of processor: {who}", 3, lambda one, who=who: 1000 * one.costs.cpu.get(who, 0)) for who in used
        )
        + line("ms of processor: all", 3, lambda one: 1000 * sum(one.costs.cpu.values()))
        + "".join(line(f"SQL statements: {role}", 2, lambda one, role=role: one.costs.calls(role)) for role in ROLES)
        + line("SQL statements: all, with BEGIN and COMMIT", 2, lambda one: sum(map(one.costs.calls, ROLES)))
        + line("bytes of WAL", 0, lambda one: one.costs.wal)
        + f"\nTarget: ≤ {MOST_STATEMENTS} statements.\n\n"
    )


def _hanging(found: Found) -> str:
    rows = "".join(
        f"| {name} | {spread([one.rate for one in runs])} | {spread([one.paced.at(50) for one in runs])} "
        f"| {spread([one.paced.at(99) for one in runs])} |\n"
        for name, runs in (("answer", found.answering), ("hang, from the start of the run", found.hanging))
    )
    return (
        "50 healthy endpoints beside 950 others, to which a tenth of the sustained rate goes all the while. The others "
        "have just been healthy,\nand go silent all at once. From that very moment the healthy ones get four tenths of "
        f"the rate for {found.sizes.hang_seconds:g} s, then as much as the engine takes.\n\n"
        "| the others | healthy: deliveries/s | p50 ms | p99 ms |\n|---|---|---|---|\n"
        f"{rows}\nBy pairs, in the order A B B A: the p99 is {spread(found.slower(), 2)} times as long (target ≤ "
        f"{MOST_SLOWER}), the throughput {spread(found.shares(), 2)} (target ≥ {LEAST_SHARE}).\n\n"
    )


def _backlog(found: Found) -> str:
    def both(runs: list[Arrived]) -> str:
        return f"p50 {mid(one.at(50) for one in runs):.0f} ms, p99 {mid(one.at(99) for one in runs):.0f} ms"

    return (
        "100 small endpoints, to which a tenth of the sustained rate goes, beside one with "
        f"{found.sizes.backlog:,} pending deliveries, of which the\nengine meanwhile sent "
        f"{found.backlog_rate:,.0f} a second: "
        f"{both(found.beside_backlog)}; without the backlog: {both(found.without_backlog)}.\n\n"
    )
