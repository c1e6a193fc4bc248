"""Demands that deny each other, technologies that exclude each other, and dates that differ."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import combinations

from agora.language.embedded.conflicts.facts import Fact, FactReader, overlap, stem
from agora.language.lexicon import Technology, TechnologyGroup
from agora.language.ports import Contradiction

MAX_SHARED = 50
"""A word that more facts share than this says nothing about a pair of them."""
MAX_GROUP = 400
_LIKE = 0.55
_LEAST_SHARED = 2
_DAYS_APART = 7
_ISO = re.compile(r"\b(20\d\d)-(\d\d)-(\d\d)\b")
_QUARTER = re.compile(r"\bQ([1-4])\s*(?:of\s+)?(20\d\d)\b", re.IGNORECASE)


def polarity(facts: Sequence[Fact], _: FactReader) -> Iterator[Contradiction]:
    """The same thing demanded and forbidden."""
    by_word: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        for word in fact.subject:
            by_word[word].append(fact)
    for fact in facts:
        if not fact.negated:
            continue
        near: dict[int, Fact] = {}
        for word in fact.subject:
            if len(by_word[word]) <= MAX_SHARED:
                near.update({other.order: other for other in by_word[word] if not other.negated})
        for order in sorted(near):
            if _denies(fact, near[order]):
                left, right = sorted((fact, near[order]), key=lambda each: each.order)
                yield Contradiction(
                    kind="contradiction",
                    subject="requirement",
                    severity="high",
                    left=left.candidate,
                    right=right.candidate,
                    explanation="One demands what the other forbids: "
                    + ", ".join(sorted(fact.subject & near[order].subject))
                    + ".",
                )


def _denies(one: Fact, two: Fact) -> bool:
    shared, both = one.subject & two.subject, one.subject | two.subject
    if len(shared) < _LEAST_SHARED or len(shared) / len(both) < _LIKE:
        return False
    bounds = {q.dimension for q in one.sentence.quantities} & {q.dimension for q in two.sentence.quantities}
    return not bounds  # numbers are compared as numbers


Use = tuple[Fact, TechnologyGroup, Technology]


def technology(facts: Sequence[Fact], reader: FactReader) -> Iterator[Contradiction]:
    """Two technologies for a job that only one may do; one that is demanded here and forbidden there."""
    groups: dict[str, list[Use]] = defaultdict(list)
    for fact in facts:
        for match in fact.sentence.technologies:
            group, product = match.payload
            groups[group.name].append((fact, group, product))
    for uses in groups.values():
        demand = _single(facts, uses[0][1], reader)
        for one, two in combinations(uses[:MAX_GROUP], 2):
            found = _exclude(one, two, demand, reader)
            if found:
                yield found


def _single(facts: Sequence[Fact], group: TechnologyGroup, reader: FactReader) -> Fact | None:
    """The fact that demands exactly one of a group: "all data must live in one single database"."""
    nouns = [noun.split()[-1] for noun in group.nouns]
    for fact in facts:
        words = [word.removesuffix("s") for word in fact.sentence.words]
        for match in reader.reader.words["single"].find(fact.sentence.tokens):
            following = words[match.start : match.end + 3]
            if any(noun in following for noun in nouns) and not fact.negated:
                return fact
    return None


def _exclude(one: Use, two: Use, demand: Fact | None, reader: FactReader) -> Contradiction | None:
    (left, group, first), (right, _, second) = one, two
    if left is right:
        return None
    if first.name == second.name:
        return _forbidden(left, right, first) if left.negated != right.negated else None
    if left.negated or right.negated:
        return None
    if group.strict:
        reason = f"{first.name} and {second.name} exclude each other as {group.name}."
        return _technology(left, right, "high", reason)
    if demand is not None:
        said = " ".join(demand.candidate.content.split())
        reason = f'{first.name} and {second.name}, where a single {group.nouns[0]} is demanded: "{said}"'
        return _technology(left, right, "high", reason)
    if _same_job(left, right, group, reader):
        return _technology(left, right, "high", f"{first.name} and {second.name} for the same job: {group.name}.")
    return None


def _forbidden(left: Fact, right: Fact, product: Technology) -> Contradiction:
    return _technology(left, right, "high", f"{product.name} is demanded and forbidden.")


def _technology(left: Fact, right: Fact, severity: str, explanation: str) -> Contradiction:
    return Contradiction(
        kind="contradiction",
        subject="technology",
        severity="critical" if severity == "critical" else "high",
        left=left.candidate,
        right=right.candidate,
        explanation=explanation,
    )


def _same_job(left: Fact, right: Fact, group: TechnologyGroup, reader: FactReader) -> bool:
    """Both name a technology without saying what for, or for the same thing."""
    if not group.exclusive:
        return False
    names = {stem(word) for member in group.members for phrase in member.words for word in phrase.split()}
    words = reader.reader.lexicon.words
    vague = {stem(word) for word in (*words["generic"], *words["vague"])}
    one, two = (fact.subject - names - vague for fact in (left, right))
    if len({m.payload[1].name for f in (left, right) for m in f.sentence.technologies if m.payload[0] is group}) > 2:  # noqa: PLR2004
        return False  # a list of alternatives in one of them
    return (not one and not two) or overlap(one, two) >= 0.6  # noqa: PLR2004


def timeline(facts: Sequence[Fact], reader: FactReader) -> Iterator[Contradiction]:
    """One event on two dates."""
    dated = [
        (fact, day, reader.without(fact.subject, ("months", "causal")) - {stem("plan"), stem("latest")})
        for fact in facts
        if reader.reader.has("release", fact.sentence.tokens) and (day := _date(fact, reader)) is not None
    ]
    for (left, one, what), (right, two, other) in combinations(dated[:MAX_GROUP], 2):
        events = reader.without(what, ("release",)), reader.without(other, ("release",))
        same = overlap(*events) >= 0.5 and bool(what & other - events[0]) if all(events) else what == other  # noqa: PLR2004
        if same and abs((one - two).days) >= _DAYS_APART:
            yield Contradiction(
                kind="contradiction",
                subject="timeline",
                severity="high",
                left=left.candidate,
                right=right.candidate,
                explanation=f"The same event on {one.isoformat()} and on {two.isoformat()}.",
            )


def _date(fact: Fact, reader: FactReader) -> date | None:
    """The first full date of a sentence; a month or quarter stands for its last day."""
    text = fact.sentence.text
    try:
        if found := _ISO.search(text):
            return date(*(int(part) for part in found.groups()))
        if found := _QUARTER.search(text):
            return date(int(found.group(2)), 3 * int(found.group(1)), 30)
        return _written(fact.sentence.words, reader.reader.lexicon.words["months"])
    except ValueError:
        return None


def _written(words: Sequence[str], months: Sequence[str]) -> date | None:
    for position, word in enumerate(words):
        if word not in months:
            continue
        near = words[max(0, position - 2) : position + 3]
        years = [int(each) for each in near if re.fullmatch(r"20\d\d", each)]
        days = [int(found.group(1)) for each in near if (found := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", each))]
        if years:
            return date(years[0], months.index(word) + 1, days[0] if days else 28)
    return None
