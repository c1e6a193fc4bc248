"""Figures of a run: how soon work went on, pure functions over the evidence."""

from collections import defaultdict
from dataclasses import dataclass

from tests.chaos.judge import is_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How long something took, in seconds, over ``count`` times."""

    count: int
    p50: float
    p99: float
    longest: float


def spread(seconds):
    """The spread of some durations; None for none."""
    ordered = sorted(seconds)
    if not ordered:
        return None

    def at(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Spread(count=len(ordered), p50=at(0.5), p99=at(0.99), longest=ordered[-1])


def resumptions(seen, *, alone=False):
    """Seconds from each kill of a worker, or of those that came alone, to the next try of each step that it held."""
    steps = defaultdict(list)
    for move in seen.moves:
        if move.kind == "step":
            steps[move.id].append(move)
    taken = defaultdict(list)
    for moves in steps.values():
        for held, left, *rest in (moves[n:] for n in range(len(moves) - 1)):
            if held.became == "running" and is_loss(left) and rest and rest[0].became == "running":
                taken[held.worker_id].append((held.at, left.at, rest[0].at))
    found = []
    for entry in seen.log:
        if entry.fault.kills and not entry.not_run and (entry.alone or not alone):
            worker = seen.workers.get(int(entry.note.split()[1]))
            found += [again - entry.struck for held, left, again in taken[worker] if held <= entry.struck <= left]
    return found


def recoveries(seen):
    """By kind of fault: seconds from its undoing until the next step was recorded."""
    recorded = [move.at for move in seen.moves if move.kind == "step" and move.became == "succeeded"]
    found = defaultdict(list)
    for entry in seen.log:
        after = [at for at in recorded if at >= entry.ended]
        if not entry.not_run and after:
            found[entry.fault.name].append(after[0] - entry.ended)
    return found


def absences(seen):
    """By kind of fault that excuses the API: seconds from its beginning until it answered; 0 if no call failed."""
    found = defaultdict(list)
    for entry in seen.log:
        if entry.excuses and not entry.not_run:
            failed = any(one.failed for one in seen.samples if entry.began <= one.at <= entry.ended)
            answered = [one.at for one in seen.samples if not one.failed and one.at >= entry.ended]
            found[entry.fault.name].append(min(answered) - entry.began if failed and answered else 0.0)
    return found
