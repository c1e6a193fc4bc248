"""Numbers that cannot both hold: limits, retention periods, availability against downtime, backups against loss."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from agora.language.embedded.conflicts.facts import Fact, FactReader, overlap, same_subject
from agora.language.embedded.quantities import DAY, HOUR, MONTH, Quantity, clock_range
from agora.language.ports import Contradiction, Severity

MAX_GROUP = 400
"""At most so many facts of one aspect are compared pairwise."""
_TOLERANCE = 0.05
_GROSS = 10.0
_LEAST_AVAILABILITY = 0.5


def limits(facts: Sequence[Fact], _: FactReader) -> Iterator[Contradiction]:
    """Two values for one thing: disjoint ranges contradict, two different bounds are inconsistent."""
    groups: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.single:
            groups[fact.aspect].append(fact)
    for members in groups.values():
        for left, right in combinations(members[:MAX_GROUP], 2):
            found = _compare(left, right)
            if found:
                yield found


def _compare(left: Fact, right: Fact) -> Contradiction | None:
    for dimension in left.dimensions & right.dimensions:
        one, two = left.first(dimension), right.first(dimension)
        if (
            one is None
            or two is None
            or not _comparable(left, right, dimension)
            or "~" in one.comparator + two.comparator
        ):
            continue
        if abs(one.base - two.base) <= _TOLERANCE * max(abs(one.base), abs(two.base)) * (dimension != "ratio"):
            continue
        if one.base == two.base or not same_subject(left, right):
            continue
        disjoint = one.low > two.high or two.low > one.high
        what = left.aspect.split(".")[-1].replace("_", " ")
        return Contradiction(
            kind="contradiction" if disjoint else "inconsistency",
            subject="requirement",
            severity="high" if disjoint else "medium",
            left=left.candidate,
            right=right.candidate,
            explanation=f"Two values for {what}: {one.text} and {two.text}"
            + (" cannot both hold." if disjoint else "; the stricter one decides, or they mean different things."),
        )
    return None


def _comparable(left: Fact, right: Fact, dimension: str) -> bool:
    """Not "95 % within 2 s" against "99 % within 5 s": those go together."""
    if dimension == "ratio":
        return True
    one, two = left.first("ratio"), right.first("ratio")
    return one is None or two is None or one.base == two.base


@dataclass(frozen=True, slots=True)
class _Period:
    fact: Fact
    quantity: Quantity
    erase: bool
    subject: frozenset[str]


def retention(facts: Sequence[Fact], reader: FactReader) -> Iterator[Contradiction]:
    """Kept longer than deletion allows, or kept for two different times."""
    periods = [period for fact in facts if (period := _period(fact, reader))]
    for left, right in combinations(periods[:MAX_GROUP], 2):
        if overlap(left.subject, right.subject) < 0.5:  # noqa: PLR2004  # half of the words of the shorter one
            continue
        one, two = left.quantity, right.quantity
        if abs(one.base - two.base) <= _TOLERANCE * max(one.base, two.base):
            continue
        severity, reason = _judge_periods(left, right)
        if reason:
            yield Contradiction(
                kind="contradiction" if severity == "high" else "inconsistency",
                subject="requirement",
                severity=severity,
                left=left.fact.candidate,
                right=right.fact.candidate,
                explanation=reason,
            )


def _judge_periods(left: _Period, right: _Period) -> tuple[Severity, str]:
    if left.erase != right.erase:
        keep, erase = (right, left) if left.erase else (left, right)
        if keep.quantity.base <= erase.quantity.base:
            return "low", ""
        kept, erased = keep.quantity, erase.quantity
        return "high", f"To be kept for {_plain(kept)}, yet gone after {_plain(erased)}."
    if left.erase:
        return "medium", f"Two times of deletion: {_plain(left.quantity)} and {_plain(right.quantity)}."
    if left.quantity.comparator in {">=", ">"} and right.quantity.comparator in {">=", ">"}:
        return "medium", f"Two minimum periods: {_plain(left.quantity)} and {_plain(right.quantity)}."
    return "high", f"To be kept for {_plain(left.quantity)} and for {_plain(right.quantity)}."


def _plain(quantity: Quantity) -> str:
    return quantity.text.lstrip("<>=~ ")


def _period(fact: Fact, reader: FactReader) -> _Period | None:
    has = reader.reader.has
    tokens = fact.sentence.tokens
    quantity = next((q for q in fact.sentence.quantities if q.dimension == "time" and q.base >= DAY), None)
    keep, erase = has("keep", tokens), has("erase", tokens)
    if quantity is None or not (keep or erase) or fact.candidate.category not in {"data_retention", "security"}:
        return None
    # "Not stored for more than 30 days" and "kept for at most 30 days" say when something must be gone.
    denied = bool(fact.sentence.negations)
    gone = (erase and not denied) or (keep and not erase and (denied or quantity.comparator in {"<=", "<"}))
    subject = reader.without(fact.specific or fact.subject, ("keep", "erase", "causal", "priorities"))
    return _Period(fact=fact, quantity=quantity, erase=gone, subject=subject - {"year", "month", "day", "aft"})


def availability(facts: Sequence[Fact], reader: FactReader) -> Iterator[Contradiction]:
    """An availability that planned downtime makes impossible."""
    has = reader.reader.has
    promised = [
        (fact, ratio)
        for fact in facts
        if has("availability", fact.sentence.tokens)
        and not has("excluded", fact.sentence.tokens)
        and (ratio := fact.first("ratio")) is not None
        and _LEAST_AVAILABILITY <= ratio.base <= 1
    ]
    planned = [(fact, spent) for fact in facts if (spent := _downtime(fact, reader)) is not None]
    for fact, ratio in promised[:MAX_GROUP]:
        allowed = (1 - ratio.base) * MONTH
        for other, spent in planned[:MAX_GROUP]:
            if other is fact or spent <= allowed * (1 + _TOLERANCE):
                continue
            yield Contradiction(
                kind="contradiction",
                subject="requirement",
                severity="critical" if spent > _GROSS * allowed else "high",
                left=fact.candidate,
                right=other.candidate,
                explanation=f"{_plain(ratio)} availability allows {duration(allowed)} of downtime a month; "
                f"the planned downtime adds up to {duration(spent)}.",
            )


def _downtime(fact: Fact, reader: FactReader) -> float | None:
    """Seconds of planned downtime in a month, or None."""
    tokens = fact.sentence.tokens
    if not reader.reader.has("downtime", tokens) or fact.negated:
        return None
    times = _per_month(fact, reader)
    length = clock_range(fact.sentence.text)
    if length is None:
        lengths = [q.base for q in fact.sentence.quantities if q.dimension == "time" and q.base < DAY]
        length = lengths[0] if lengths else None
    return times * length if times and length else None


def _per_month(fact: Fact, reader: FactReader) -> float | None:
    for name, seconds in (("frequency_day", DAY), ("frequency_week", 7 * DAY), ("frequency_month", MONTH)):
        if reader.reader.has(name, fact.sentence.tokens):
            return MONTH / seconds
    return None


def backups(facts: Sequence[Fact], reader: FactReader) -> Iterator[Contradiction]:
    """Backups too rare for the loss of data that is tolerated."""
    points = [
        (fact, quantity)
        for fact in facts
        if fact.aspect.endswith(".recovery_point") and (quantity := _loss(fact)) is not None
    ]
    rhythms = [(fact, every) for fact in facts if (every := _rhythm(fact, reader)) is not None]
    for fact, quantity in points[:MAX_GROUP]:
        for other, every in rhythms[:MAX_GROUP]:
            if other is not fact and every > quantity.base * (1 + _TOLERANCE):
                yield Contradiction(
                    kind="inconsistency",
                    subject="requirement",
                    severity="medium",
                    left=fact.candidate,
                    right=other.candidate,
                    explanation=f"Backups every {duration(every)} alone can lose more than {_plain(quantity)} of data; "
                    "something else, such as replication, must close the gap.",
                )


def _loss(fact: Fact) -> Quantity | None:
    """The time of data that may be lost: the shortest one, as the time to recover may stand in the same sentence."""
    times = [quantity for quantity in fact.sentence.quantities if quantity.dimension == "time"]
    return min(times, key=lambda quantity: quantity.base, default=None)


def _rhythm(fact: Fact, reader: FactReader) -> float | None:
    if not any(word.startswith("backup") for word in fact.sentence.words):
        return None
    for quantity in fact.sentence.quantities:
        before = fact.sentence.tokens[quantity.start - 1].word if quantity.start else ""
        if quantity.dimension == "time" and before == "every":
            return quantity.base
    times = _per_month(fact, reader)
    return MONTH / times if times else None


def duration(seconds: float) -> str:
    """A duration for people: 2630 gives "43.8 minutes"."""
    for limit, unit in ((HOUR, 60.0), (3 * DAY, HOUR), (float("inf"), DAY)):
        if seconds < limit:
            name = {60.0: "minutes", HOUR: "hours", DAY: "days"}[unit]
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:g} seconds"
