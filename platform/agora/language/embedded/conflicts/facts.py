"""A candidate as the rules see it: its sentence, what it speaks about, and whether it denies."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from agora.language.embedded.naming import Namer
from agora.language.embedded.quantities import Quantity
from agora.language.embedded.reading import Reader, Sentence
from agora.language.ports import Candidate

_SUFFIXES = (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", ""))
_MIN_STEM = 3
_WORD = re.compile(r"^[^\W\d_][\w']*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A candidate, read. ``subject`` holds stems of what it speaks about; ``order`` is its place in reading order."""

    order: int
    candidate: Candidate
    sentence: Sentence
    aspect: str
    single: bool
    dimensions: frozenset[str]
    subject: frozenset[str]
    specific: frozenset[str]
    negated: bool

    def first(self, dimension: str) -> Quantity | None:
        """Its first quantity of a dimension."""
        return next((quantity for quantity in self.sentence.quantities if quantity.dimension == dimension), None)


class FactReader:
    """Makes facts of candidates."""

    def __init__(self, reader: Reader, namer: Namer) -> None:
        self.reader = reader
        self._namer = namer
        self._aspects = {
            (category.name, aspect.key): aspect for category in reader.lexicon.categories for aspect in category.aspects
        }
        self._generic = frozenset(stem(word) for word in reader.generic)

    def read(self, candidates: Iterable[Candidate]) -> list[Fact]:
        """The facts, in the order of the candidates."""
        return [self._fact(order, candidate) for order, candidate in enumerate(candidates)]

    def without(self, words: Iterable[str], names: Iterable[str]) -> frozenset[str]:
        """The stems that are in none of the lexicon's lists ``names``. Only single words of these lists count."""
        lists = (self.reader.lexicon.words[name] for name in names)
        known = {stem(phrase) for phrases in lists for phrase in phrases if " " not in phrase}
        return frozenset(words) - known

    def _fact(self, order: int, candidate: Candidate) -> Fact:
        sentence = self.reader.read(candidate.content, heading=candidate.heading)
        key = self._namer.aspect(candidate.category, sentence)
        aspect = self._aspects.get((candidate.category, key))
        subject = self._subject(sentence)
        own = {stem(word) for term in aspect.terms for word in term.rstrip("*").split()} if aspect else set()
        return Fact(
            order=order,
            candidate=candidate,
            sentence=sentence,
            aspect=f"{candidate.category}.{key}" if key else "",
            single=aspect.single if aspect else False,
            dimensions=frozenset(aspect.dimensions) if aspect else frozenset(),
            subject=subject,
            specific=frozenset(
                word for word in subject - self._generic if not any(word.startswith(part) for part in own)
            ),
            negated=sentence.denied,
        )

    def _subject(self, sentence: Sentence) -> frozenset[str]:
        skip = {position for quantity in sentence.quantities for position in range(quantity.start, quantity.end)}
        skip |= self._reasons(sentence)
        for match in sentence.cues:
            if match.payload.level in {"explicit", "strong"}:
                skip |= set(range(match.start, match.end))
        return frozenset(
            stem(token.word)
            for position, token in enumerate(sentence.tokens)
            if position not in skip
            and token.word not in self.reader.stop
            and len(token.word) > 1
            and _WORD.match(token.word)
        )

    def _reasons(self, sentence: Sentence) -> set[int]:
        """Where a sentence says why, not what: "because of the accounting law", "for data protection reasons"."""
        skip: set[int] = set()
        for match in self.reader.words["causal"].find(sentence.tokens):
            if sentence.tokens[match.start].word == "reasons":
                starts = [position for position in range(match.start) if sentence.tokens[position].word == "for"]
                skip |= set(range(starts[-1], match.end)) if starts else set()
                continue
            comma = sentence.text.find(",", sentence.tokens[match.start].start)
            limit = comma if comma >= 0 else len(sentence.text)
            skip |= {p for p in range(match.start, len(sentence.tokens)) if sentence.tokens[p].start < limit}
        return skip


def stem(word: str) -> str:
    """A word without its commonest endings, so that "records" and "record" are one."""
    word = word.removesuffix("'s").replace("'", "")
    for suffix, instead in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM:
            return word[: len(word) - len(suffix)] + instead
    return word


def overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared words over the smaller set, 0 to 1; 0 when either is empty."""
    return len(left & right) / min(len(left), len(right)) if left and right else 0.0


def same_subject(left: Fact, right: Fact, *, least: float = 0.6) -> bool:
    """Whether two facts speak about the same thing, as far as words tell; both without a thing of their own count."""
    if not left.specific and not right.specific:
        return True
    return overlap(left.specific, right.specific) >= least
