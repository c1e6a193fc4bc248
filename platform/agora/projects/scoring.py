"""How complete a project is: pure functions over targets and confidences, no database.

``targets`` maps each category to how much a project should hold of it; ``held`` gives (category, confidence) of every
current specification. A ratio is 0 to 1; only maturity is 0 to 100.
"""

from collections.abc import Iterable, Mapping

from pydantic.dataclasses import dataclass

READY = 0.70
"""The readiness score that the next phase needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """A category that holds less than its target. ``share`` is reached/target, 0 to 1."""

    category: str
    target: float
    reached: float
    share: float
    specifications: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """A project's figures at one moment. ``gaps`` are worst first."""

    maturity: int
    coverage: float
    mean_confidence: float
    readiness: float
    gaps: tuple[Gap, ...]


def _totals(targets: Mapping[str, float], held: Iterable[tuple[str, float]]) -> dict[str, tuple[float, int]]:
    totals = dict.fromkeys(targets, (0.0, 0))
    for category, confidence in held:
        if category not in totals:
            raise ValueError(f"category {category!r} is not one of {', '.join(targets)}")
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence must be 0 to 1, not {confidence}")
        reached, count = totals[category]
        totals[category] = (reached + confidence, count + 1)
    return totals


def maturity(targets: Mapping[str, float], held: Iterable[tuple[str, float]]) -> int:
    """0 to 100: the summed confidences, each category capped at its target, over the sum of the targets.

    Raises ValueError for an unknown category or a confidence outside 0 to 1.
    """
    whole = sum(targets.values())
    totals = _totals(targets, held)
    reached = sum(min(total, targets[category]) for category, (total, _) in totals.items())
    return round(100 * reached / whole) if whole else 0


def coverage(targets: Mapping[str, float], held: Iterable[tuple[str, float]]) -> float:
    """The share of categories with at least one current specification, 0 to 1. Raises ValueError as maturity does."""
    totals = _totals(targets, held)
    return sum(1 for _, count in totals.values() if count) / len(totals) if totals else 0.0


def gaps(targets: Mapping[str, float], held: Iterable[tuple[str, float]]) -> tuple[Gap, ...]:
    """The categories below their target, lowest share first; ties in the order of ``targets``."""
    found = [
        Gap(
            category=category,
            target=targets[category],
            reached=round(reached, 4),
            share=round(min(1.0, reached / targets[category]), 4) if targets[category] else 1.0,
            specifications=count,
        )
        for category, (reached, count) in _totals(targets, held).items()
        if reached < targets[category]
    ]
    return tuple(sorted(found, key=lambda gap: gap.share))


def readiness(*, coverage: float, mean_confidence: float, maturity: float) -> float:
    """0.35 coverage + 0.35 mean confidence + 0.30 maturity/100, 0 to 1. The next phase needs READY."""
    return 0.35 * coverage + 0.35 * mean_confidence + 0.30 * maturity / 100


def score(targets: Mapping[str, float], held: Iterable[tuple[str, float]]) -> Scores:
    """All figures at once. Raises ValueError for an unknown category or a confidence outside 0 to 1."""
    pairs = list(held)
    covered, grown = coverage(targets, pairs), maturity(targets, pairs)
    mean = sum(confidence for _, confidence in pairs) / len(pairs) if pairs else 0.0
    return Scores(
        maturity=grown,
        coverage=round(covered, 4),
        mean_confidence=round(mean, 4),
        readiness=round(readiness(coverage=covered, mean_confidence=mean, maturity=grown), 4),
        gaps=gaps(targets, pairs),
    )
